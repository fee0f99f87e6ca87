//! A record as the rules have left it so far: what it came with, and what they changed.

use logboom_config::{RecordValues, Redaction};
use logboom_wire::Record;

use super::redact::{redact, redact_attributes};

/// Memory that is kept from one record to the next, in bytes.
const SPARE_BYTES_MAX: usize = 256 << 10;
/// Most bytes of attributes that a redaction makes longer.
const ATTRIBUTE_BYTES_MAX: usize = 1 << 20;

/// A record, with the attributes that it has in common with others and those of its own, which win.
pub(crate) struct View<'a> {
    record: &'a Record<'a>,
    changed: Option<&'a Attributes>,
    body: &'a [u8],
    common: &'a [(String, String)],
    category: Option<&'a str>,
}

impl<'a> View<'a> {
    /// A record as it came, without a category.
    pub(crate) fn new(record: &'a Record<'a>, common: &'a [(String, String)]) -> Self {
        Self { record, changed: None, body: record.body, common, category: None }
    }

    pub(super) fn of_category(self, category: &'a str) -> Self {
        Self { category: Some(category), ..self }
    }

    pub(super) fn severity_number(&self) -> u8 {
        self.record.severity_number
    }

    pub(super) fn body(&self) -> &[u8] {
        self.body
    }

    pub(super) fn has_own_attributes(&self) -> bool {
        self.changed.map_or(!self.record.attributes.is_empty(), |changed| !changed.spans.is_empty())
    }

    /// The value of the attribute `name`.
    pub(super) fn find(&self, name: &str) -> Option<&'a str> {
        let own = match self.changed {
            None => self.record.attributes.iter().rev().find(|(key, _)| *key == name).map(|(_, value)| *value),
            Some(changed) => changed.iter().rev().find(|(key, _)| *key == name).map(|(_, value)| value),
        };
        own.or_else(|| self.common.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str()))
    }
}

impl RecordValues for View<'_> {
    fn attribute(&self, name: &str) -> Option<&str> {
        self.find(name)
    }

    fn severity(&self) -> &str {
        self.record.severity_text
    }

    fn category(&self) -> Option<&str> {
        self.category
    }
}

/// What rules change in one record. Its memory is used again for the next.
#[derive(Debug, Default)]
pub(super) struct Changes {
    /// All attributes of the record, once one of them has changed.
    attributes: Option<Attributes>,
    spare_attributes: Attributes,
    /// The body, if it has changed.
    body: Option<Vec<u8>>,
    spare_bodies: [Vec<u8>; 2],
    /// Memory for the attributes as a record has them.
    pairs: Vec<(&'static str, &'static str)>,
}

impl Changes {
    /// Forgets the last record.
    pub(super) fn begin(&mut self) {
        if let Some(attributes) = self.attributes.take()
            && attributes.text.capacity() <= SPARE_BYTES_MAX
        {
            self.spare_attributes = attributes;
        }
        if let Some(body) = self.body.take() {
            self.give_back(body);
        }
    }

    fn give_back(&mut self, body: Vec<u8>) {
        if body.capacity() <= SPARE_BYTES_MAX
            && let Some(spare) = self.spare_bodies.iter_mut().find(|spare| spare.capacity() == 0)
        {
            *spare = body;
        }
    }

    /// The record with the changes so far.
    pub(super) fn view<'a>(&'a self, record: &'a Record<'a>, common: &'a [(String, String)]) -> View<'a> {
        View { record, changed: self.attributes.as_ref(), body: self.body(record), common, category: None }
    }

    /// The body with the changes so far.
    pub(super) fn body<'a>(&'a self, record: &Record<'a>) -> &'a [u8] {
        self.body.as_deref().unwrap_or(record.body)
    }

    /// Takes the attributes away that are not wanted.
    pub(super) fn remove(&mut self, record: &Record<'_>, unwanted: impl Fn(&str) -> bool) {
        let any = match &self.attributes {
            None => record.attributes.iter().any(|(name, _)| unwanted(name)),
            Some(attributes) => attributes.iter().any(|(name, _)| unwanted(name)),
        };
        if any {
            self.attributes(record).remove(unwanted);
        }
    }

    /// Sets an attribute, in place of all of this name.
    pub(super) fn set(&mut self, record: &Record<'_>, name: &str, value: &str) {
        let attributes = self.attributes(record);
        attributes.remove(|other| other == name);
        attributes.push(name, value);
    }

    /// Redacts the body and the attributes. The body stays within `body_max`; whether it had to be cut.
    pub(super) fn redact(&mut self, record: &Record<'_>, redaction: &Redaction, body_max: usize) -> bool {
        if redaction.attributes.is_some() && (self.attributes.is_some() || !record.attributes.is_empty()) {
            let mut changed: Vec<(usize, String)> = Vec::new();
            let set = |index, value| changed.push((index, value));
            match &self.attributes {
                None => redact_attributes(redaction, record.attributes.iter().copied(), ATTRIBUTE_BYTES_MAX, set),
                Some(attributes) => redact_attributes(redaction, attributes.iter(), ATTRIBUTE_BYTES_MAX, set),
            }
            if !changed.is_empty() {
                let attributes = self.attributes(record);
                changed.iter().for_each(|(index, value)| attributes.set_value(*index, value));
            }
        }
        if !redaction.body {
            return false;
        }
        let [first, second] = &mut self.spare_bodies;
        let mut out = std::mem::take(if first.capacity() > 0 { first } else { second });
        let before = self.body(record).len();
        // One byte more than there may be shows that it has to be cut.
        if !redact(redaction, self.body(record), body_max.max(before) + 1, &mut out) {
            self.give_back(out);
            return false;
        }
        let cut = out.len() > body_max.max(before);
        out.truncate(body_max.max(before));
        if let Some(body) = self.body.replace(out) {
            self.give_back(body);
        }
        cut
    }

    /// Calls `with` with the changed record.
    pub(super) fn apply(&mut self, record: &Record<'_>, with: impl FnOnce(&Record<'_>)) {
        let Some(attributes) = &self.attributes else {
            return match &self.body {
                None => with(record),
                Some(body) => with(&Record { body, ..*record }),
            };
        };
        let mut pairs: Vec<(&str, &str)> = recycle(std::mem::take(&mut self.pairs));
        pairs.extend(attributes.iter());
        with(&Record { attributes: &pairs, body: self.body(record), ..*record });
        self.pairs = recycle(pairs);
    }

    /// The attributes of the record, to be changed.
    fn attributes(&mut self, record: &Record<'_>) -> &mut Attributes {
        self.attributes.get_or_insert_with(|| {
            let mut attributes = std::mem::take(&mut self.spare_attributes);
            attributes.clear();
            record.attributes.iter().for_each(|(name, value)| attributes.push(name, value));
            attributes
        })
    }
}

/// Attributes in memory of their own.
#[derive(Debug, Default)]
struct Attributes {
    text: String,
    /// Where in `text` a name begins, where its value begins, and both ends.
    spans: Vec<Span>,
}

#[derive(Clone, Copy, Debug)]
struct Span {
    name: (usize, usize),
    value: (usize, usize),
}

impl Attributes {
    fn clear(&mut self) {
        self.text.clear();
        self.spans.clear();
    }

    fn iter(&self) -> impl DoubleEndedIterator<Item = (&str, &str)> + Clone {
        self.spans.iter().map(|Span { name, value }| (&self.text[name.0..name.1], &self.text[value.0..value.1]))
    }

    fn push(&mut self, name: &str, value: &str) {
        let span = Span { name: self.add(name), value: self.add(value) };
        self.spans.push(span);
    }

    fn add(&mut self, text: &str) -> (usize, usize) {
        let start = self.text.len();
        self.text.push_str(text);
        (start, self.text.len())
    }

    fn remove(&mut self, unwanted: impl Fn(&str) -> bool) {
        let Self { text, spans } = self;
        spans.retain(|Span { name, .. }| !unwanted(&text[name.0..name.1]));
    }

    fn set_value(&mut self, index: usize, value: &str) {
        self.spans[index].value = self.add(value);
    }
}

/// An empty vector with the memory of `spent`: types that differ in nothing but a lifetime are collected in place.
fn recycle<A, B>(mut spent: Vec<A>) -> Vec<B> {
    spent.clear();
    spent.into_iter().map(|_| unreachable!("it is empty")).collect()
}
