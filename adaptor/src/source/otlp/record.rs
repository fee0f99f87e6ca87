//! A log record under construction, whichever way it is written.

use std::borrow::Cow;
use std::ops::Range;

use logboom_wire::Record;

use super::value::{Nested, Value};
use crate::source::Malformed;
use crate::source::line::recycle;
use crate::source::net::http::{Refusal, Taker};

/// Most attributes of a record.
const ATTRIBUTES_MAX: usize = 256;

/// A record. Borrows from the request what it can; its own memory is used again for the next record.
#[derive(Default)]
pub(super) struct LogRecord<'a> {
    /// ns since 1970; 0 is unknown.
    pub(super) time: u64,
    pub(super) observed_time: u64,
    pub(super) severity_number: u64,
    pub(super) severity_text: Cow<'a, [u8]>,
    body: Text<'a>,
    attributes: Attributes<'a>,
    pub(super) dropped_attributes: u64,
    pub(super) flags: u64,
    pub(super) event_name: Cow<'a, [u8]>,
    pub(super) trace_id: Option<[u8; 16]>,
    pub(super) span_id: Option<[u8; 8]>,
}

/// Keys and values as texts.
#[derive(Default)]
pub(super) struct Attributes<'a> {
    texts: Vec<(Text<'a>, Text<'a>)>,
    /// Texts that do not stand in the request.
    made: Vec<u8>,
    /// Spare memory of the view that a record takes.
    views: Vec<(&'static str, &'static str)>,
    /// How many were too many.
    left_out: u64,
}

enum Text<'a> {
    There(&'a [u8]),
    Made(Range<usize>),
}

impl Default for Text<'_> {
    fn default() -> Self {
        Self::There(&[])
    }
}

impl Text<'_> {
    fn of<'t>(&'t self, made: &'t [u8]) -> &'t [u8] {
        match self {
            Self::There(bytes) => bytes,
            Self::Made(range) => &made[range.clone()],
        }
    }

    /// The same where it was made sure that it is UTF-8.
    fn str<'t>(&'t self, made: &'t [u8]) -> &'t str {
        std::str::from_utf8(self.of(made)).unwrap_or_default()
    }
}

impl<'a> Attributes<'a> {
    pub(super) fn clear(&mut self) {
        self.texts.clear();
        self.made.clear();
        self.left_out = 0;
    }

    /// Sets `prefix` and `key`. An attribute has one value: the last.
    pub(super) fn set<N: Nested<'a>>(
        &mut self,
        prefix: &str,
        key: Cow<'a, [u8]>,
        value: Value<'a, N>,
    ) -> Result<(), Malformed> {
        if self.texts.len() == ATTRIBUTES_MAX {
            self.left_out += 1;
            return Ok(());
        }
        let key = match prefix {
            "" => self.text(key),
            prefix => {
                let key = [prefix.as_bytes(), &key].concat();
                self.text(key.into())
            }
        };
        let value = match value {
            Value::Text(text) => self.text(text),
            value => self.written(&value)?,
        };
        let name = key.of(&self.made);
        match self.texts.iter().position(|(other, _)| other.of(&self.made) == name) {
            Some(index) => self.texts[index].1 = value,
            None => self.texts.push((key, value)),
        }
        Ok(())
    }

    /// What `value` is in a record.
    fn written<N: Nested<'a>>(&mut self, value: &Value<'a, N>) -> Result<Text<'a>, Malformed> {
        let start = self.made.len();
        value.write(&mut self.made)?;
        Ok(Text::Made(start..self.made.len()))
    }

    /// A text, which becomes UTF-8 if it is not.
    fn text(&mut self, text: Cow<'a, [u8]>) -> Text<'a> {
        let start = self.made.len();
        match text {
            Cow::Borrowed(text) if simdutf8::basic::from_utf8(text).is_ok() => return Text::There(text),
            text => self.made.extend_from_slice(String::from_utf8_lossy(&text).as_bytes()),
        }
        Text::Made(start..self.made.len())
    }

    /// Calls `look` with all of them.
    pub(super) fn with<T>(&mut self, look: impl FnOnce(&[(&str, &str)]) -> T) -> T {
        self.with_text(&Text::default(), |attributes, _| look(attributes))
    }

    fn with_text<T>(&mut self, other: &Text<'a>, look: impl FnOnce(&[(&str, &str)], &[u8]) -> T) -> T {
        let mut views = recycle(std::mem::take(&mut self.views));
        let made = &self.made;
        views.extend(self.texts.iter().map(|(key, value)| (key.str(made), value.str(made))));
        let looked = look(&views, other.of(made));
        self.views = recycle(views);
        looked
    }
}

impl<'a> LogRecord<'a> {
    pub(super) fn set_body<N: Nested<'a>>(&mut self, body: Value<'a, N>) -> Result<(), Malformed> {
        self.body = match body {
            Value::Text(Cow::Borrowed(bytes)) | Value::Bytes(Cow::Borrowed(bytes)) => Text::There(bytes),
            Value::Text(Cow::Owned(bytes)) | Value::Bytes(Cow::Owned(bytes)) => {
                let start = self.attributes.made.len();
                self.attributes.made.extend_from_slice(&bytes);
                Text::Made(start..self.attributes.made.len())
            }
            value => self.attributes.written(&value)?,
        };
        Ok(())
    }

    pub(super) fn set<N: Nested<'a>>(&mut self, key: Cow<'a, [u8]>, value: Value<'a, N>) -> Result<(), Malformed> {
        self.attributes.set("", key, value)
    }

    /// Takes the record, which had `bytes` bytes in the request, and leaves this empty.
    pub(super) fn give<N: Nested<'a>>(&mut self, taker: &mut Taker, bytes: usize) -> Result<(), Refusal> {
        for (key, number) in [("otel.flags", self.flags), ("otel.dropped_attributes_count", self.dropped_attributes)] {
            if number > 0 {
                let number = Value::<N>::Int(i64::try_from(number).unwrap_or(i64::MAX));
                self.attributes.set("", key.as_bytes().into(), number)?;
            }
        }
        if !self.event_name.is_empty() {
            let name = std::mem::take(&mut self.event_name);
            self.attributes.set("", b"otel.event_name".into(), Value::<N>::Text(name))?;
        }
        let known = |time: u64| i64::try_from(time).ok().filter(|&time| time != 0);
        let severity_text = String::from_utf8_lossy(&self.severity_text);
        let taken = self.attributes.with_text(&self.body, |attributes, body| {
            let record = Record {
                timestamp: known(self.time).or(known(self.observed_time)),
                observed: taker.observed,
                severity_number: u8::try_from(self.severity_number).ok().filter(|&n| n <= 24).unwrap_or_default(),
                severity_text: &severity_text,
                body,
                attributes,
                trace_id: self.trace_id,
                span_id: self.span_id,
            };
            taker.take(None, &record, bytes)
        });
        let mut attributes = std::mem::take(&mut self.attributes);
        taker.count_left_out(attributes.left_out);
        attributes.clear();
        *self = Self { attributes, ..Self::default() };
        taken.map(drop)
    }
}
