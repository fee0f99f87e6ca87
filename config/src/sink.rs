//! `[sink]`: where the table is and how its files are cut.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::error::{Error, quoted};
use crate::section::{Section, Value};
use crate::{Globs, HumanDuration};

const DAY: Duration = Duration::from_hours(24);

/// The most bytes of a file that an option is read from.
const OPTION_BYTES_MAX: u64 = 64 << 10;

/// Settings of the sink. `Debug` hides the values of `options`, which may be secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Sink {
    /// Where the table is: a path, `file:///path`, `s3://bucket/prefix` or `memory://`.
    pub url: String,
    /// Options of the object store, by its own names. Values may be secrets.
    pub options: BTreeMap<String, String>,
    /// The bytes at which sink files are split; 1 MiB to 8 GiB.
    pub target_file_size: u64,
    /// The zstd level of sink files; 1 to 19.
    pub compression_level: i32,
    /// The most rows of a row group; 1,024 to 16,777,216.
    pub row_group_rows: usize,
    /// About the bytes of a file that holds a part of a day that is over; 64 MiB to 4 GiB.
    pub compact_file_size: u64,
    /// How long records are kept from the end of their day on; 1 day to 10 years; for ever if not set.
    pub retention: Option<Duration>,
    /// The same for some categories: the first that matches goes before `retention`.
    pub retention_rules: Vec<RetentionRule>,
    /// How long files stay that no version needs; 1 hour to 10 years, at most `log_retention`.
    pub vacuum_grace: Duration,
    /// How long old versions of the table can be read; 1 day to 10 years.
    pub log_retention: Duration,
    /// Commits between checkpoints of the table's log; 1 to 10,000.
    pub checkpoint_interval: u64,
}

/// How long records of some categories are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionRule {
    /// Globs of categories.
    pub categories: Globs,
    /// From the end of their day on; 1 day to 10 years.
    pub max_age: Duration,
}

impl RetentionRule {
    fn read(value: &Value<'_>) -> Result<RetentionRule, Error> {
        let fields = value.fields(&["categories", "max_age"])?;
        let field = |name: &str, example: &str| {
            let missing = || value.wrong(format!("has no `{name}`; add for example `{name} = {example}`"));
            fields.get(name).ok_or_else(missing)
        };
        Ok(RetentionRule {
            categories: field("categories", "[\"debug.*\"]")?.globs()?,
            max_age: field("max_age", "\"7d\"")?.duration(DAY..=3650 * DAY)?,
        })
    }
}

impl Sink {
    /// The default settings with the table at `url`, which is not checked here.
    pub fn at(url: impl Into<String>) -> Sink {
        Sink::with_url(url.into(), &Section::defaults("sink")).expect("the defaults are valid")
    }

    pub(crate) fn read(section: &Section<'_>) -> Result<Sink, Error> {
        Sink::with_url(url(&section.required("url")?)?, section)
    }

    fn with_url(url: String, section: &Section<'_>) -> Result<Sink, Error> {
        let (log_retention, vacuum_grace) = (section.get("log_retention"), section.get("vacuum_grace"));
        let log_retention = log_retention.duration(DAY..=3650 * DAY)?;
        let given_grace = section.given("vacuum_grace").is_some();
        let grace = vacuum_grace.duration(Duration::from_hours(1)..=3650 * DAY)?;
        if given_grace && grace > log_retention {
            let (grace, log) = (HumanDuration(grace), HumanDuration(log_retention));
            return Err(
                vacuum_grace.wrong(format!("is {grace}, longer than log_retention with {log}; make it shorter"))
            );
        }
        Ok(Sink {
            url,
            options: options(&section.get("options"))?,
            target_file_size: section.get("target_file_size").size(1 << 20..=8 << 30)?,
            compression_level: section.get("compression_level").count(1..=19)? as i32,
            row_group_rows: section.get("row_group_rows").count(1024..=16 << 20)? as usize,
            compact_file_size: section.get("compact_file_size").size(64 << 20..=4 << 30)?,
            retention: section.given("retention").map(|value| value.duration(DAY..=3650 * DAY)).transpose()?,
            retention_rules: section
                .get("retention_rules")
                .list()?
                .iter()
                .map(RetentionRule::read)
                .collect::<Result<_, _>>()?,
            // The default gives way to a shorter memory of the log.
            vacuum_grace: grace.min(log_retention),
            log_retention,
            checkpoint_interval: section.get("checkpoint_interval").count(1..=10_000)?,
        })
    }
}

fn url(value: &Value<'_>) -> Result<String, Error> {
    let url = value.name(4096)?;
    let fix = match url.split_once("://") {
        None => None,
        Some(("file", path)) => (!path.starts_with('/')).then_some("write `file:///` and an absolute path"),
        Some(("s3", rest)) => {
            let bucket = rest.split('/').next().unwrap_or_default();
            bucket.is_empty().then_some("write `s3://bucket/prefix`")
        }
        Some(("memory", _)) => None,
        Some(_) => Some("write a path, `file:///path`, `s3://bucket/prefix` or `memory://`"),
    };
    match fix {
        None => Ok(url),
        Some(fix) => Err(value.wrong(format!("is `{}`, which names no place for a table; {fix}", quoted(&url)))),
    }
}

fn options(value: &Value<'_>) -> Result<BTreeMap<String, String>, Error> {
    let mut options = BTreeMap::new();
    for (name, value) in value.entries()? {
        options.insert(name, option(&value)?);
    }
    Ok(options)
}

/// Text as it stands, or the content of the file in `{ file = "/path" }`.
fn option(value: &Value<'_>) -> Result<String, Error> {
    let Ok(entries) = value.entries() else {
        let fix = "must be text in quotes, or { file = \"/path\" } to read it from a file";
        return value.text().map_err(|_| value.wrong(fix));
    };
    match entries.as_slice() {
        [(name, file)] if name == "file" => Ok(file.secret(OPTION_BYTES_MAX)?.expose().to_owned()),
        _ => Err(value.wrong("must have the one entry `file`, as in { file = \"/path\" }")),
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink")
            .field("url", &self.url)
            .field("options", &self.options.keys().collect::<Vec<_>>())
            .field("target_file_size", &self.target_file_size)
            .field("compression_level", &self.compression_level)
            .field("row_group_rows", &self.row_group_rows)
            .field("compact_file_size", &self.compact_file_size)
            .field("retention", &self.retention)
            .field("retention_rules", &self.retention_rules)
            .field("vacuum_grace", &self.vacuum_grace)
            .field("log_retention", &self.log_retention)
            .field("checkpoint_interval", &self.checkpoint_interval)
            .finish()
    }
}
