//! What a GELF message says: a JSON object becomes one record.
//!
//! | member | becomes |
//! |---|---|
//! | `full_message`, or else `short_message` | the body |
//! | `short_message` beside `full_message` | `gelf.short_message` |
//! | `timestamp` | seconds since 1970, as a number or a text of one (see the `timestamp` module for larger units) |
//! | `level` | the severity of syslog, 0 to 7 |
//! | `_x` | the attribute `x` |
//! | any other, such as `host` | the attribute `gelf.host` |
//!
//! A text is taken as it is, a number or a boolean as it is written, an object or an array as its JSON; `null` and an empty
//! `full_message` count as absent. What cannot be what its name says becomes an attribute, and of members with the same name
//! the last counts. Whatever is no such object, or has no message, is kept whole with `logboom.parse_error`.

use std::borrow::Cow;
use std::sync::Arc;

use logboom_wire::Record;

use crate::counters::Counters;
use crate::intake::Chunk;
use crate::source::json::{object, text};
use crate::source::line::syslog::severity;
use crate::source::line::{Fields, PARSE_ERROR, Unparsed, timestamp};
use crate::source::{Funnel, Inlet};

/// Makes records of messages.
pub(super) struct Messages {
    funnel: Funnel,
    fields: Fields<'static>,
    counters: Arc<Counters>,
}

impl Messages {
    pub(super) fn new(inlet: &Inlet) -> Self {
        Self { funnel: inlet.funnel(), fields: Fields::default(), counters: inlet.context().counters.clone() }
    }

    /// Adds the record of `message`, observed at `observed` (ns since 1970), to `chunk`.
    pub(super) fn take(&mut self, message: &[u8], observed: i64, chunk: &mut Chunk) {
        let mut fields = std::mem::take(&mut self.fields).reuse();
        match read(&mut fields, message) {
            Ok(()) => fields.with_record(observed, message, |_, record| self.funnel.record(None, record, chunk)),
            Err(Unparsed(reason)) => self.take_plain(message, &reason, observed, chunk),
        }
        self.fields = fields.reuse();
    }

    /// Adds `message` as it is, with the reason.
    pub(super) fn take_plain(&mut self, message: &[u8], reason: &str, observed: i64, chunk: &mut Chunk) {
        self.counters.lines_unparsed.add(1);
        let attributes = [(PARSE_ERROR, reason)];
        self.funnel.record(
            None,
            &Record { observed, body: message, attributes: &attributes, ..Record::default() },
            chunk,
        );
    }
}

/// Reads `message` into `fields`, which are empty.
fn read<'a>(fields: &mut Fields<'a>, message: &'a [u8]) -> Result<(), Unparsed> {
    let message = simdutf8::basic::from_utf8(message).map_err(|_| Unparsed("it is not UTF-8".into()))?;
    let mut short = None;
    object(message, |name, raw| match text(Some(raw))? {
        Some(value) => member(fields, &mut short, name, value),
        None => Ok(()),
    })?;
    match (&fields.body, short) {
        (None, None) => Err(Unparsed("it has neither `short_message` nor `full_message`".into())),
        (None, short) => {
            fields.body = short;
            Ok(())
        }
        (Some(_), Some(short)) => fields.set("gelf.short_message".into(), short),
        (Some(_), None) => Ok(()),
    }
}

/// Takes a member.
fn member<'a>(
    fields: &mut Fields<'a>,
    short: &mut Option<Cow<'a, str>>,
    name: Cow<'a, str>,
    value: Cow<'a, str>,
) -> Result<(), Unparsed> {
    let key: Cow<'a, str> = match name.as_ref() {
        "short_message" => {
            *short = Some(value);
            return Ok(());
        }
        "full_message" => {
            fields.body = Some(value).filter(|value| !value.is_empty());
            return Ok(());
        }
        "timestamp" => {
            fields.timestamp = seconds(&value);
            if fields.timestamp.is_some() {
                return Ok(());
            }
            "gelf.timestamp".into()
        }
        "level" => {
            let level = value.parse().ok().and_then(severity);
            let (number, name) = level.unwrap_or_default();
            (fields.severity_number, fields.severity_text) = (number, name.into());
            if level.is_some() {
                return Ok(());
            }
            "gelf.level".into()
        }
        "host" => "gelf.host".into(),
        "version" => "gelf.version".into(),
        "facility" => "gelf.facility".into(),
        "file" => "gelf.file".into(),
        "line" => "gelf.line".into(),
        other if other.len() > 1 && other.starts_with('_') => match name {
            Cow::Borrowed(name) => name[1..].into(),
            Cow::Owned(mut name) => {
                name.remove(0);
                name.into()
            }
        },
        other => format!("gelf.{other}").into(),
    };
    fields.set(key, value)
}

/// A timestamp, written as a number.
fn seconds(text: &str) -> Option<i64> {
    let is_number = text.parse::<f64>().is_ok() && text.starts_with(|c: char| c.is_ascii_digit() || c == '-');
    is_number.then(|| timestamp::from_number(text))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::fuzz;

    /// Body, then what else was read; or why nothing was.
    fn seen(message: &str) -> String {
        let mut fields = Fields::default();
        match read(&mut fields, message.as_bytes()) {
            Err(Unparsed(reason)) => reason.into_owned(),
            Ok(()) => {
                let mut text = String::new();
                fields.with_record(7, b"", |_, record| {
                    text = format!("{:?}", String::from_utf8_lossy(record.body));
                    if let Some(timestamp) = record.timestamp {
                        text += &format!(" at {timestamp}");
                    }
                    if record.severity_number > 0 {
                        text += &format!(" {}", record.severity_text);
                    }
                    record.attributes.iter().for_each(|(key, value)| text += &format!(" {key}={value}"));
                });
                text
            }
        }
    }

    #[test]
    fn the_example_of_the_specification_is_read() {
        let message = r#"{
            "version": "1.1",
            "host": "example.org",
            "short_message": "A short message that helps you identify what is going on",
            "full_message": "Backtrace here\n\nmore stuff",
            "timestamp": 1385053862.3072,
            "level": 1,
            "_user_id": 9001,
            "_some_info": "foo",
            "_some_env_var": "bar"
        }"#;
        let wanted = concat!(
            r#""Backtrace here\n\nmore stuff" at 1385053862307200000 alert gelf.version=1.1 gelf.host=example.org user_id=9001 "#,
            "some_info=foo some_env_var=bar gelf.short_message=A short message that helps you identify what is going on"
        );
        assert_eq!(seen(message), wanted);
    }

    #[test]
    fn members_are_what_their_names_say_or_attributes() {
        for (message, wanted) in [
            (r#"{"short_message":"s"}"#, r#""s""#),
            (r#"{"short_message":""}"#, r#""""#),
            (r#"{"full_message":"f"}"#, r#""f""#),
            (r#"{"short_message":"s","full_message":""}"#, r#""s""#),
            (r#"{"short_message":"s","full_message":null}"#, r#""s""#),
            (r#"{"short_message":{"a":1}}"#, r#""{\"a\":1}""#),
            (r#"{"short_message":"s","level":"3","timestamp":"1385053862.5"}"#, r#""s" at 1385053862500000000 err"#),
            (r#"{"short_message":"s","timestamp":1385053862500}"#, r#""s" at 1385053862500000000"#),
            (r#"{"short_message":"s","level":8,"timestamp":"1.2.3"}"#, r#""s" gelf.level=8 gelf.timestamp=1.2.3"#),
            (r#"{"short_message":"s","timestamp":"inf","level":-1}"#, r#""s" gelf.timestamp=inf gelf.level=-1"#),
            (
                r#"{"short_message":"s","facility":"f","line":3,"file":"x"}"#,
                r#""s" gelf.facility=f gelf.line=3 gelf.file=x"#,
            ),
            (
                r#"{"short_message":"s","other":true,"_":1,"_\u0061":[1],"":2}"#,
                r#""s" gelf.other=true gelf._=1 a=[1] gelf.=2"#,
            ),
            (r#"{"short_message":"s","_a":1,"_a":2}"#, r#""s" a=2"#),
            (r#"{"short_message":"\u0000\n\ud83d\ude00"}"#, "\"\\0\\n😀\""),
        ] {
            assert_eq!(seen(message), wanted, "{message}");
        }
    }

    #[test]
    fn what_is_no_message_says_why() {
        let many: String = (0..300).map(|n| format!(r#""_{n}":1,"#)).collect();
        for (message, reason) in [
            ("", "EOF"),
            ("plain", "expected value"),
            ("[]", "expected an object"),
            ("{}", "neither"),
            (r#"{"short_message":null}"#, "neither"),
            (r#"{"short_message":"s"} x"#, "trailing"),
            (&format!("{{{many}\"short_message\":\"\"}}"), "more than 256"),
            (&format!(r#"{{"_{}":1}}"#, "x".repeat(2000)), "more than 1024"),
        ] {
            assert!(seen(message).contains(reason), "{message}: {}", seen(message));
        }
        assert!(read(&mut Fields::default(), b"{\"short_message\":\"\xff\"}").is_err());
    }

    #[test]
    fn no_message_makes_it_panic() {
        let corpus: &[&[u8]] = &[
            br#"{"version":"1.1","host":"h","short_message":"s","full_message":"f","timestamp":1385053862.3072,"level":1,"_a":9001}"#,
            br#"{"short_message":"\u0000\ud83d\ude00","timestamp":"-1e9","level":"7","_\"":{"a":[1,2]}}"#,
        ];
        fuzz(corpus, |message| {
            let mut fields = Fields::default();
            if read(&mut fields, message).is_ok() {
                fields.with_record(7, b"", |_, record| assert!(record.attributes.len() <= 256));
            }
        });
    }
}
