//! The `clf` format: access logs in the common form, the combined one (of Apache httpd, nginx and many more), or the
//! latter with more fields behind it.
//!
//! ```text
//! 192.0.2.7 - ann [21/Nov/2023:09:04:11 +0100] "GET /a?b HTTP/1.1" 200 5123 "https://example.com/" "curl/8.5.0" …
//! ```
//! | field | attribute |
//! |---|---|
//! | host; before it perhaps a virtual host and its port | `client.address`; `server.address` |
//! | identity, user | `client.ident`, `user.name` |
//! | request | `http.request.method`, `url.original`, `network.protocol.version`; `http.request.line` if it is none |
//! | status, bytes | `http.response.status_code`, `http.response.body.size` |
//! | referer, agent | `http.request.header.referer`, `user_agent.original` |
//! | what follows | `clf.rest` |
//!
//! A `-` is no attribute. Escapes within quotes stay as they are.

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::Offset;

use super::fields::{Fields, Unparsed};
use super::logfmt::end_of_quoted;

const MONTHS: &[u8] = b"JanFebMarAprMayJunJulAugSepOctNovDec";

/// Reads `line` into `fields`, which are empty.
pub(super) fn read<'a>(fields: &mut Fields<'a>, line: &'a str) -> Result<(), Unparsed> {
    let refuse = |what: &'static str| Unparsed(what.into());
    let (who, rest) = line.split_once(" [").ok_or(refuse("it has no time in brackets"))?;
    let (time, rest) = rest.split_once("] ").ok_or(refuse("its time does not end"))?;
    fields.timestamp =
        Some(timestamp(time.as_bytes()).ok_or(refuse("its time is not as in 21/Nov/2023:09:04:11 +0000"))?);
    let mut who = who.splitn(3, ' ');
    let (Some(mut host), Some(mut ident), Some(mut user)) = (who.next(), who.next(), who.next()) else {
        return Err(refuse("it does not begin with a host, an identity and a user"));
    };
    // A virtual host stands before the address, with its port.
    if let Some((name, port)) = host.rsplit_once(':')
        && port.bytes().all(|byte| byte.is_ascii_digit())
        && ident.parse::<std::net::IpAddr>().is_ok()
        && let Some((first, last)) = user.split_once(' ')
    {
        fields.set("server.address".into(), name.into())?;
        (host, ident, user) = (ident, first, last);
    }
    let (request, rest) = quoted(rest).ok_or(refuse("its request is not in quotes"))?;
    let mut words = rest.splitn(3, ' ');
    let (status, bytes) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let is_number = |text: &str| !text.is_empty() && text.len() < 20 && text.bytes().all(|byte| byte.is_ascii_digit());
    if !(is_number(status) || status == "-") || !(is_number(bytes) || bytes == "-") {
        return Err(refuse("its status or its size is not a number"));
    }
    let mut set = |key: &'static str, value: &'a str| match value {
        "-" | "" => Ok(()),
        value => fields.set(key.into(), value.into()),
    };
    set("client.address", host)?;
    set("client.ident", ident)?;
    set("user.name", user)?;
    let mut parts = request.splitn(3, ' ');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(method), Some(url), version) if is_method(method) => {
            set("http.request.method", method)?;
            set("url.original", url)?;
            let version = version.unwrap_or_default();
            set("network.protocol.version", version.strip_prefix("HTTP/").unwrap_or(version))?;
        }
        _ => set("http.request.line", request)?,
    }
    set("http.response.status_code", status)?;
    set("http.response.body.size", bytes)?;
    let mut rest = words.next().unwrap_or_default();
    if let Some((referer, behind)) = quoted(rest)
        && let Some((agent, behind)) = quoted(behind)
    {
        set("http.request.header.referer", referer)?;
        set("user_agent.original", agent)?;
        rest = behind;
    }
    set("clf.rest", rest)
}

/// What stands in quotes at the beginning of `text`, and what follows behind a space.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let text = text.strip_prefix('"')?;
    let end = end_of_quoted(text)?;
    let rest = &text[end + 1..];
    Some((&text[..end], rest.strip_prefix(' ').unwrap_or(rest)))
}

fn is_method(text: &str) -> bool {
    !text.is_empty() && text.len() <= 32 && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-')
}

/// ns since 1970 of a time such as `21/Nov/2023:09:04:11 +0100`.
fn timestamp(text: &[u8]) -> Option<i64> {
    let number = |from: usize, digits: usize| -> Option<i16> {
        let digits = text.get(from..from + digits)?;
        digits.iter().try_fold(0, |number, digit| digit.is_ascii_digit().then(|| number * 10 + i16::from(digit - b'0')))
    };
    let two = |from: usize| number(from, 2).and_then(|number| i8::try_from(number).ok());
    if text.len() != 26 || [2, 6, 11, 14, 17, 20].map(|at| text[at]) != *b"//::: " {
        return None;
    }
    let month = MONTHS.chunks(3).position(|name| name.eq_ignore_ascii_case(&text[3..6]))?;
    let date = Date::new(number(7, 4)?, month as i8 + 1, two(0)?).ok()?;
    let time = Time::new(two(12)?, two(15)?, two(18)?.min(59), 0).ok()?;
    let seconds = (i32::from(two(22)?) * 60 + i32::from(two(24)?)) * 60;
    let offset = match text[21] {
        b'+' => Offset::from_seconds(seconds),
        b'-' => Offset::from_seconds(-seconds),
        _ => return None,
    };
    let timestamp = offset.ok()?.to_timestamp(DateTime::from_parts(date, time)).ok()?;
    i64::try_from(timestamp.as_nanosecond()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::fuzz;

    fn attributes(line: &str) -> Result<Vec<(String, String)>, Unparsed> {
        let mut fields = Fields::default();
        read(&mut fields, line)?;
        assert!(fields.timestamp.is_some() && fields.body.is_none());
        let mut seen = Vec::new();
        fields.with_record(7, line.as_bytes(), |_, record| {
            seen.extend(record.attributes.iter().map(|(key, value)| (key.to_string(), value.to_string())));
        });
        Ok(seen)
    }

    const COMMON: &str = r#"192.0.2.7 - ann [21/Nov/2023:09:04:11 +0100] "GET /a?b HTTP/1.1" 200 5123"#;

    #[test]
    fn a_common_line_has_seven_fields() {
        let expected = [
            ("client.address", "192.0.2.7"),
            ("user.name", "ann"),
            ("http.request.method", "GET"),
            ("url.original", "/a?b"),
            ("network.protocol.version", "1.1"),
            ("http.response.status_code", "200"),
            ("http.response.body.size", "5123"),
        ];
        assert_eq!(attributes(COMMON).unwrap(), expected.map(|(k, v)| (k.to_owned(), v.to_owned())));
        assert_eq!(timestamp(b"21/Nov/2023:09:04:11 +0100"), Some(1_700_553_851_000_000_000));
    }

    #[test]
    fn a_combined_line_has_two_more_and_perhaps_others_behind_them() {
        for (behind, expected) in [
            (r#" "-" "curl/8.5.0""#, &[("user_agent.original", "curl/8.5.0")][..]),
            (
                r#" "https://example.com/\"" "a \\" 0.012 "10.0.0.1""#,
                &[
                    ("http.request.header.referer", "https://example.com/\\\""),
                    ("user_agent.original", "a \\\\"),
                    ("clf.rest", "0.012 \"10.0.0.1\""),
                ],
            ),
            (" 0.012", &[("clf.rest", "0.012")]),
        ] {
            let seen = attributes(&format!("{COMMON}{behind}")).unwrap();
            assert_eq!(seen[7..], *expected.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect::<Vec<_>>());
        }
    }

    #[test]
    fn odd_requests_users_and_virtual_hosts_are_kept() {
        for (line, key, value) in [
            (r#"::1 - - [21/Nov/2023:09:04:11 +0000] "\x16\x03\x01" 400 -"#, "http.request.line", "\\x16\\x03\\x01"),
            (r#"::1 - - [21/Nov/2023:09:04:11 +0000] "GET /" 200 0"#, "url.original", "/"),
            (r#"::1 - J. Doe [21/Nov/2023:09:04:11 +0000] "-" 408 -"#, "user.name", "J. Doe"),
            (r#"www.a.org:80 ::1 - - [21/Nov/2023:09:04:11 +0000] "-" 408 -"#, "server.address", "www.a.org"),
            (r#"www.a.org:80 ::1 - - [21/Nov/2023:09:04:11 +0000] "-" 408 -"#, "client.address", "::1"),
        ] {
            let seen = attributes(line).unwrap();
            assert!(seen.contains(&(key.to_owned(), value.to_owned())), "{line}: {seen:?}");
        }
    }

    #[test]
    fn what_is_no_access_log_is_refused_with_the_reason() {
        for (line, reason) in [
            ("", "no time in brackets"),
            ("a - - [21/Nov/2023:09:04:11 +0000", "does not end"),
            ("a - - [2023-11-21T09:04:11Z] \"-\" 200 0", "is not as in"),
            ("a - - [31/Feb/2023:09:04:11 +0000] \"-\" 200 0", "is not as in"),
            ("a - [21/Nov/2023:09:04:11 +0000] \"-\" 200 0", "a host, an identity and a user"),
            ("a - - [21/Nov/2023:09:04:11 +0000] - 200 0", "request is not in quotes"),
            ("a - - [21/Nov/2023:09:04:11 +0000] \"- 200 0", "request is not in quotes"),
            ("a - - [21/Nov/2023:09:04:11 +0000] \"-\" ok 0", "not a number"),
            ("a - - [21/Nov/2023:09:04:11 +0000] \"-\" 200", "not a number"),
        ] {
            let Unparsed(why) = attributes(line).unwrap_err();
            assert!(why.contains(reason), "{line}: {why}");
        }
    }

    #[test]
    fn no_line_makes_it_panic() {
        let combined = format!("{COMMON} \"https://example.com/\\\"\" \"a \\\\\" 0.012");
        let corpus: [&[u8]; 3] = [
            combined.as_bytes(),
            r#"www.é.org:80 ::1 - - [21/Nov/2023:09:04:11 -2359] "-" 408 -"#.as_bytes(),
            r#"é - é [21/Nové/023:09:04:11 -2359] "É é" 408 -"#.as_bytes(),
        ];
        fuzz(&corpus, |input| {
            let line = String::from_utf8_lossy(input);
            let _ = attributes(&line);
        });
    }
}
