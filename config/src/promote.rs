//! `sink.promote`: attributes that get columns of their own in the table.

use crate::error::{Error, quoted};
use crate::section::Value;

/// The columns of every table, which no other column may be named as.
pub const TABLE_COLUMNS: [&str; 15] = [
    "timestamp",
    "observed_timestamp",
    "category",
    "host",
    "source",
    "severity_number",
    "severity_text",
    "body",
    "body_bytes",
    "attributes",
    "trace_id",
    "span_id",
    "stream",
    "seq",
    "date",
];
/// The most columns; each costs every row group of every file.
const PROMOTED_MAX: usize = 64;
/// The most bytes of an attribute's name.
const NAME_BYTES_MAX: usize = 256;

/// An attribute that is copied into a column of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Promoted {
    /// The attribute's name.
    pub attribute: String,
    /// The column's: letters, digits and `_`, not that of another column in other capitals.
    pub column: String,
    /// What its values are.
    pub kind: PromotedType,
}

/// What the values of a promoted attribute are. What is none of these becomes null.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromotedType {
    /// Any text.
    String,
    /// A whole number of 64 bits.
    Int,
    /// A number, whole or not.
    Float,
    /// `true` or `false`, in any capitals.
    Bool,
}

const TYPES: [(&str, PromotedType); 4] = [
    ("string", PromotedType::String),
    ("int", PromotedType::Int),
    ("float", PromotedType::Float),
    ("bool", PromotedType::Bool),
];

/// A list of attributes whose columns are texts, or a table with what each of them is.
pub(crate) fn read(value: &Value<'_>) -> Result<Vec<Promoted>, Error> {
    let mut all: Vec<Promoted> = Vec::new();
    let entries: Vec<(String, Option<Value<'_>>)> = match value.is_list() {
        true => {
            value.list()?.iter().map(|item| Ok((item.name(NAME_BYTES_MAX)?, None))).collect::<Result<_, Error>>()?
        }
        false => value.entries()?.into_iter().map(|(name, entry)| (name, Some(entry))).collect(),
    };
    if entries.len() > PROMOTED_MAX {
        return Err(value.wrong(format!("has {} attributes; promote at most {PROMOTED_MAX}", entries.len())));
    }
    for (attribute, entry) in entries {
        let at = entry.as_ref().unwrap_or(value);
        if attribute.len() > NAME_BYTES_MAX {
            return Err(at.wrong(format!("is too long; a name may have {NAME_BYTES_MAX} bytes")));
        }
        let (kind, given) = match &entry {
            None => (PromotedType::String, None),
            Some(entry) => kind_and_column(entry)?,
        };
        let column = given.unwrap_or_else(|| column_of(&attribute));
        let same = |other: &str| other.eq_ignore_ascii_case(&column);
        let other =
            TABLE_COLUMNS.iter().find(|other| same(other)).map(|other| format!("column `{other}` of every table"));
        let other = other.or_else(|| {
            all.iter()
                .find(|other| same(&other.column))
                .map(|other| format!("column of `{}`", quoted(&other.attribute)))
        });
        if let Some(other) = other {
            return Err(at.wrong(format!(
                "would have the column `{column}` for `{0}`, which is the {other}; name another, as in \
                 \"{0}\" = {{ type = \"string\", column = \"my_{column}\" }}",
                quoted(&attribute)
            )));
        }
        all.push(Promoted { attribute, column, kind });
    }
    Ok(all)
}

/// `"int"`, or `{ type = "int", column = "status" }`.
fn kind_and_column(entry: &Value<'_>) -> Result<(PromotedType, Option<String>), Error> {
    if !entry.is_table() {
        return Ok((entry.choice(&TYPES)?, None));
    }
    let fields = entry.fields(&["type", "column"])?;
    let kind = fields.get("type").map_or(Ok(PromotedType::String), |kind| kind.choice(&TYPES))?;
    let column = fields.get("column").map(|column| {
        let name = column.name(NAME_BYTES_MAX)?;
        match name == column_of(&name) {
            true => Ok(name),
            false => Err(column.wrong("must be letters, digits and `_`, and not begin with a digit")),
        }
    });
    Ok((kind, column.transpose()?))
}

/// The attribute's name with `_` for whatever would have to be quoted in a query.
fn column_of(attribute: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    let digit = attribute.starts_with(|c: char| c.is_ascii_digit());
    digit.then_some('_').into_iter().chain(attribute.chars().map(plain)).collect()
}
