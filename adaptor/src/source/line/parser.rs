//! Turns lines into records of a chunk, in the format of their source.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use logboom_config::{CATEGORY_BYTES_MAX, Format, Source, TemplateValues};
use logboom_wire::{Record, RunKey};

use super::json::{Fields, Unparsed};
use crate::counters::Counters;
use crate::intake::Chunk;
use crate::source::Context;

/// Categories that a parser remembers the keys of. A producer that makes up more makes it start afresh.
const KEYS_MAX: usize = 1000;
/// Attribute of a JSON line that was kept as a plain record: why.
const PARSE_ERROR: &str = "logboom.parse_error";

/// Parses the lines of one file, connection or socket. A clone shares the source's key and nothing else.
pub(crate) struct Parser {
    format: Format,
    key: Arc<RunKey>,
    /// Keys of the categories that records named, by category.
    keys: HashMap<String, Arc<RunKey>>,
    fields: Fields<'static>,
    counters: Arc<Counters>,
}

impl Clone for Parser {
    fn clone(&self) -> Self {
        Self {
            format: self.format,
            key: self.key.clone(),
            keys: HashMap::new(),
            fields: Fields::default(),
            counters: self.counters.clone(),
        }
    }
}

impl Parser {
    /// A parser for `source`; for a file source, for its file at `file_path`.
    pub(crate) fn new(source: &Source, context: &Context, file_path: Option<&Path>) -> Self {
        let values = TemplateValues { file_path, source: &source.name, host: &context.host };
        let mut attributes: BTreeMap<&str, String> = BTreeMap::new();
        for (key, value) in context.labels.iter().chain(&source.attributes) {
            attributes.insert(key, value.clone());
        }
        if let Some(path) = file_path {
            attributes.insert("log.file.path", path.to_string_lossy().into_owned());
        }
        let key = RunKey {
            category: usable_category(&source.category.render(&values), &source.name),
            source: source.name.clone(),
            attributes: attributes.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        };
        Self {
            format: source.format,
            key: Arc::new(key),
            keys: HashMap::new(),
            fields: Fields::default(),
            counters: context.counters.clone(),
        }
    }

    /// Whether lines are JSON objects.
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Adds the record of `line`, observed at `observed_ns` (since 1970), to `chunk`: always exactly one.
    pub(crate) fn parse(&mut self, observed_ns: i64, line: &[u8], chunk: &mut Chunk) {
        match (self.format, line.first()) {
            (Format::Json, Some(b'{')) => self.parse_json(observed_ns, line, chunk),
            _ => chunk.rows(&self.key).push_line(observed_ns, line),
        }
    }

    fn parse_json(&mut self, observed: i64, line: &[u8], chunk: &mut Chunk) {
        let mut fields = std::mem::take(&mut self.fields).reuse();
        match fields.read(line) {
            Ok(()) => {
                let key = match fields.category() {
                    Some(category) => self.key_of(category),
                    None => &self.key,
                };
                let rows = chunk.rows(key);
                fields.with_record(observed, line, |record| rows.push(record));
            }
            Err(Unparsed(reason)) => {
                self.counters.lines_unparsed.add(1);
                let attributes = [(PARSE_ERROR, reason.as_ref())];
                let record = Record { observed, body: line, attributes: &attributes, ..Record::default() };
                chunk.rows(&self.key).push(&record);
            }
        }
        self.fields = fields.reuse();
    }

    /// The key of records that name `category`, which is valid.
    fn key_of(&mut self, category: &str) -> &Arc<RunKey> {
        if category == self.key.category {
            return &self.key;
        }
        if !self.keys.contains_key(category) {
            if self.keys.len() >= KEYS_MAX {
                self.keys.clear();
            }
            let key = RunKey { category: category.to_owned(), ..(*self.key).clone() };
            self.keys.insert(category.to_owned(), Arc::new(key));
        }
        &self.keys[category]
    }
}

/// `rendered` as a category: a file's name, which it may hold, can be anything.
fn usable_category(rendered: &str, otherwise: &str) -> String {
    let clean: String = rendered.chars().map(|c| if c.is_control() { '_' } else { c }).collect();
    let text = if clean.is_empty() { otherwise } else { &clean };
    text[..text.floor_char_boundary(CATEGORY_BYTES_MAX)].to_owned()
}
