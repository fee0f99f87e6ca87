//! `[sink]`: where the table is and how its files are cut.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::HumanDuration;
use crate::error::{Error, quoted};
use crate::keys::SINK_ROUTE;
use crate::pattern::Globs;
use crate::promote::{self, Promoted};
use crate::section::{Section, Value};

const DAY: Duration = Duration::from_hours(24);

/// The most bytes of a file that an option is read from.
const OPTION_BYTES_MAX: u64 = 64 << 10;

/// What a table's sink files are written in. A table keeps the format that it was created with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FileFormat {
    /// Columns: Parquet, compressed with zstd.
    #[default]
    Parquet,
    /// Lines: gzipped JSON, one object a line.
    Json,
}

impl FileFormat {
    const ALL: [(&'static str, FileFormat); 2] = [("parquet", FileFormat::Parquet), ("json", FileFormat::Json)];

    /// The name that settings and the properties of a table have for it.
    pub fn name(self) -> &'static str {
        let named = FileFormat::ALL.into_iter().find(|(_, format)| *format == self);
        named.expect("every format has a name").0
    }

    /// The format of this name.
    pub fn from_name(name: &str) -> Option<FileFormat> {
        FileFormat::ALL.into_iter().find(|(known, _)| *known == name).map(|(_, format)| format)
    }

    /// The greatest compression level, and the one if none is set. That of JSON was measured: ARCHITECTURE.md, "Sink files
    /// as JSON".
    fn levels(self) -> (u64, i32) {
        match self {
            FileFormat::Parquet => (19, 1),
            FileFormat::Json => (9, 5),
        }
    }

    /// The compression level if none is set: of zstd for Parquet, of gzip for JSON.
    pub fn default_level(self) -> i32 {
        self.levels().1
    }
}

/// Settings of the sink. `Debug` hides the values of `options`, which may be secrets.
#[derive(Clone, PartialEq, Eq)]
pub struct Sink {
    /// Where the table is: a path, `file:///path`, `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`,
    /// `abfss://container@account.dfs.core.windows.net/prefix`, `hdfs://namenode:port/folder` or `memory://`.
    pub url: String,
    /// Options of the object store, by its own names. Values may be secrets.
    pub options: BTreeMap<String, String>,
    /// What sink files are written in.
    pub format: FileFormat,
    /// The bytes at which sink files are split; 1 MiB to 8 GiB.
    pub target_file_size: u64,
    /// The level of zstd for Parquet, 1 to 19; of gzip for JSON, 1 to 9.
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
    /// Attributes that get columns of their own.
    pub promote: Vec<Promoted>,
    /// Tables of their own for some categories: the first that a category matches takes its records.
    pub routes: Vec<SinkRoute>,
}

/// `[[sink.route]]`: a table for some categories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SinkRoute {
    /// The categories.
    pub categories: Globs,
    /// Their table: what the route does not say is as in `[sink]`. It has no routes.
    pub sink: Sink,
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
        let mut sink = Sink::with_url(url(&section.required("url")?)?, section)?;
        for route in section.tables("route", SINK_ROUTE) {
            let place = route.required("url")?;
            let url = url(&place)?;
            let taken = |other: &str| other.trim_end_matches('/') == url.trim_end_matches('/');
            if taken(&sink.url) || sink.routes.iter().any(|other| taken(&other.sink.url)) {
                let message = "is the place of another table of this sink too; every route needs a place of its own: \
                    write more categories into one route, or another url";
                return Err(place.wrong(message));
            }
            let categories = route.required("categories")?.globs()?;
            let mut own = Sink::with_url(url, &route.inheriting(section))?;
            // Options of another kind of store would be refused there.
            if route.given("options").is_none() && scheme(&own.url) != scheme(&sink.url) {
                own.options.clear();
            }
            sink.routes.push(SinkRoute { categories, sink: own });
        }
        Ok(sink)
    }

    /// Each route that takes nothing because those before it take all that it may, with the first that takes everything.
    pub fn unreachable_routes(&self) -> Vec<(&SinkRoute, &SinkRoute)> {
        let shadows = |earlier: &Globs, glob: &String| {
            let texts = earlier.texts();
            texts.iter().any(|text| text == "*" || text == glob)
                || (!glob.contains(['*', '?', '[', ']', '{', '}', '\\']) && earlier.matches(glob))
        };
        let hidden = |(index, route): (usize, &'_ SinkRoute)| {
            let by = self.routes[..index]
                .iter()
                .find(|earlier| route.categories.texts().iter().all(|glob| shadows(&earlier.categories, glob)))?;
            Some((&self.routes[index], by))
        };
        self.routes.iter().enumerate().filter_map(hidden).collect()
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
        let format = section.get("format").choice(&FileFormat::ALL)?;
        for key in ["promote", "retention", "retention_rules"] {
            if format == FileFormat::Json
                && let Some(value) = section.given(key)
            {
                let fix = "is for tables with format = \"parquet\"; remove it, or give these records another table";
                return Err(value.wrong(fix));
            }
        }
        Ok(Sink {
            url,
            options: options(&section.get("options"))?,
            format,
            target_file_size: section.get("target_file_size").size(1 << 20..=8 << 30)?,
            compression_level: match section.given("compression_level") {
                Some(level) => level.count(1..=format.levels().0)? as i32,
                None => format.default_level(),
            },
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
            promote: promote::read(&section.get("promote"))?,
            routes: Vec::new(),
        })
    }
}

/// Of a path it is empty.
fn scheme(url: &str) -> &str {
    url.split_once("://").map_or("", |(scheme, _)| scheme)
}

fn url(value: &Value<'_>) -> Result<String, Error> {
    let url = value.name(4096)?;
    let first_is_empty = |rest: &str| rest.split('/').next().is_none_or(str::is_empty);
    let fix = match url.split_once("://") {
        None => None,
        Some(("file", path)) => (!path.starts_with('/')).then_some("write `file:///` and an absolute path"),
        Some(("s3" | "s3a", rest)) => first_is_empty(rest).then_some("write `s3://bucket/prefix`"),
        Some(("gs", rest)) => first_is_empty(rest).then_some("write `gs://bucket/prefix`"),
        Some(("az", rest)) => first_is_empty(rest).then_some("write `az://container/prefix`"),
        Some(("abfs" | "abfss", rest)) => {
            first_is_empty(rest).then_some("write `abfss://container@account.dfs.core.windows.net/prefix`")
        }
        Some(("hdfs", rest)) => first_is_empty(rest).then_some("write `hdfs://namenode:port/folder`"),
        Some(("memory", _)) => None,
        Some(_) => Some(
            "write a path, or a URL that starts with `file:///`, `s3://`, `gs://`, `az://`, `abfss://`, `hdfs://` or `memory://`",
        ),
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
            .field("format", &self.format)
            .field("target_file_size", &self.target_file_size)
            .field("compression_level", &self.compression_level)
            .field("row_group_rows", &self.row_group_rows)
            .field("compact_file_size", &self.compact_file_size)
            .field("retention", &self.retention)
            .field("retention_rules", &self.retention_rules)
            .field("vacuum_grace", &self.vacuum_grace)
            .field("log_retention", &self.log_retention)
            .field("checkpoint_interval", &self.checkpoint_interval)
            .field("promote", &self.promote)
            .field("routes", &self.routes)
            .finish()
    }
}
