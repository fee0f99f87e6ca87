//! A source of type `file`: files that are followed as they grow and rotate.

use std::time::Duration;

use crate::error::Error;
use crate::keys::SOURCE;
use crate::section::{Section, Value};

/// Settings of a file source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSource {
    /// Globs of the files to follow, at least one; relative ones are relative to the working folder.
    pub include: Vec<String>,
    /// Globs of files to leave out.
    pub exclude: Vec<String>,
    /// Where to start in files found when the adaptor first starts.
    pub read_from: ReadFrom,
    /// How often files are looked at; 10 ms to 1 min.
    pub poll_interval: Duration,
    /// The most files held open at once; 1 to 1,000,000.
    pub max_open: usize,
}

/// Where to start in files found when the adaptor first starts; later files are read whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadFrom {
    /// At the first byte.
    Beginning,
    /// At the end, so that only what is appended is read.
    End,
}

impl ReadFrom {
    pub(super) fn read(section: &Section<'_>) -> Result<ReadFrom, Error> {
        section.get("read_from").choice(&[("beginning", ReadFrom::Beginning), ("end", ReadFrom::End)])
    }
}

impl FileSource {
    /// The default settings for the files that these globs find.
    pub fn at<G: Into<String>>(include: impl IntoIterator<Item = G>) -> FileSource {
        let include = include.into_iter().map(Into::into).collect();
        FileSource::with_include(include, &Section::defaults(SOURCE)).expect("the defaults are valid")
    }

    pub(super) fn read(section: &Section<'_>) -> Result<FileSource, Error> {
        let value = section.required("include")?;
        let include = globs(&value)?;
        match include.is_empty() {
            true => Err(value.wrong("must have at least one glob, such as [\"/var/log/app/*.log\"]")),
            false => FileSource::with_include(include, section),
        }
    }

    fn with_include(include: Vec<String>, section: &Section<'_>) -> Result<FileSource, Error> {
        let millis = Duration::from_millis(1);
        Ok(FileSource {
            include,
            exclude: globs(&section.get("exclude"))?,
            read_from: ReadFrom::read(section)?,
            poll_interval: section.get("poll_interval").duration(10 * millis..=60_000 * millis)?,
            max_open: section.get("max_open").count(1..=1_000_000)? as usize,
        })
    }
}

fn globs(value: &Value<'_>) -> Result<Vec<String>, Error> {
    value.list()?.iter().map(|glob| glob.name(4096)).collect()
}
