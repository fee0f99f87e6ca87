//! The settings file as a TOML document whose keys are all known.
//!
//! Owns the way from bytes to lines, and the complaint about keys that are not in the table. What
//! the values mean is for the readers of each section.

use toml::de::{DeTable, DeValue};

use crate::error::{Error, quoted};
use crate::keys::{self, KEYS, REPEATED, SINK, SINK_ROUTE};
use crate::section::Section;
use crate::shown::on_one_line;

/// The file that an error names, and its text to find lines in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin<'a> {
    pub(crate) file: &'a str,
    pub(crate) text: &'a str,
}

impl Origin<'_> {
    /// An error at byte `at` of the text.
    pub(crate) fn wrong(&self, at: usize, key: Option<&str>, message: &str) -> Error {
        let before = &self.text.as_bytes()[..at.min(self.text.len())];
        Error::Wrong {
            file: on_one_line(self.file),
            line: 1 + before.iter().filter(|byte| **byte == b'\n').count(),
            key: key.map(quoted),
            message: on_one_line(message),
        }
    }
}

/// Parses the text and checks that every key in it is known.
pub(crate) fn parse<'a>(origin: Origin<'a>) -> Result<DeTable<'a>, Error> {
    parse_table(origin, "")
}

/// The same for a text whose keys stand under the heading `path`.
pub(crate) fn parse_table<'a>(origin: Origin<'a>, path: &str) -> Result<DeTable<'a>, Error> {
    let table = DeTable::parse(origin.text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        let message = error.message().replace('\n', ", ");
        let fix = match message.contains("duplicate") {
            true => "write each key and each table once",
            false => "see https://toml.io for how it is written",
        };
        origin.wrong(at, None, &format!("is not TOML: {message}; {fix}"))
    })?;
    let table = table.into_inner();
    let mut unknown = Vec::new();
    find_unknown(origin, path, &table, &mut unknown);
    match unknown.into_iter().min_by_key(|(at, _)| *at) {
        Some((_, error)) => Err(error),
        None => Ok(table),
    }
}

/// A section of the document, when it is there.
pub(crate) fn section<'a>(origin: Origin<'a>, document: &'a DeTable<'a>, name: &'static str) -> Option<Section<'a>> {
    let (key, value) = document.iter().find(|(key, _)| key.get_ref() == name)?;
    Some(Section::new(origin, name, value.get_ref().as_table()?, key.span().start))
}

fn find_unknown(origin: Origin<'_>, path: &str, table: &DeTable<'_>, unknown: &mut Vec<(usize, Error)>) {
    for (key, value) in table.iter() {
        let at = key.span().start;
        let name = match path {
            "" => key.get_ref().to_string(),
            _ => format!("{path}.{}", key.get_ref()),
        };
        // A quoted key may hold dots, and would then look like a key further down.
        let known = !key.get_ref().contains('.') && (keys::find(&name).is_some() || is_heading(&name));
        if !known {
            let message = format!("is not known; {}", nearest(path, key.get_ref()));
            unknown.push((at, origin.wrong(at, Some(&name), &message)));
            continue;
        }
        if keys::find(&name).is_some() {
            continue;
        }
        let repeated = REPEATED.contains(&name.as_str());
        match value.get_ref() {
            DeValue::Table(table) if !repeated => find_unknown(origin, &name, table, unknown),
            DeValue::Array(array) if repeated && array.iter().all(|item| item.get_ref().is_table()) => {
                let tables = array.iter().filter_map(|item| item.get_ref().as_table());
                tables.for_each(|table| find_unknown(origin, &name, table, unknown));
            }
            _ => {
                let fix = match repeated {
                    true => {
                        let each = name.rsplit('.').next().unwrap_or_default();
                        format!("must be written `[[{name}]]`, once for each {each}")
                    }
                    false => format!("must be a table; write `[{name}]` on a line of its own"),
                };
                unknown.push((at, origin.wrong(at, Some(&name), &fix)));
            }
        }
    }
}

fn is_heading(name: &str) -> bool {
    KEYS.iter().any(|key| key.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

/// What the writer of an unknown key may have meant.
fn nearest(path: &str, wrong: &str) -> String {
    let mut here: Vec<&str> = KEYS
        .iter()
        .filter_map(|key| match path {
            "" => Some(key.name),
            // A route of the sink may have the keys of the sink.
            SINK_ROUTE => key.name.strip_prefix(path).or_else(|| key.name.strip_prefix(SINK))?.strip_prefix('.'),
            _ => key.name.strip_prefix(path)?.strip_prefix('.'),
        })
        .filter_map(|rest| rest.split('.').next())
        .collect();
    here.dedup();
    if let Some(meant) = closest(wrong, here.iter().copied()) {
        return format!("did you mean `{meant}`?");
    }
    if let Some(key) = KEYS.iter().find(|key| key.short_name() == wrong) {
        return format!("did you mean `{}`, under `[{}]`?", key.name, key.heading());
    }
    if let Some(name) = REPEATED.into_iter().find(|name| name.rsplit('.').next() == Some(wrong)) {
        return format!("did you mean `[[{name}]]`?");
    }
    format!("the keys here are {}", here.join(", "))
}

/// The candidate that `wrong` is most probably a slip of, if any is near enough.
pub(crate) fn closest<'a>(wrong: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Longer than any key or choice: nothing is near it, and comparing it would take long.
    if wrong.len() > 64 {
        return None;
    }
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(wrong, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= 1.max(candidate.len() / 3))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
