//! `[sink]`: where the table is and how its files are cut.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::error::{Error, quoted};
use crate::section::{Section, Value};

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
    /// Where the table is: a path, `file:///path`, `s3://bucket/prefix` or `memory://`.
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
    /// How long old versions of the table can be read; 1 day to 10 years.
    pub log_retention: Duration,
    /// Commits between checkpoints of the table's log; 1 to 10,000.
    pub checkpoint_interval: u64,
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
        let day = Duration::from_hours(24);
        let format = section.get("format").choice(&FileFormat::ALL)?;
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
            log_retention: section.get("log_retention").duration(day..=3650 * day)?,
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
            .field("format", &self.format)
            .field("target_file_size", &self.target_file_size)
            .field("compression_level", &self.compression_level)
            .field("row_group_rows", &self.row_group_rows)
            .field("log_retention", &self.log_retention)
            .field("checkpoint_interval", &self.checkpoint_interval)
            .finish()
    }
}
