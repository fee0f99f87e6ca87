//! The `logfmt` format: pairs `key=value` with spaces between them, a value perhaps in quotes.
//!
//! | key | becomes |
//! |---|---|
//! | the source's `timestamp_key`, or else `timestamp`, `time` or `ts`: the first | the time |
//! | `severity`, `level` or `lvl`: the first | the severity: a text, and its number where the name is known |
//! | `trace_id`, `span_id` | 32 and 16 hexadecimal digits |
//! | with `body = "message"`: `msg` or `message`: the first | the body |
//! | any other | an attribute |
//!
//! In quotes `\"`, `\\`, `\n`, `\r`, `\t` and `\uXXXX` are escapes. A key alone has the value `true`; a line without any
//! `=` is no logfmt. What cannot be what its key says becomes an attribute of that key. Of equal keys the last counts.

use std::borrow::Cow;

use logboom_config::Body;

use super::fields::{Fields, Unparsed};
use super::rules::Rules;

const TIME_KEYS: [&str; 3] = ["timestamp", "time", "ts"];

/// Reads `line` into `fields`, which are empty.
pub(super) fn read<'a>(fields: &mut Fields<'a>, line: &'a str, observed: i64, rules: &Rules) -> Result<(), Unparsed> {
    let mut rest = line.trim_start();
    let mut pairs = 0;
    let mut has_severity = false;
    while !rest.is_empty() {
        let (key, value) = pair(&mut rest)?;
        pairs += usize::from(value.is_some());
        let value = value.unwrap_or(Cow::Borrowed("true"));
        let is_time = match &rules.time_key {
            Some(time_key) => key == time_key,
            None => TIME_KEYS.contains(&key),
        };
        match key {
            _ if is_time && fields.timestamp.is_none() => {
                let time = rules.clock.text(&value, observed);
                fields.timestamp = time.or_else(|| rules.clock.number(&value, observed));
                if fields.timestamp.is_none() {
                    fields.set(key.into(), value)?;
                }
            }
            "severity" | "level" | "lvl" if !has_severity => {
                has_severity = true;
                fields.set_severity(value);
            }
            "trace_id" => fields.set_trace_id(value)?,
            "span_id" => fields.set_span_id(value)?,
            "msg" | "message" if rules.body == Body::Message && fields.body.is_none() => fields.body = Some(value),
            key => fields.set(key.into(), value)?,
        }
    }
    match pairs {
        0 => Err(Unparsed("it has no key=value".into())),
        _ => Ok(()),
    }
}

/// Takes a key, and its value if it has one, and the spaces behind it from the beginning of `rest`.
fn pair<'a>(rest: &mut &'a str) -> Result<(&'a str, Option<Cow<'a, str>>), Unparsed> {
    let end = rest.find(|c: char| c <= ' ' || c == '=' || c == '"').unwrap_or(rest.len());
    let (key, after) = rest.split_at(end);
    if key.is_empty() || after.starts_with('"') {
        return Err(Unparsed("it has a value without a key".into()));
    }
    let Some(after) = after.strip_prefix('=') else {
        *rest = after.trim_start_matches(|c: char| c <= ' ');
        return Ok((key, None));
    };
    let value = match after.strip_prefix('"') {
        Some(quoted) => {
            let end = end_of_quoted(quoted).ok_or(Unparsed("it has a value whose quotes do not end".into()))?;
            *rest = &quoted[end + 1..];
            unescaped(&quoted[..end])?
        }
        None => {
            let end = after.find(|c: char| c <= ' ').unwrap_or(after.len());
            let (value, behind) = after.split_at(end);
            *rest = behind;
            value.into()
        }
    };
    if !rest.is_empty() && !rest.starts_with(|c: char| c <= ' ') {
        return Err(Unparsed("it has a value that goes on behind its quotes".into()));
    }
    *rest = rest.trim_start_matches(|c: char| c <= ' ');
    Ok((key, Some(value)))
}

/// Where the quotes end that `text` is behind the first of.
pub(super) fn end_of_quoted(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut from = 0;
    loop {
        let at = from + memchr::memchr2(b'"', b'\\', &bytes[from..])?;
        if bytes[at] == b'"' {
            return Some(at);
        }
        from = at + 2;
        if from > bytes.len() {
            return None;
        }
    }
}

fn unescaped(text: &str) -> Result<Cow<'_, str>, Unparsed> {
    let Some(first) = text.find('\\') else { return Ok(text.into()) };
    let mut plain = String::with_capacity(text.len());
    plain.push_str(&text[..first]);
    let mut chars = text[first..].chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            plain.push(c);
            continue;
        }
        match chars.next() {
            Some('n') => plain.push('\n'),
            Some('r') => plain.push('\r'),
            Some('t') => plain.push('\t'),
            Some('u') => {
                let digits = chars.as_str().get(..4).and_then(|digits| u32::from_str_radix(digits, 16).ok());
                let unit = digits.ok_or(Unparsed("it has a \\u without four hexadecimal digits".into()))?;
                chars = chars.as_str()[4..].chars();
                plain.push(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            Some(other) => plain.push(other),
            None => {}
        }
    }
    Ok(plain.into())
}

#[cfg(test)]
mod tests {
    use logboom_wire::Record;

    use super::*;
    use crate::source::testing::fuzz;

    fn read<T>(line: &str, body: Body, look: impl FnOnce(&Record<'_>) -> T) -> Result<T, Unparsed> {
        let mut fields = Fields::default();
        super::read(&mut fields, line, 7, &Rules { body, ..Rules::default() })?;
        let mut seen = None;
        fields.with_record(7, line.as_bytes(), |_, record| seen = Some(look(record)));
        Ok(seen.unwrap())
    }

    #[test]
    fn keys_with_a_meaning_become_columns_and_the_others_attributes() {
        let line = "ts=2023-11-14T22:13:20Z level=warn msg=\"a \\\"b\\\" \\u00e9\" empty= flag n=-1.5 url=/a?b=c time=x \
                    trace_id=0102030405060708090a0B0C0d0e0f10 span_id=zero";
        read(line, Body::Line, |record| {
            assert_eq!(record.body, line.as_bytes());
            assert_eq!(record.timestamp, Some(1_700_000_000_000_000_000));
            assert_eq!((record.severity_text, record.severity_number), ("warn", 13));
            assert_eq!(record.trace_id, Some([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]));
            assert_eq!(
                record.attributes,
                [
                    ("msg", "a \"b\" é"),
                    ("empty", ""),
                    ("flag", "true"),
                    ("n", "-1.5"),
                    ("url", "/a?b=c"),
                    ("time", "x"),
                    ("span_id", "zero")
                ]
            );
        })
        .unwrap();
    }

    #[test]
    fn the_message_is_the_body_if_asked_for() {
        for (line, body, attributes) in [
            ("msg=a message=b", "a", &[("message", "b")][..]),
            ("message=\"\" x=1", "", &[("x", "1")]),
            ("x=1", "x=1", &[("x", "1")]),
        ] {
            read(line, Body::Message, |record| {
                assert_eq!((record.body, record.attributes), (body.as_bytes(), attributes), "{line}");
            })
            .unwrap();
        }
    }

    #[test]
    fn times_may_be_numbers_and_are_attributes_if_they_are_no_times() {
        for (line, time, attributes) in [
            ("ts=1700000000.5", Some(1_700_000_000_500_000_000), &[][..]),
            ("time=1700000000500", Some(1_700_000_000_500_000_000), &[]),
            ("t=1 ts=noon time=2023-11-14T22:13:20", Some(1_700_000_000_000_000_000), &[("t", "1"), ("ts", "noon")]),
        ] {
            read(line, Body::Line, |record| {
                assert_eq!((record.timestamp, record.attributes), (time, attributes), "{line}");
            })
            .unwrap();
        }
    }

    #[test]
    fn what_is_no_logfmt_is_refused_with_the_reason() {
        let many: String = (0..257).map(|n| format!("{n}= ")).collect();
        for (line, reason) in [
            ("a plain line", "no key=value"),
            ("=a", "without a key"),
            ("a=b \"c\"", "without a key"),
            ("a\"b\"=c", "without a key"),
            ("a=\"b", "do not end"),
            ("a=\"b\\", "do not end"),
            ("a=\"b\"c=d", "goes on"),
            ("a=\"\\u12\"", "four hexadecimal digits"),
            (&many, "more than 256 attributes"),
        ] {
            let Unparsed(why) = read(line, Body::Line, |_| ()).unwrap_err();
            assert!(why.contains(reason), "{line}: {why}");
        }
    }

    #[test]
    fn no_line_makes_it_panic() {
        let corpus: [&[u8]; 3] = [
            b"ts=2023-11-14T22:13:20Z level=warn msg=\"a \\\"b\\\" \\u00e9\" empty= flag n=-1.5",
            "é=\"é\\u12é\" x=\u{2028}y".as_bytes(),
            b"time=1700000000500 trace_id=0102030405060708090a0B0C0d0e0f10 severity=9 =",
        ];
        fuzz(&corpus, |input| {
            let line = String::from_utf8_lossy(input);
            let _ = read(&line, Body::Message, |_| ());
        });
    }
}
