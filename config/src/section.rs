//! Reading one table of the document: each key's value in its type and range, or an error that
//! says where. An absent key has the value that the table of keys gives it.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use crate::document::{Origin, closest};
use crate::error::{Error, Unparsable, quoted};
use crate::keys::{self, Preset};
use crate::{ByteSize, Globs, HumanDuration, Secret, Tokens};

/// One table of the document, or an absent one of which every key has its default.
#[derive(Clone, Copy)]
pub(crate) struct Section<'a> {
    origin: Origin<'a>,
    path: &'static str,
    table: Option<&'a DeTable<'a>>,
    at: usize,
    /// What an absent key is taken from before it gets its default: the path and the table of another section.
    base: Option<(&'static str, &'a DeTable<'a>)>,
}

/// The value of one key, with what an error about it needs.
pub(crate) struct Value<'a> {
    origin: Origin<'a>,
    key: String,
    value: DeValue<'a>,
    at: usize,
}

impl<'a> Section<'a> {
    pub(crate) fn new(origin: Origin<'a>, path: &'static str, table: &'a DeTable<'a>, at: usize) -> Section<'a> {
        let table = Some(table);
        Section { origin, path, table, at, base: None }
    }

    /// The same, with what it does not say as in `base`.
    pub(crate) fn inheriting(self, base: &Section<'a>) -> Section<'a> {
        Section { base: base.table.map(|table| (base.path, table)), ..self }
    }

    /// The section with nothing in it.
    pub(crate) fn defaults(path: &'static str) -> Section<'static> {
        let origin = Origin { file: "the defaults", text: "" };
        Section { origin, path, table: None, at: 0, base: None }
    }

    /// The keys that the file gives, each with where it stands.
    pub(crate) fn given_keys(&self) -> impl Iterator<Item = (&'a str, usize)> {
        let entries = self.table.into_iter().flat_map(|table| table.iter());
        entries.map(|(key, _)| (key.get_ref().as_ref(), key.span().start))
    }

    /// The value of a key, if the file gives it.
    pub(crate) fn given(&self, name: &str) -> Option<Value<'a>> {
        let own = self.table.map(|table| (self.path, table));
        own.into_iter().chain(self.base).find_map(|(path, table)| {
            let (key, value) = table.iter().find(|(key, _)| key.get_ref() == name)?;
            let (value, at) = (value.get_ref().clone(), key.span().start);
            Some(Value { origin: self.origin, key: format!("{path}.{name}"), value, at })
        })
    }

    /// The value of a key that has a default.
    ///
    /// # Panics
    /// If the table of keys has no valid default for it: a mistake in this crate, not in a file.
    pub(crate) fn get(&self, name: &str) -> Value<'a> {
        self.given(name).unwrap_or_else(|| {
            let Some(Preset::Default(default)) = keys::find(&self.full(name)).map(|key| key.preset) else {
                panic!("`{}` has no default in the table of keys", self.full(name));
            };
            let value = DeValue::parse(default).expect("the defaults are TOML values");
            Value { origin: self.origin, key: self.full(name), value: value.into_inner(), at: self.at }
        })
    }

    /// The value of a key that must be given.
    pub(crate) fn required(&self, name: &str) -> Result<Value<'a>, Error> {
        self.given(name).ok_or_else(|| {
            let example = match keys::find(&self.full(name)).map(|key| key.preset) {
                Some(Preset::Required(example)) => example.replace("$type", "app"),
                _ => "…".to_owned(),
            };
            self.wrong(name, &format!("is missing; add for example `{name} = {example}`"))
        })
    }

    /// An error about a key of this section, at the key or else at the section's head.
    pub(crate) fn wrong(&self, name: &str, message: &str) -> Error {
        let given = self.given_keys().find(|(key, _)| *key == name);
        let at = given.map_or(self.at, |(_, at)| at);
        self.origin.wrong(at, Some(&self.full(name)), message)
    }

    /// An error at the section's head about a key that may be of another section.
    pub(crate) fn at_head(&self, key: &str, message: &str) -> Error {
        self.origin.wrong(self.at, Some(key), message)
    }

    /// The tables of an array of tables.
    pub(crate) fn tables(&self, name: &str, path: &'static str) -> Vec<Section<'a>> {
        let value = self.table.and_then(|table| table.iter().find(|(key, _)| key.get_ref() == name));
        let items = value.and_then(|(_, value)| value.get_ref().as_array());
        let tables = items.into_iter().flat_map(|items| items.iter());
        tables
            .filter_map(|item| Some(Section::new(self.origin, path, item.get_ref().as_table()?, item.span().start)))
            .collect()
    }

    /// A table in this table; an absent one has only defaults.
    pub(crate) fn child(&self, name: &str, path: &'static str) -> Section<'a> {
        let found = self.table.and_then(|table| table.iter().find(|(key, _)| key.get_ref() == name));
        Section {
            origin: self.origin,
            path,
            table: found.and_then(|(_, value)| value.get_ref().as_table()),
            at: found.map_or(self.at, |(key, _)| key.span().start),
            base: None,
        }
    }

    fn full(&self, name: &str) -> String {
        format!("{}.{name}", self.path)
    }
}

impl<'a> Value<'a> {
    /// An error about this value; the message goes on from "key `…`".
    pub(crate) fn wrong(&self, message: impl Display) -> Error {
        self.origin.wrong(self.at, Some(&self.key), &message.to_string())
    }

    fn must_be(&self, what: impl Display) -> Error {
        let article = if self.value.is_integer() || self.value.is_array() { "an" } else { "a" };
        self.wrong(format!("must be {what}, not {article} {}", self.value.type_str()))
    }

    pub(crate) fn text(&self) -> Result<String, Error> {
        match self.value.as_str() {
            Some(text) => Ok(text.to_owned()),
            None => Err(self.must_be("text in quotes")),
        }
    }

    /// Text that has at least one and at most `bytes_max` bytes, none of them a control character.
    pub(crate) fn name(&self, bytes_max: usize) -> Result<String, Error> {
        let text = self.text()?;
        match (1..=bytes_max).contains(&text.len()) && !text.chars().any(char::is_control) {
            true => Ok(text),
            false => Err(self.wrong(format!("must have 1 to {bytes_max} bytes and no control characters"))),
        }
    }

    /// Text in a form of its own; `what` it is stands in the error when the value is no text.
    pub(crate) fn parsed<T: FromStr<Err = Unparsable>>(&self, what: &str) -> Result<T, Error> {
        let text = self.value.as_str().ok_or_else(|| self.must_be(what))?;
        text.parse().map_err(|error| self.wrong(format!("is wrong: {error}")))
    }

    /// An IP address with a port, for listening.
    pub(crate) fn listen(&self) -> Result<std::net::SocketAddr, Error> {
        let text = self.text()?;
        text.parse().map_err(|_| {
            let text = quoted(&text);
            self.wrong(format!(
                "is `{text}`, which is not an IP address with a port; write for example `127.0.0.1:1514`"
            ))
        })
    }

    pub(crate) fn flag(&self) -> Result<bool, Error> {
        self.value.as_bool().ok_or_else(|| self.must_be("true or false"))
    }

    pub(crate) fn choice<T: Copy>(&self, choices: &[(&'static str, T)]) -> Result<T, Error> {
        let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
        let list = format!("\"{}\"", names.join("\", \""));
        let Some(text) = self.value.as_str() else {
            return Err(self.must_be(format!("one of {list}")));
        };
        if let Some((_, choice)) = choices.iter().find(|(name, _)| *name == text) {
            return Ok(*choice);
        }
        let hint = closest(text, names.into_iter()).map(|meant| format!("; did you mean \"{meant}\"?"));
        let hint = hint.unwrap_or_default();
        Err(self.wrong(format!("must be one of {list}, not \"{}\"{hint}", quoted(text))))
    }

    /// A plain whole number.
    pub(crate) fn count(&self, range: RangeInclusive<u64>) -> Result<u64, Error> {
        let (low, high) = (range.start(), range.end());
        let what = format!("a whole number from {low} to {high}");
        let Some(integer) = self.value.as_integer() else {
            return Err(self.must_be(what));
        };
        match u64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(number) if range.contains(&number) => Ok(number),
            _ => Err(self.wrong(format!("must be {what}, not {}", quoted(&integer.to_string())))),
        }
    }

    /// A number of bytes, with a unit or plain.
    pub(crate) fn size(&self, range: RangeInclusive<u64>) -> Result<u64, Error> {
        let size = match self.value.as_integer() {
            Some(integer) => match u64::from_str_radix(integer.as_str(), integer.radix()) {
                Ok(bytes) => ByteSize(bytes),
                Err(_) => {
                    return Err(
                        self.wrong(format!("must be a size such as \"64MiB\", not {}", quoted(&integer.to_string())))
                    );
                }
            },
            None => self.parsed::<ByteSize>("a size such as \"64MiB\"")?,
        };
        match range.contains(&size.0) {
            true => Ok(size.0),
            false => {
                let (low, high) = (ByteSize(*range.start()), ByteSize(*range.end()));
                Err(self.wrong(format!("must be from {low} to {high}, not {size}")))
            }
        }
    }

    pub(crate) fn duration(&self, range: RangeInclusive<Duration>) -> Result<Duration, Error> {
        let duration = self.parsed::<HumanDuration>("a duration in quotes such as \"30s\"")?;
        match range.contains(&duration.0) {
            true => Ok(duration.0),
            false => {
                let (low, high) = (HumanDuration(*range.start()), HumanDuration(*range.end()));
                Err(self.wrong(format!("must be from {low} to {high}, not {duration}")))
            }
        }
    }

    /// A whole number as it is written, in base ten.
    pub(crate) fn whole(&self) -> Option<String> {
        let integer = self.value.as_integer()?;
        Some(u64::from_str_radix(integer.as_str(), integer.radix()).map_or(integer.to_string(), |n| n.to_string()))
    }

    /// A number, whole or not.
    pub(crate) fn number(&self) -> Result<f64, Error> {
        let (whole, fraction) = (self.value.as_integer(), self.value.as_float());
        let text = whole.map(|number| number.as_str()).or_else(|| fraction.map(|number| number.as_str()));
        text.and_then(|text| text.parse().ok()).ok_or_else(|| self.must_be("a number such as 0.1"))
    }

    pub(crate) fn is_list(&self) -> bool {
        self.value.is_array()
    }

    pub(crate) fn is_table(&self) -> bool {
        self.value.is_table()
    }

    /// One glob, or a list of which one has to match.
    pub(crate) fn globs(&self) -> Result<Globs, Error> {
        let wrong = |error| self.wrong(format!("is wrong: {error}"));
        if !self.is_list() {
            let text = self.value.as_str().ok_or_else(|| self.must_be("a glob in quotes or a list of them"))?;
            return Globs::new([text]).map_err(wrong);
        }
        let mut texts = Vec::new();
        for item in self.list()? {
            let text = item.text()?;
            Globs::new([&text]).map_err(|error| item.wrong(format!("is wrong: {error}")))?;
            texts.push(text);
        }
        match texts.is_empty() {
            true => Err(self.wrong("is an empty list, which matches nothing; remove it")),
            false => Globs::new(texts).map_err(wrong),
        }
    }

    /// The values of a table of which these are all the keys that it may have.
    pub(crate) fn fields(&self, known: &[&str]) -> Result<BTreeMap<String, Value<'a>>, Error> {
        if !self.value.is_table() {
            return Err(self.must_be(format!("a table with {}", known.join(", "))));
        }
        let fields = self.entries()?;
        match fields.iter().find(|(name, _)| !known.contains(&name.as_str())) {
            None => Ok(fields.into_iter().collect()),
            Some((name, value)) => Err(value.wrong(match closest(name, known.iter().copied()) {
                Some(meant) => format!("is not known; did you mean `{meant}`?"),
                None => format!("is not known; the keys here are {}", known.join(", ")),
            })),
        }
    }

    /// The items of a list.
    pub(crate) fn list(&self) -> Result<Vec<Value<'a>>, Error> {
        let Some(array) = self.value.as_array() else {
            return Err(self.must_be("a list such as [\"a\", \"b\"]"));
        };
        let items = array.iter().map(|item| Value {
            origin: self.origin,
            key: self.key.clone(),
            value: item.get_ref().clone(),
            at: item.span().start,
        });
        Ok(items.collect())
    }

    /// The entries of a table whose keys the writer chooses.
    pub(crate) fn entries(&self) -> Result<Vec<(String, Value<'a>)>, Error> {
        let Some(table) = self.value.as_table() else {
            return Err(self.must_be("a table such as { name = \"value\" }"));
        };
        let entries = table.iter().map(|(key, value)| {
            let entry = Value {
                origin: self.origin,
                key: format!("{}.{}", self.key, key.get_ref()),
                value: value.get_ref().clone(),
                at: key.span().start,
            };
            match key.get_ref().is_empty() {
                true => Err(self.wrong("has an entry without a name; name it")),
                false => Ok((key.get_ref().to_string(), entry)),
            }
        });
        entries.collect()
    }

    /// A table from names to text.
    pub(crate) fn texts(&self) -> Result<BTreeMap<String, String>, Error> {
        let entries = self.entries()?;
        entries.into_iter().map(|(name, value)| Ok((name, value.text()?))).collect()
    }

    /// The secret in the file that this value names.
    pub(crate) fn secret(&self, bytes_max: u64) -> Result<Secret, Error> {
        let path = self.text()?;
        Secret::read_within(Path::new(&path), bytes_max).map_err(|message| self.wrong(message))
    }

    /// The tokens in the file that this value names.
    pub(crate) fn tokens(&self) -> Result<Tokens, Error> {
        let path = self.text()?;
        Tokens::read(Path::new(&path)).map_err(|message| self.wrong(message))
    }
}
