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
use std::fmt;

use logboom_config::{CATEGORY_BYTES_MAX, category_is_valid};
use logboom_wire::Record;
use memchr::memchr;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{severity, timestamp};

/// Most attributes of a record.
const ATTRIBUTES_MAX: usize = 256;
/// Longest key of an attribute, in bytes.
const KEY_BYTES_MAX: usize = 1 << 10;

/// Why a line is not a record.
#[derive(Debug)]
pub(in crate::source) struct Unparsed(pub(in crate::source) Cow<'static, str>);

impl From<serde_json::Error> for Unparsed {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string().into())
    }
}

/// The members of a line's object. Borrows from the line what it can; its own memory is used again for the next line.
#[derive(Default)]
pub(super) struct Fields<'a> {
    members: Members<'a>,
    attributes: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// Spare memory of the view of `attributes` that a record takes.
    views: Vec<(&'static str, &'static str)>,
    category: Option<Cow<'a, str>>,
    timestamp: Option<i64>,
    severity_number: u8,
    severity_text: Cow<'a, str>,
    body: Option<Cow<'a, str>>,
    trace_id: Option<[u8; 16]>,
    span_id: Option<[u8; 8]>,
}

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
    fn slot(&mut self, name: &str) -> Option<&mut Option<&'a RawValue>> {
        Some(match name {
            "body" => &mut self.body,
            "message" => &mut self.message,
            "msg" => &mut self.msg,
            "timestamp" => &mut self.timestamp,
            "severity" => &mut self.severity,
            "category" => &mut self.category,
            "trace_id" => &mut self.trace_id,
            "span_id" => &mut self.span_id,
            _ => return None,
        })
    }
}

impl<'a> Fields<'a> {
    /// Reads `line`. Must be empty, as [`Fields::reuse`] leaves it.
    pub(super) fn read(&mut self, line: &'a [u8]) -> Result<(), Unparsed> {
        let text = simdutf8::basic::from_utf8(line).map_err(|_| Unparsed("it is not UTF-8".into()))?;
        let mut deserializer = serde_json::Deserializer::from_str(text);
        Object(self).deserialize(&mut deserializer)?;
        deserializer.end()?;
        self.interpret()
    }

    /// Calls `push` with the record of `line`, from which this was read, and the category that it names.
    pub(super) fn with_record(&mut self, observed: i64, line: &[u8], push: impl FnOnce(Option<&str>, &Record<'_>)) {
        let mut attributes = recycle(std::mem::take(&mut self.views));
        attributes.extend(self.attributes.iter().map(|(key, value)| (key.as_ref(), value.as_ref())));
        let record = Record {
            timestamp: self.timestamp,
            observed,
            severity_number: self.severity_number,
            severity_text: &self.severity_text,
            body: self.body.as_ref().map_or(line, |body| body.as_bytes()),
            attributes: &attributes,
            trace_id: self.trace_id,
            span_id: self.span_id,
        };
        push(self.category.as_deref(), &record);
        self.views = recycle(attributes);
    }

    /// Empty, with the memory of this, for another line.
    pub(super) fn reuse<'b>(self) -> Fields<'b> {
        Fields { attributes: recycle(self.attributes), views: self.views, ..Fields::default() }
    }

    /// Sets the attribute `key`. An attribute has one value: the last.
    fn set(&mut self, key: Cow<'a, str>, value: Cow<'a, str>) -> Result<(), Unparsed> {
        if let Some((_, old)) = self.attributes.iter_mut().find(|(other, _)| *other == key) {
            *old = value;
        } else if self.attributes.len() == ATTRIBUTES_MAX {
            return Err(Unparsed(format!("it has more than {ATTRIBUTES_MAX} attributes").into()));
        } else if key.len() > KEY_BYTES_MAX {
            return Err(Unparsed(format!("an attribute's key has more than {KEY_BYTES_MAX} bytes").into()));
        } else {
            self.attributes.push((key, value));
        }
        Ok(())
    }

    /// Gives the members with a meaning theirs, or makes them attributes.
    fn interpret(&mut self) -> Result<(), Unparsed> {
        let members = std::mem::take(&mut self.members);
        for (name, raw) in [("body", members.body), ("message", members.message), ("msg", members.msg)] {
            match text(raw)? {
                Some(body) if self.body.is_none() => self.body = Some(body),
                Some(other) => self.set(name.into(), other)?,
                None => {}
            }
        }
        if let Some(raw) = members.timestamp
            && let Some(text) = text(Some(raw))?
        {
            self.timestamp = match kind(raw) {
                Kind::Text => timestamp::from_text(&text),
                Kind::Number => timestamp::from_number(&text),
                Kind::Other => None,
            };
            if self.timestamp.is_none() {
                self.set("timestamp".into(), text)?;
            }
        }
        if let Some(raw) = members.severity
            && let Some(text) = text(Some(raw))?
        {
            match (kind(raw), text.parse()) {
                (Kind::Text, _) => {
                    self.severity_number = severity::number_of(&text);
                    self.severity_text = text;
                }
                (Kind::Number, Ok(number @ 1..=24)) => self.severity_number = number,
                _ => self.set("severity".into(), text)?,
            }
        }
        if let Some(raw) = members.category
            && let Some(text) = text(Some(raw))?
        {
            match kind(raw) == Kind::Text && category_is_valid(&text) {
                true => self.category = Some(text),
                false => self.set("logboom.category".into(), cut(text, CATEGORY_BYTES_MAX))?,
            }
        }
        if let Some(text) = text(members.trace_id)? {
            self.trace_id = id(&text);
            if self.trace_id.is_none() {
                self.set("trace_id".into(), text)?;
            }
        }
        if let Some(text) = text(members.span_id)? {
            self.span_id = id(&text);
            if self.span_id.is_none() {
                self.set("span_id".into(), text)?;
            }
        }
        Ok(())
    }
}

/// Reads an object into fields.
struct Object<'f, 'a>(&'f mut Fields<'a>);

impl<'a> DeserializeSeed<'a> for Object<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Object<'_, 'a> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        let Object(fields) = self;
        while let Some((Key(key), raw)) = map.next_entry::<Key<'a>, &'a RawValue>()? {
            if let Some(slot) = fields.members.slot(&key) {
                *slot = Some(raw);
            } else if let Some(value) = text(Some(raw)).map_err(|Unparsed(reason)| M::Error::custom(reason))? {
                fields.set(key, value).map_err(|Unparsed(reason)| M::Error::custom(reason))?;
            }
        }
        Ok(())
    }
}

#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

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

/// The value as text; `None` where there is none. A text with an escape is the only value that is copied.
pub(in crate::source) fn text(raw: Option<&RawValue>) -> Result<Option<Cow<'_, str>>, Unparsed> {
    let Some(raw) = raw.map(RawValue::get) else { return Ok(None) };
    Ok(match raw.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(_) if memchr(b'\\', raw.as_bytes()).is_some() => Some(serde_json::from_str::<String>(raw)?.into()),
        Some(text) => Some(text.into()),
        None if raw == "null" => None,
        None => Some(raw.into()),
    })
}

/// An id of `N` bytes from `2 * N` hexadecimal digits; all zero is none.
fn id<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N {
        return None;
    }
    let mut id = [0; N];
    for (byte, digits) in id.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let high = char::from(digits[0]).to_digit(16)?;
        let low = char::from(digits[1]).to_digit(16)?;
        *byte = (high << 4 | low) as u8;
    }
    Some(id).filter(|id| *id != [0; N])
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

/// An empty vector with the memory of `spent`: types that differ in nothing but a lifetime are collected in place.
pub(in crate::source) fn recycle<A, B>(mut spent: Vec<A>) -> Vec<B> {
    spent.clear();
    spent.into_iter().map(|_| unreachable!("it is empty")).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;

    fn read<T>(line: &str, look: impl FnOnce(Option<&str>, &Record<'_>) -> T) -> Result<T, Unparsed> {
        let mut fields = Fields::default();
        fields.read(line.as_bytes())?;
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
        assert!(Fields::default().read(b"{\"a\":\"\xff\"}").is_err());
    }

    #[test]
    fn the_memory_of_one_line_serves_the_next() {
        let mut fields = Fields::default();
        let mut kept = None;
        for _ in 0..3 {
            let line = String::from(r#"{"a":"1","b":"2\n"}"#);
            let mut used = std::mem::take(&mut fields).reuse();
            used.read(line.as_bytes()).unwrap();
            used.with_record(0, line.as_bytes(), |_, record| assert_eq!(record.attributes, [("a", "1"), ("b", "2\n")]));
            let place = (used.attributes.as_ptr() as usize, used.views.as_ptr() as usize);
            assert_eq!(*kept.get_or_insert(place), place);
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
