//! What a line says, as far as it was read: the one shape that every structured format is read into.

use std::borrow::Cow;

use logboom_wire::Record;

use super::{severity, timestamp};

/// Most attributes of a record.
const ATTRIBUTES_MAX: usize = 256;
/// Longest key of an attribute, in bytes.
const KEY_BYTES_MAX: usize = 1 << 10;

/// Why a line is not a record.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(in crate::source) struct Unparsed(pub(in crate::source) Cow<'static, str>);

impl From<serde_json::Error> for Unparsed {
    fn from(error: serde_json::Error) -> Self {
        Self(error.to_string().into())
    }
}

/// What a line says. Borrows from the line what it can; its own memory is used again for the next line.
#[derive(Default)]
pub(in crate::source) struct Fields<'a> {
    pub(super) category: Option<Cow<'a, str>>,
    /// ns since 1970.
    pub(in crate::source) timestamp: Option<i64>,
    pub(in crate::source) severity_number: u8,
    pub(in crate::source) severity_text: Cow<'a, str>,
    /// The body, where it is not the whole line.
    pub(in crate::source) body: Option<Cow<'a, str>>,
    attributes: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    /// Spare memory of the view of `attributes` that a record takes.
    views: Vec<(&'static str, &'static str)>,
    trace_id: Option<[u8; 16]>,
    span_id: Option<[u8; 8]>,
}

impl<'a> Fields<'a> {
    /// Calls `push` with the record of `line`, from which this was read, and the category that it names.
    pub(in crate::source) fn with_record(
        &mut self,
        observed: i64,
        line: &[u8],
        push: impl FnOnce(Option<&str>, &Record<'_>),
    ) {
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
    pub(in crate::source) fn reuse<'b>(self) -> Fields<'b> {
        Fields { attributes: recycle(self.attributes), views: self.views, ..Fields::default() }
    }

    /// Has the attribute `key`, where it is a time, be the timestamp.
    pub(in crate::source) fn time_from(&mut self, key: &str) {
        let Some(index) = self.attributes.iter().position(|(other, _)| other == key) else { return };
        let text = &self.attributes[index].1;
        if let Some(time) = timestamp::from_text(text).or_else(|| timestamp::from_number(text)) {
            self.timestamp = Some(time);
            self.attributes.remove(index);
        }
    }

    /// Sets the attribute `key`. An attribute has one value: the last.
    pub(in crate::source) fn set(&mut self, key: Cow<'a, str>, value: Cow<'a, str>) -> Result<(), Unparsed> {
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

    /// Sets the severity to a name, and to the number of that name if it has one.
    pub(super) fn set_severity(&mut self, name: Cow<'a, str>) {
        self.severity_number = severity::number_of(&name);
        self.severity_text = name;
    }

    /// Sets the trace id from 32 hexadecimal digits; anything else becomes the attribute `trace_id`.
    pub(super) fn set_trace_id(&mut self, text: Cow<'a, str>) -> Result<(), Unparsed> {
        self.trace_id = id(&text);
        if self.trace_id.is_none() { self.set("trace_id".into(), text) } else { Ok(()) }
    }

    /// Sets the span id from 16 hexadecimal digits; anything else becomes the attribute `span_id`.
    pub(super) fn set_span_id(&mut self, text: Cow<'a, str>) -> Result<(), Unparsed> {
        self.span_id = id(&text);
        if self.span_id.is_none() { self.set("span_id".into(), text) } else { Ok(()) }
    }

    /// Where the memory is that the next line uses again.
    #[cfg(test)]
    pub(super) fn memory(&self) -> (usize, usize) {
        (self.attributes.as_ptr() as usize, self.views.as_ptr() as usize)
    }
}

/// An id of `N` bytes from `2 * N` hexadecimal digits; all zero is none.
pub(in crate::source) fn id<const N: usize>(text: &str) -> Option<[u8; N]> {
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

/// An empty vector with the memory of `spent`: types that differ in nothing but a lifetime are collected in place.
pub(in crate::source) fn recycle<A, B>(mut spent: Vec<A>) -> Vec<B> {
    spent.clear();
    spent.into_iter().map(|_| unreachable!("it is empty")).collect()
}
