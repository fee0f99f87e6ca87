//! A JSON object as a record, with the mapping of the `json` line format.

use std::borrow::Cow;
use std::sync::Arc;

use logboom_wire::Record;
use serde_json::value::RawValue;

use super::Shared;
use crate::counters::Counters;
use crate::source::Malformed;
use crate::source::json::text;
use crate::source::line::{Fields, PARSE_ERROR, Rules, read_json};
use crate::source::net::http::{Refusal, Taker};

/// Most labels, fields or metadata that stand together.
const PAIRS_MAX: usize = 256;

/// Has documents become records, each with the memory of the one before.
pub(super) struct Documents {
    spare: Fields<'static>,
    rules: Rules,
    counters: Arc<Counters>,
}

impl Documents {
    pub(super) fn new(shared: &Shared) -> Self {
        let rules = Rules::of_json(shared.inlet.source());
        Self { spare: Fields::default(), rules, counters: shared.inlet.context().counters.clone() }
    }

    /// Takes `line`. One that is no object, or no sound one, is kept as a plain record, as on any line source. A category
    /// that it names goes before `category`.
    pub(super) fn line(&mut self, line: &[u8], category: Option<&str>, taker: &mut Taker) -> Result<bool, Refusal> {
        let mut plain = Record { observed: taker.observed, body: line, ..Record::default() };
        if line.first() != Some(&b'{') {
            return taker.take(category, &plain, line.len());
        }
        let mut fields = std::mem::take(&mut self.spare).reuse();
        let taken = match read_json(&mut fields, line, taker.observed, &self.rules) {
            Ok(()) => {
                let mut taken = Ok(true);
                fields.with_record(taker.observed, line, |own, record| {
                    taken = taker.take(own.or(category), record, line.len());
                });
                taken
            }
            Err(error) => {
                self.counters.lines_unparsed.add(1);
                let attributes = [(PARSE_ERROR, &*error.0)];
                plain.attributes = &attributes;
                taker.take(category, &plain, line.len())
            }
        };
        self.spare = fields.reuse();
        taken
    }

    /// Takes a value of JSON: an object as a line, a text as the body, anything else as its JSON.
    pub(super) fn value(&mut self, raw: &RawValue, category: Option<&str>, taker: &mut Taker) -> Result<bool, Refusal> {
        if raw.get().starts_with('"') {
            let text = text(Some(raw)).map_err(Malformed::from)?.unwrap_or_default();
            let record = Record { observed: taker.observed, body: text.as_bytes(), ..Record::default() };
            return taker.take(category, &record, raw.get().len());
        }
        self.line(raw.get().as_bytes(), category, taker)
    }

    /// Takes a document for Elasticsearch: its time is `@timestamp`, and its category is its index, whatever it says.
    ///
    /// # Errors
    /// In the inner result: it is malformed.
    pub(super) fn indexed(
        &mut self,
        document: &[u8],
        index: &str,
        taker: &mut Taker,
    ) -> Result<Result<bool, Malformed>, Refusal> {
        let mut fields = std::mem::take(&mut self.spare).reuse();
        let read = read_json(&mut fields, document, taker.observed, &self.rules);
        let taken = match read {
            Err(error) => Ok(Err(error.into())),
            Ok(()) => {
                fields.time_from("@timestamp");
                let mut taken = Ok(true);
                fields.with_record(taker.observed, document, |own, record| {
                    taken = match own {
                        None => taker.take(Some(index), record, document.len()),
                        Some(own) => {
                            let attributes = [record.attributes, &[("category", own)]].concat();
                            let record = Record { attributes: &attributes, ..*record };
                            taker.take(Some(index), &record, document.len())
                        }
                    };
                });
                taken.map(Ok)
            }
        };
        self.spare = fields.reuse();
        taken
    }
}

/// Names and values.
pub(super) type Pairs<'a> = Vec<(Cow<'a, str>, Cow<'a, str>)>;

/// Sets `name`, which has one value: the last.
pub(super) fn set<'a>(pairs: &mut Pairs<'a>, name: Cow<'a, str>, value: Cow<'a, str>) -> Result<(), Malformed> {
    match pairs.iter().position(|(other, _)| *other == name) {
        Some(index) => pairs[index].1 = value,
        None if pairs.len() < PAIRS_MAX => pairs.push((name, value)),
        None => return Err(Malformed::fixed("there are more than 256 labels or fields")),
    }
    Ok(())
}

/// The lines of `bytes`, without their ends and without those that are empty.
pub(super) fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = bytes;
    let all = std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (line, after) = match memchr::memchr(b'\n', rest) {
            Some(end) => (&rest[..end], &rest[end + 1..]),
            None => (rest, &rest[..0]),
        };
        rest = after;
        Some(line.strip_suffix(b"\r").unwrap_or(line))
    });
    all.filter(|line| !line.is_empty())
}
