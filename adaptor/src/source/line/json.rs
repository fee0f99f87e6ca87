//! The `json` format: one JSON object to a line becomes one record.
//!
//! | member | becomes |
//! |---|---|
//! | `body`, or else `message`, or else `msg` | the body: a text as it is, anything else as its JSON; without any, the whole line |
//! | `timestamp` | RFC 3339, or a number (see the `timestamp` module) |
//! | `severity` | a text (and its number, where the name is known), or a number from 1 to 24 |
//! | `category` | the category |
//! | `trace_id`, `span_id` | 32 and 16 hexadecimal digits |
//! | any other | an attribute: a text as it is, a number or a boolean as it is written, an object or an array as its JSON |
//!
//! `null` counts as absent. A member that cannot be what its name says becomes an attribute of that name; a category
//! becomes `logboom.category`, cut to 256 bytes. Of members with the same name the last counts.

use std::borrow::Cow;

use logboom_config::{Body, CATEGORY_BYTES_MAX, category_is_valid};
use serde_json::value::RawValue;

use super::fields::{Fields, Unparsed};
use super::rules::Rules;
use crate::source::json::{object, text};

/// The members with a meaning, as they stand in the line.
#[derive(Default)]
struct Members<'a> {
    body: Option<&'a RawValue>,
    message: Option<&'a RawValue>,
    msg: Option<&'a RawValue>,
    timestamp: Option<&'a RawValue>,
    severity: Option<&'a RawValue>,
    category: Option<&'a RawValue>,
    trace_id: Option<&'a RawValue>,
    span_id: Option<&'a RawValue>,
}

impl<'a> Members<'a> {
    fn slot(&mut self, name: &str, rules: &Rules) -> Option<&mut Option<&'a RawValue>> {
        if name == time_key(rules) {
            return Some(&mut self.timestamp);
        }
        Some(match name {
            "body" | "message" | "msg" if rules.body == Body::Line => return None,
            "body" => &mut self.body,
            "message" => &mut self.message,
            "msg" => &mut self.msg,
            "severity" => &mut self.severity,
            "category" => &mut self.category,
            "trace_id" => &mut self.trace_id,
            "span_id" => &mut self.span_id,
            _ => return None,
        })
    }
}

fn time_key(rules: &Rules) -> &str {
    rules.time_key.as_deref().unwrap_or("timestamp")
}

/// Reads `line` into `fields`, which are empty.
pub(in crate::source) fn read<'a>(
    fields: &mut Fields<'a>,
    line: &'a [u8],
    observed: i64,
    rules: &Rules,
) -> Result<(), Unparsed> {
    let text = simdutf8::basic::from_utf8(line).map_err(|_| Unparsed("it is not UTF-8".into()))?;
    let mut members = Members::default();
    object(text, |key, raw| match members.slot(&key, rules) {
        Some(slot) => {
            *slot = Some(raw);
            Ok(())
        }
        None => set(fields, key, raw),
    })?;
    interpret(fields, &members, observed, rules)
}

/// Gives the members with a meaning theirs, or makes them attributes.
fn interpret<'a>(fields: &mut Fields<'a>, members: &Members<'a>, observed: i64, rules: &Rules) -> Result<(), Unparsed> {
    for (name, raw) in [("body", members.body), ("message", members.message), ("msg", members.msg)] {
        match text(raw)? {
            Some(body) if fields.body.is_none() => fields.body = Some(body),
            Some(other) => fields.set(name.into(), other)?,
            None => {}
        }
    }
    if let Some(raw) = members.timestamp
        && let Some(text) = text(Some(raw))?
    {
        fields.timestamp = match kind(raw) {
            Kind::Text => rules.clock.text(&text, observed),
            Kind::Number => rules.clock.number(&text, observed),
            Kind::Other => None,
        };
        if fields.timestamp.is_none() {
            fields.set(time_key(rules).to_owned().into(), text)?;
        }
    }
    if let Some(raw) = members.severity
        && let Some(text) = text(Some(raw))?
    {
        match (kind(raw), text.parse()) {
            (Kind::Text, _) => fields.set_severity(text),
            (Kind::Number, Ok(number @ 1..=24)) => fields.severity_number = number,
            _ => fields.set("severity".into(), text)?,
        }
    }
    if let Some(raw) = members.category
        && let Some(text) = text(Some(raw))?
    {
        match kind(raw) == Kind::Text && category_is_valid(&text) {
            true => fields.category = Some(text),
            false => fields.set("logboom.category".into(), cut(text, CATEGORY_BYTES_MAX))?,
        }
    }
    if let Some(text) = text(members.trace_id)? {
        fields.set_trace_id(text)?;
    }
    if let Some(text) = text(members.span_id)? {
        fields.set_span_id(text)?;
    }
    Ok(())
}

/// Makes every member of an object, which is all of `line`, an attribute of `fields`.
pub(super) fn attributes<'a>(fields: &mut Fields<'a>, line: &'a str) -> Result<(), Unparsed> {
    Ok(object(line, |key, raw| set(fields, key, raw))?)
}

fn set<'a>(fields: &mut Fields<'a>, key: Cow<'a, str>, raw: &'a RawValue) -> Result<(), Unparsed> {
    match text(Some(raw))? {
        Some(value) => fields.set(key, value),
        None => Ok(()),
    }
}

#[derive(PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    Other,
}

fn kind(raw: &RawValue) -> Kind {
    match raw.get().as_bytes() {
        [b'"', ..] => Kind::Text,
        [b'-' | b'0'..=b'9', ..] => Kind::Number,
        _ => Kind::Other,
    }
}

fn cut(text: Cow<'_, str>, bytes_max: usize) -> Cow<'_, str> {
    let end = text.floor_char_boundary(bytes_max);
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(&text[..end]),
        Cow::Owned(mut text) => {
            text.truncate(end);
            Cow::Owned(text)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use logboom_wire::Record;

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn read<T>(line: &str, look: impl FnOnce(Option<&str>, &Record<'_>) -> T) -> Result<T, Unparsed> {
        let mut fields = Fields::default();
        super::read(&mut fields, line.as_bytes(), 7, &Rules::default())?;
        let mut look = Some(look);
        let mut seen = None;
        fields.with_record(7, line.as_bytes(), |category, record| {
            seen = look.take().map(|look| look(category, record));
        });
        Ok(seen.unwrap())
    }

    fn attributes(line: &str) -> BTreeMap<String, String> {
        read(line, |_, record| {
            let unique: BTreeMap<_, _> =
                record.attributes.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
            assert_eq!(unique.len(), record.attributes.len(), "keys are unique");
            unique
        })
        .unwrap()
    }

    fn map<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
        pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect()
    }

    #[test]
    fn members_with_a_meaning_become_columns() {
        let line = r#"{"body":"a \"b\"\n","timestamp":"2023-11-14T22:13:20Z","severity":"Warn","category":"billing",
            "trace_id":"0102030405060708090a0B0C0d0e0f10","span_id":"00000000000000ff","n":1}"#;
        read(line, |category, record| {
            assert_eq!(category, Some("billing"));
            assert_eq!(record.body, b"a \"b\"\n");
            assert_eq!(record.timestamp, Some(1_700_000_000_000_000_000));
            assert_eq!(record.observed, 7);
            assert_eq!((record.severity_text, record.severity_number), ("Warn", 13));
            assert_eq!(record.trace_id, Some([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16]));
            assert_eq!(record.span_id, Some([0, 0, 0, 0, 0, 0, 0, 255]));
            assert_eq!(record.attributes, [("n", "1")]);
        })
        .unwrap();
    }

    #[test]
    fn every_other_member_becomes_an_attribute() {
        let line = r#"{"text":"a\tb","n":-1.50,"big":1e400,"yes":true,"none":null,"o":{ "a": [1, "x"] },"a":[],"":""}"#;
        assert_eq!(
            attributes(line),
            map([
                ("text", "a\tb"),
                ("n", "-1.50"),
                ("big", "1e400"),
                ("yes", "true"),
                ("o", r#"{ "a": [1, "x"] }"#),
                ("a", "[]"),
                ("", "")
            ])
        );
    }

    #[test]
    fn the_body_has_two_other_names_and_is_the_line_if_it_has_none() {
        for (line, body, attributes) in [
            (r#"{"msg":"c","message":"b","body":"a"}"#, "a", &[("message", "b"), ("msg", "c")][..]),
            (r#"{"msg":"c","message":"b"}"#, "b", &[("msg", "c")]),
            (r#"{"msg":"c","body":null}"#, "c", &[]),
            (r#"{"body":{"a": 1}}"#, r#"{"a": 1}"#, &[]),
            (r#"{"body":""}"#, "", &[]),
            (r#"{"x":1}"#, r#"{"x":1}"#, &[("x", "1")]),
            ("{}", "{}", &[]),
        ] {
            read(line, |_, record| {
                assert_eq!(record.body, body.as_bytes(), "{line}");
                assert_eq!(record.attributes, attributes, "{line}");
            })
            .unwrap();
        }
    }

    #[test]
    fn what_cannot_be_what_its_name_says_becomes_an_attribute() {
        let line = r#"{"timestamp":"noon","severity":25,"category":"a\u0007b","trace_id":"xyz","span_id":0}"#;
        assert_eq!(
            attributes(line),
            map([
                ("timestamp", "noon"),
                ("severity", "25"),
                ("logboom.category", "a\u{7}b"),
                ("trace_id", "xyz"),
                ("span_id", "0")
            ])
        );
        let long = format!(r#"{{"category":"{}"}}"#, "é".repeat(200));
        assert_eq!(attributes(&long)["logboom.category"], "é".repeat(128));
        assert_eq!(attributes(r#"{"severity":9}"#), map([]));
        assert_eq!(
            attributes(r#"{"category":5,"timestamp":true}"#),
            map([("logboom.category", "5"), ("timestamp", "true")])
        );
    }

    #[test]
    fn of_members_with_the_same_name_the_last_counts() {
        read(r#"{"a":1,"body":"x","b":2,"\u0061":3,"body":"y"}"#, |_, record| {
            assert_eq!(record.attributes, [("a", "3"), ("b", "2")]);
            assert_eq!(record.body, b"y");
        })
        .unwrap();
    }

    #[test]
    fn what_is_not_one_sound_object_is_no_record() {
        let many: Vec<_> = (0..257).map(|n| format!("\"{n}\":0")).collect();
        let many = format!("{{{}}}", many.join(","));
        let long_key = format!("{{\"{}\":0}}", "k".repeat(1025));
        let deep = format!("{{\"a\":{}", "[".repeat(100_000));
        for line in [
            "{",
            "{]",
            "{}x",
            "{} {}",
            r#"{"a"}"#,
            r#"{"a":1,}"#,
            r#"{"a":"\ud800"}"#,
            "{\"a\":\"\t\"}",
            &many,
            &long_key,
            &deep,
        ] {
            assert!(read(line, |_, _| ()).is_err(), "{line:.40}");
        }
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(attributes(&deep)["a"].len(), 200_000);
        assert!(super::read(&mut Fields::default(), b"{\"a\":\"\xff\"}", 7, &Rules::default()).is_err());
    }

    #[test]
    fn the_memory_of_one_line_serves_the_next() {
        let mut fields = Fields::default();
        let mut kept = None;
        for _ in 0..3 {
            let line = String::from(r#"{"a":"1","b":"2\n"}"#);
            let mut used = std::mem::take(&mut fields).reuse();
            super::read(&mut used, line.as_bytes(), 7, &Rules::default()).unwrap();
            used.with_record(0, line.as_bytes(), |_, record| assert_eq!(record.attributes, [("a", "1"), ("b", "2\n")]));
            let memory = used.memory();
            assert_eq!(*kept.get_or_insert(memory), memory);
            fields = used.reuse();
        }
    }

    #[test]
    fn no_line_makes_it_panic() {
        const PIECES: [&str; 26] = [
            "{",
            "}",
            "[",
            "]",
            ":",
            ",",
            "\"",
            "\\",
            "\\u00",
            "\\ud834",
            "null",
            "true",
            "-",
            "0",
            "1.5",
            "1e9",
            " ",
            "é",
            "\u{0}",
            "\"body\":",
            "\"timestamp\":",
            "\"severity\":",
            "\"category\":",
            "\"trace_id\":",
            "\"a\":\"x\"",
            "\"msg\":\"\"",
        ];
        let mut random = StdRng::seed_from_u64(2);
        let mut parsed = 0;
        for _ in 0..100_000 {
            let count = random.random_range(0..12);
            let middle: String = (0..count).map(|_| PIECES[random.random_range(0..PIECES.len())]).collect();
            parsed += u32::from(read(&format!("{{{middle}}}"), |_, _| ()).is_ok());
        }
        assert!(parsed > 1000, "only {parsed} lines were sound: the test does not reach far");
    }
}
