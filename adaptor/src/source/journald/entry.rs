//! One entry of the journal, as `journalctl --output=json` writes it.
//!
//! | field | becomes |
//! |---|---|
//! | `MESSAGE` | the body; without one the body is empty. Of several the first, the others stay an attribute |
//! | `PRIORITY`, 0 to 7 | the severity: `emerg`, `alert`, `crit`, `err`, `warning`, `notice`, `info`, `debug` |
//! | `__REALTIME_TIMESTAMP`, µs since 1970 | the timestamp |
//! | `__CURSOR` | the position |
//! | every other that begins with `__` | nothing: it says where the entry lies in the journal, not what it says |
//! | every other | the attribute `journald.` and its name in lower case, such as `journald._systemd_unit` |
//!
//! A leading `_` stays, for it tells what journald itself vouches for (`_SYSTEMD_UNIT`) from what a program may claim
//! (`UNIT`). A value is a text, or an array of numbers: bytes that are no printable UTF-8. They are kept as they are in a
//! body, and lossily in an attribute. A field that occurs several times is an array of such values; its attribute is that
//! array as JSON.

use std::borrow::Cow;
use std::ops::Range;

use logboom_wire::Record;
use serde_json::value::RawValue;

use crate::source::json;
use crate::source::line::Unparsed;

const PREFIX: &str = "journald.";
/// Names and OpenTelemetry numbers of the priorities.
const SEVERITIES: [(&str, u8); 8] = [
    ("emerg", 21),
    ("alert", 19),
    ("crit", 18),
    ("err", 17),
    ("warning", 13),
    ("notice", 10),
    ("info", 9),
    ("debug", 5),
];

/// An entry. Its memory is used again for the next.
#[derive(Debug, Default)]
pub(super) struct Entry {
    /// Where it stands in the journal; empty if that is not said.
    pub(super) cursor: String,
    timestamp: Option<i64>,
    priority: Option<usize>,
    body: Vec<u8>,
    /// Names and values of the attributes, one after the other.
    texts: String,
    attributes: Vec<(Range<usize>, Range<usize>)>,
}

impl Entry {
    /// Takes the entry of `line`.
    ///
    /// # Errors
    /// When it is no JSON object.
    pub(super) fn read(&mut self, line: &[u8]) -> Result<(), Unparsed> {
        self.cursor.clear();
        (self.timestamp, self.priority) = (None, None);
        self.body.clear();
        self.texts.clear();
        self.attributes.clear();
        let line = simdutf8::basic::from_utf8(line).map_err(|_| Unparsed("it is not UTF-8".into()))?;
        Ok(json::object(line, |name, raw| self.field(&name, raw))?)
    }

    /// Calls `push` with its record, observed at `observed` (ns since 1970).
    pub(super) fn with_record(&self, observed: i64, push: impl FnOnce(&Record<'_>)) {
        let text = |range: &Range<usize>| &self.texts[range.clone()];
        let attributes: Vec<_> = self.attributes.iter().map(|(name, value)| (text(name), text(value))).collect();
        let (severity_text, severity_number) = self.priority.map_or(("", 0), |priority| SEVERITIES[priority]);
        push(&Record {
            timestamp: self.timestamp,
            observed,
            severity_number,
            severity_text,
            body: &self.body,
            attributes: &attributes,
            ..Record::default()
        });
    }

    fn field(&mut self, name: &str, raw: &RawValue) -> serde_json::Result<()> {
        match name {
            "__CURSOR" => self.cursor.push_str(&text(raw)?),
            "__REALTIME_TIMESTAMP" => {
                let micros = text(raw)?.parse::<i64>().ok();
                self.timestamp = micros.and_then(|micros| micros.checked_mul(1000));
            }
            _ if name.starts_with("__") => {}
            "PRIORITY" => match text(raw)?.parse() {
                Ok(priority) if priority < SEVERITIES.len() => self.priority = Some(priority),
                _ => self.attribute(name, raw)?,
            },
            "MESSAGE" => match several(raw) {
                Some(values) => {
                    self.attribute(name, raw)?;
                    self.message(values.first().copied())?;
                }
                None => self.message(Some(raw))?,
            },
            _ => self.attribute(name, raw)?,
        }
        Ok(())
    }

    fn message(&mut self, raw: Option<&RawValue>) -> serde_json::Result<()> {
        let Some(raw) = raw.filter(|raw| raw.get() != "null") else { return Ok(()) };
        match bytes(raw) {
            Some(bytes) => self.body = bytes,
            None => self.body.extend_from_slice(text(raw)?.as_bytes()),
        }
        Ok(())
    }

    fn attribute(&mut self, name: &str, raw: &RawValue) -> serde_json::Result<()> {
        if raw.get() == "null" {
            return Ok(());
        }
        let start = self.texts.len();
        self.texts.push_str(PREFIX);
        self.texts.extend(name.chars().map(|c| c.to_ascii_lowercase()));
        let middle = self.texts.len();
        match bytes(raw) {
            Some(bytes) => self.texts.push_str(&String::from_utf8_lossy(&bytes)),
            None => self.texts.push_str(&text(raw)?),
        }
        self.attributes.push((start..middle, middle..self.texts.len()));
        Ok(())
    }
}

/// A text as it is meant, anything else as it is written; nothing for `null`.
fn text(raw: &RawValue) -> serde_json::Result<Cow<'_, str>> {
    Ok(json::text(Some(raw))?.unwrap_or_default())
}

/// The bytes of a value that is an array of numbers.
fn bytes(raw: &RawValue) -> Option<Vec<u8>> {
    raw.get().starts_with('[').then(|| serde_json::from_str(raw.get()).ok()).flatten()
}

/// The values of a field that occurs several times.
fn several(raw: &RawValue) -> Option<Vec<&RawValue>> {
    match raw.get().starts_with('[') && bytes(raw).is_none() {
        true => serde_json::from_str(raw.get()).ok(),
        false => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::source::testing::fuzz;

    type Seen = (Vec<u8>, Option<i64>, (String, u8), BTreeMap<String, String>);

    fn seen(line: &str) -> Seen {
        let mut entry = Entry::default();
        entry.read(line.as_bytes()).unwrap();
        let mut seen = None;
        entry.with_record(7, |record| {
            let attributes = record.attributes.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect();
            let severity = (record.severity_text.to_owned(), record.severity_number);
            seen = Some((record.body.to_vec(), record.timestamp, severity, attributes));
        });
        seen.unwrap()
    }

    fn map<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
        pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).into()
    }

    #[test]
    fn fields_become_the_body_the_time_the_severity_and_attributes() {
        let line = r#"{"__CURSOR":"s=1;i=2","__REALTIME_TIMESTAMP":"1700000000000001","__MONOTONIC_TIMESTAMP":"5",
            "_SYSTEMD_UNIT":"nginx.service","SYSLOG_IDENTIFIER":"nginx","_PID":"17","_BOOT_ID":"0a","_HOSTNAME":"web-1",
            "PRIORITY":"3","MESSAGE":"a \"b\"\nc","UNIT":"claimed"}"#;
        let (body, timestamp, severity, attributes) = seen(line);
        assert_eq!(body, b"a \"b\"\nc");
        assert_eq!(timestamp, Some(1_700_000_000_000_001_000));
        assert_eq!(severity, ("err".to_owned(), 17));
        assert_eq!(
            attributes,
            map([
                ("journald._systemd_unit", "nginx.service"),
                ("journald.syslog_identifier", "nginx"),
                ("journald._pid", "17"),
                ("journald._boot_id", "0a"),
                ("journald._hostname", "web-1"),
                ("journald.unit", "claimed"),
            ])
        );
    }

    #[test]
    fn a_message_may_be_text_bytes_null_several_or_missing() {
        for (line, body) in [
            (r#"{"MESSAGE":"x"}"#, &b"x"[..]),
            (r#"{"MESSAGE":""}"#, b""),
            (r#"{"MESSAGE":[104,0,255,10]}"#, b"h\0\xff\n"),
            (r#"{"MESSAGE":[]}"#, b""),
            (r#"{"MESSAGE":null}"#, b""),
            (r#"{"MESSAGE":["a","b"]}"#, b"a"),
            (r#"{"MESSAGE":[[104,105],"b"]}"#, b"hi"),
            (r#"{"MESSAGE":[null,"b"]}"#, b""),
            ("{}", b""),
        ] {
            assert_eq!(seen(line).0, body, "{line}");
        }
        assert_eq!(seen(r#"{"MESSAGE":["a","b"]}"#).3, map([("journald.message", r#"["a","b"]"#)]));
    }

    #[test]
    fn what_is_out_of_range_is_kept_as_an_attribute_or_left_out() {
        let (_, timestamp, severity, attributes) = seen(
            r#"{"PRIORITY":"8","__REALTIME_TIMESTAMP":"99999999999999999999","A":[255,65],"B":null,"C":["1","2"]}"#,
        );
        assert_eq!((timestamp, severity), (None, (String::new(), 0)));
        let expected = map([("journald.priority", "8"), ("journald.a", "\u{fffd}A"), ("journald.c", r#"["1","2"]"#)]);
        assert_eq!(attributes, expected);
    }

    #[test]
    fn nothing_of_an_entry_stays_for_the_next() {
        let mut entry = Entry::default();
        entry.read(br#"{"__CURSOR":"a","MESSAGE":"x","PRIORITY":"1","A":"b","__REALTIME_TIMESTAMP":"1"}"#).unwrap();
        entry.read(b"{}").unwrap();
        assert_eq!(entry.cursor, "");
        let nothing = format!("{:?}", Record { observed: 7, ..Record::default() });
        entry.with_record(7, |record| assert_eq!(format!("{record:?}"), nothing));
    }

    #[test]
    fn no_line_makes_it_panic() {
        let corpus: [&[u8]; 4] = [
            br#"{"__CURSOR":"s=1","__REALTIME_TIMESTAMP":"1700000000000001","PRIORITY":"3","MESSAGE":"a\u0000\n"}"#,
            br#"{"MESSAGE":[104,0,255,10],"A":["x",[1,2],null],"B":null}"#,
            br#"{"MESSAGE":["a","b"],"_PID":"1"}"#,
            b"[1]",
        ];
        let mut entry = Entry::default();
        fuzz(&corpus, |line| {
            if entry.read(line).is_ok() {
                entry.with_record(0, |_| ());
            }
        });
    }
}
