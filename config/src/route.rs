//! `[[adaptor.route]]`: rules that every record passes on its way from its source into the spool.

mod describe;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::error::Error;
use crate::pattern::{Globs, Pattern};
use crate::section::{Section, Value};
use crate::severity::Severities;
use crate::template::Template;

/// The most bytes of a rule's name.
const NAME_BYTES_MAX: usize = 128;
/// The most bytes of an attribute's name and of its value in `add_attributes`, and of both together in one rule. They may
/// come to stand in the header of a block, which is bounded.
const ATTRIBUTE_NAME_BYTES_MAX: usize = 256;
const ATTRIBUTE_VALUE_BYTES_MAX: usize = 4 << 10;
const ADDED_BYTES_MAX: usize = 8 << 10;
/// The most bytes of `with`.
const WITH_BYTES_MAX: usize = 256;
/// The most groups in it, each of which may be as long as the body.
const WITH_GROUPS_MAX: usize = 8;
/// What a redaction writes when it is not told.
const WITH: &str = "***";
/// The least share that sampling keeps.
const SHARE_MIN: f64 = 0.000_001;
/// The most records and bytes a second of a limit: beyond what one host can take in.
const RATE_MAX: u64 = 1 << 40;

/// A rule: what it is for, and what it does to the records that it is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Unique among the rules; 1 to 128 bytes without control characters.
    pub name: String,
    /// The categories it is for; none for all.
    pub category: Option<Globs>,
    /// The sources it is for, by name; none for all.
    pub source: Option<Globs>,
    /// The severities it is for; none for all.
    pub severity: Option<Severities>,
    /// Attributes that a record must have, and what each must be.
    pub attributes: Vec<(String, Globs)>,
    /// What the body must have in it.
    pub body: Option<Pattern>,
    /// The category that the records get.
    pub set_category: Option<Template>,
    /// Attributes that are taken from them.
    pub remove_attributes: Option<Globs>,
    /// Attributes that they get, in place of those of the same name.
    pub add_attributes: BTreeMap<String, String>,
    /// What is made unreadable in them, in this order.
    pub redact: Vec<Redaction>,
    /// The share of them that is kept.
    pub sample: Option<Share>,
    /// How many of them are kept.
    pub limit: Option<Limit>,
    /// Whether they are dropped, all of them.
    pub drop: bool,
    /// Whether later rules are not for them.
    pub stop: bool,
}

/// Text that is replaced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redaction {
    /// What is replaced. It does not match texts of no length.
    pub pattern: Pattern,
    /// What stands there instead; `$1` and `${name}` are groups of the pattern, `$$` is a dollar.
    pub with: String,
    /// Whether it is replaced in the body.
    pub body: bool,
    /// The attributes that it is replaced in.
    pub attributes: Option<Globs>,
}

/// A share of records, above 0 and at most 1.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Of the 2^56 values that a record may draw, those below this one are left out.
    left_out: u64,
}

/// Bits of the number that a record draws.
const DRAW_BITS: u32 = 56;

impl Share {
    fn new(share: f64) -> Option<Share> {
        let all = (1_u64 << DRAW_BITS) as f64;
        (SHARE_MIN..=1.0).contains(&share).then(|| Share { left_out: ((1.0 - share) * all).round() as u64 })
    }

    /// Whether a record that drew `draw`, of which the low 56 bits count, is kept. A record of a trace draws the end of
    /// its trace id: this is the threshold of OpenTelemetry's consistent probability sampling, so all records of a trace
    /// are kept or none, and a tracer that samples by the same share keeps the same traces.
    pub fn keeps(&self, draw: u64) -> bool {
        draw & ((1 << DRAW_BITS) - 1) >= self.left_out
    }
}

impl fmt::Debug for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kept = 1.0 - self.left_out as f64 / (1_u64 << DRAW_BITS) as f64;
        write!(f, "{}", (kept * 1e9).round() / 1e9)
    }
}

/// How much of a category passes. At least one of the rates is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Records a second, at least 1.
    pub records_per_second: Option<u64>,
    /// Bytes of bodies a second, at least 1.
    pub bytes_per_second: Option<u64>,
    /// A category that was quiet may send what these rates allow in this time at once; 1 ms to 1 hour.
    pub burst: Duration,
}

/// Reads every rule, and names those without a name.
pub(crate) fn read_all(sections: &[Section<'_>]) -> Result<Vec<Route>, Error> {
    let mut routes: Vec<Route> = Vec::with_capacity(sections.len());
    for (n, section) in sections.iter().enumerate() {
        let given = section.given("name").map(|name| name.name(NAME_BYTES_MAX)).transpose()?;
        let name = given.unwrap_or_else(|| format!("route-{}", n + 1));
        if routes.iter().any(|other| other.name == name) {
            return Err(section.wrong("name", &format!("is `{name}`, the name of another rule; names must be unique")));
        }
        routes.push(Route::read(name, section)?);
    }
    Ok(routes)
}

/// Actions that have no meaning beside `drop`.
const KEEPING: [&str; 7] = ["set_category", "remove_attributes", "add_attributes", "redact", "sample", "limit", "stop"];

impl Route {
    fn read(name: String, section: &Section<'_>) -> Result<Route, Error> {
        let globs = |key: &str| section.given(key).map(|value| value.globs()).transpose();
        let attributes = section.get("attributes").entries()?.into_iter();
        let route = Route {
            name,
            category: globs("category")?,
            source: globs("source")?,
            severity: section.given("severity").map(|value| severities(&value)).transpose()?,
            attributes: attributes.map(|(name, value)| Ok((name, value.globs()?))).collect::<Result<_, Error>>()?,
            body: section.given("body").map(|value| value.parsed("a regular expression in quotes")).transpose()?,
            set_category: section.given("set_category").map(|value| value.parsed("text in quotes")).transpose()?,
            remove_attributes: globs("remove_attributes")?,
            add_attributes: added(&section.get("add_attributes"))?,
            redact: section.get("redact").list()?.iter().map(Redaction::read).collect::<Result<_, _>>()?,
            sample: section.given("sample").map(|value| share(&value)).transpose()?,
            limit: section.given("limit").map(|value| Limit::read(&value)).transpose()?,
            drop: section.get("drop").flag()?,
            stop: section.get("stop").flag()?,
        };
        let acts = route.drop || route.stop || route.set_category.is_some() || route.remove_attributes.is_some();
        let acts = acts || !route.add_attributes.is_empty() || !route.redact.is_empty();
        if !acts && route.sample.is_none() && route.limit.is_none() {
            let message = "is missing, and so is every other action: the rule does nothing; write `drop = true`, or \
                one of set_category, remove_attributes, add_attributes, redact, sample, limit and stop";
            return Err(section.wrong("drop", message));
        }
        if let Some(key) = KEEPING.into_iter().find(|key| route.drop && section.given(key).is_some()) {
            return Err(section.wrong(key, "has no meaning for records that are dropped; remove it, or `drop`"));
        }
        Ok(route)
    }
}

/// One condition on the severity, or a list of which one has to hold.
fn severities(value: &Value<'_>) -> Result<Severities, Error> {
    let one = |value: &Value<'_>| match value.whole() {
        Some(number) => number.parse().map_err(|error| value.wrong(format!("is wrong: {error}"))),
        None => value.parsed("a severity such as \">=warn\""),
    };
    if !value.is_list() {
        return one(value);
    }
    let mut all = value.list()?.iter().map(one).collect::<Result<Vec<Severities>, Error>>()?.into_iter();
    let first = all.next().ok_or_else(|| value.wrong("is an empty list, which matches nothing; remove it"))?;
    Ok(all.fold(first, Severities::or))
}

fn added(value: &Value<'_>) -> Result<BTreeMap<String, String>, Error> {
    let mut added = BTreeMap::new();
    let mut bytes = 0;
    for (name, entry) in value.entries()? {
        let text = entry.text()?;
        if name.len() > ATTRIBUTE_NAME_BYTES_MAX || text.len() > ATTRIBUTE_VALUE_BYTES_MAX {
            let (name, text) = (ATTRIBUTE_NAME_BYTES_MAX, ATTRIBUTE_VALUE_BYTES_MAX);
            return Err(entry.wrong(format!("is too long; a name may have {name} bytes, a value {text}")));
        }
        bytes += name.len() + text.len();
        added.insert(name, text);
    }
    match bytes <= ADDED_BYTES_MAX {
        true => Ok(added),
        false => Err(value.wrong(format!("has {bytes} bytes of attributes; write at most {ADDED_BYTES_MAX}"))),
    }
}

fn share(value: &Value<'_>) -> Result<Share, Error> {
    Share::new(value.number()?).ok_or_else(|| {
        value.wrong(format!("must be above 0 and at most 1, such as 0.1 to keep a tenth (the least is {SHARE_MIN})"))
    })
}

impl Redaction {
    fn read(value: &Value<'_>) -> Result<Redaction, Error> {
        let fields = value.fields(&["regex", "with", "body", "attributes"])?;
        let Some(regex) = fields.get("regex") else {
            return Err(value.wrong("has an entry without `regex`; write { regex = \"…\", with = \"***\" }"));
        };
        let pattern: Pattern = regex.parsed("a regular expression in quotes")?;
        // What matches everywhere may do so in front of the very text that it is to replace.
        if pattern.matches_nothing() {
            return Err(
                regex.wrong("can match a text of no length; write + for *, or more of the text that is replaced")
            );
        }
        let with = fields.get("with").map_or(Ok(WITH.to_owned()), |with| {
            let text = with.text()?;
            match text.len() <= WITH_BYTES_MAX && text.matches('$').count() <= WITH_GROUPS_MAX {
                true => Ok(text),
                false => Err(with.wrong(format!("must have at most {WITH_BYTES_MAX} bytes and {WITH_GROUPS_MAX} `$`"))),
            }
        })?;
        let body = fields.get("body").map_or(Ok(true), Value::flag)?;
        let attributes = fields.get("attributes").map(Value::globs).transpose()?;
        match body || attributes.is_some() {
            true => Ok(Redaction { pattern, with, body, attributes }),
            false => Err(value.wrong("redacts neither the body nor attributes; name attributes, or remove `body`")),
        }
    }
}

impl Limit {
    fn read(value: &Value<'_>) -> Result<Limit, Error> {
        let fields = value.fields(&["records_per_second", "bytes_per_second", "burst"])?;
        let records = fields.get("records_per_second").map(|value| value.count(1..=RATE_MAX)).transpose()?;
        let bytes = fields.get("bytes_per_second").map(|value| value.size(1..=RATE_MAX)).transpose()?;
        let burst = fields.get("burst").map_or(Ok(Duration::from_secs(1)), |value| {
            value.duration(Duration::from_millis(1)..=Duration::from_hours(1))
        })?;
        match records.is_some() || bytes.is_some() {
            true => Ok(Limit { records_per_second: records, bytes_per_second: bytes, burst }),
            false => Err(value.wrong(
                "needs `records_per_second` or `bytes_per_second`; write for example { records_per_second = 1000 }",
            )),
        }
    }
}
