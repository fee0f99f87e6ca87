//! What a verification has found, as data and as text.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use logboom_wire::StreamId;
use serde::{Serialize, Serializer};

use super::file::Fault;

/// Ranges that the text names for each stream; the JSON has more.
const RANGES_SHOWN: usize = 20;

/// The answer of [`super::verify`].
#[derive(Clone, Debug, Default, Serialize)]
pub struct Report {
    /// Nothing is missing without a reason, nothing is there twice, and every file is as it was written.
    pub complete: bool,
    /// The tables, in the order in which they were given.
    pub tables: Vec<TableReport>,
    /// By host, those that have rows or losses in what was asked for.
    pub hosts: Vec<HostReport>,
    /// Files that are not as they should be.
    pub files: Vec<FileReport>,
}

/// A table, as it was read.
#[derive(Clone, Debug, Serialize)]
pub struct TableReport {
    /// Its place.
    pub url: String,
    /// The version that was read.
    pub version: u64,
    /// Files that were looked at.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Files of which each byte was held against the checksum in the log.
    pub summed: u64,
}

/// What is known of a host.
#[derive(Clone, Debug, Default, Serialize)]
pub struct HostReport {
    /// Its name.
    pub host: String,
    /// Its streams: one for each run of its adaptor.
    pub streams: Vec<StreamReport>,
    /// Records that were given up before they had a number, by reason. The whole table's, whatever time was asked for.
    pub unnumbered: BTreeMap<String, u64>,
}

/// What is known of a stream.
#[derive(Clone, Debug, Serialize)]
pub struct StreamReport {
    /// The stream.
    #[serde(serialize_with = "text")]
    pub stream: StreamId,
    /// The first number that was judged.
    pub first: u64,
    /// The last number that was judged.
    pub last: u64,
    /// Numbers among them that are there.
    pub records: u64,
    /// Least and greatest observed time of its rows, microseconds since 1970.
    pub times: Option<(i64, i64)>,
    /// What is missing, at most 1000 ranges.
    pub missing: Vec<Missing>,
    /// How much of that has a reason, by reason.
    pub missing_by_reason: BTreeMap<String, u64>,
    /// How much of that has none.
    pub unexplained: u64,
    /// What is there more than once, at most 1000 ranges.
    pub doubled: Vec<Doubled>,
    /// How many numbers are there more than once.
    pub doubled_records: u64,
}

/// Numbers that are missing.
#[derive(Clone, Debug, Serialize)]
pub struct Missing {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
    /// Why, if that is known.
    pub reason: Option<String>,
    /// When the rows before and after them were observed, the earlier first, microseconds since 1970. Looked up only for
    /// what is missing without a reason.
    pub between: (Option<i64>, Option<i64>),
}

/// Numbers that are there more than once.
#[derive(Clone, Debug, Serialize)]
pub struct Doubled {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
    /// Files that hold the first or the last of them.
    pub files: Vec<String>,
}

/// A file that is not as it should be. Its rows count as missing.
#[derive(Clone, Debug, Serialize)]
pub struct FileReport {
    /// The table's place.
    pub table: String,
    /// The object, relative to that.
    pub path: String,
    /// What is wrong.
    #[serde(serialize_with = "text")]
    pub fault: Fault,
    /// How many rows it has, as the log knows.
    pub records: Option<u64>,
    /// Least and greatest host, as the log knows.
    pub hosts: Option<(String, String)>,
    /// Least and greatest observed time, as the log knows, microseconds since 1970.
    pub times: Option<(i64, i64)>,
    /// What it holds, as far as it can still be read.
    pub held: Vec<Held>,
    /// Streams that it may hold the end of: those of its commit, if it cannot be read and the log still has that.
    pub ends: Vec<End>,
}

/// What a damaged file holds of a stream.
#[derive(Clone, Debug, Serialize)]
pub struct Held {
    /// The host.
    pub host: String,
    /// The stream.
    #[serde(serialize_with = "text")]
    pub stream: StreamId,
    /// The first number.
    pub first: u64,
    /// The last number.
    pub last: u64,
    /// How many of them.
    pub records: u64,
}

/// The last number of a stream that is there. What comes after it in a missing file leaves no gap.
#[derive(Clone, Debug, Serialize)]
pub struct End {
    /// The host, if any row of the stream is there.
    pub host: Option<String>,
    /// The stream.
    #[serde(serialize_with = "text")]
    pub stream: StreamId,
    /// The last number that is there, if any is.
    pub last: Option<u64>,
}

fn text<S: Serializer>(value: &impl fmt::Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

impl Report {
    /// Every stream, with its host.
    pub fn streams(&self) -> impl Iterator<Item = (&str, &StreamReport)> {
        self.hosts.iter().flat_map(|host| host.streams.iter().map(|stream| (host.host.as_str(), stream)))
    }

    /// Records that are missing without a reason.
    pub fn unexplained(&self) -> u64 {
        self.streams().map(|(_, stream)| stream.unexplained).sum()
    }

    /// Records that are there more than once.
    pub fn doubled(&self) -> u64 {
        self.streams().map(|(_, stream)| stream.doubled_records).sum()
    }

    /// Records that are missing for a reason, by reason.
    pub fn explained(&self) -> BTreeMap<&str, u64> {
        let mut explained = BTreeMap::new();
        for (_, stream) in self.streams() {
            for (reason, records) in &stream.missing_by_reason {
                *explained.entry(reason.as_str()).or_default() += records;
            }
        }
        explained
    }

    /// The verdict, in one line.
    pub fn verdict(&self) -> String {
        if self.complete {
            return "complete: every record is there exactly once, or known to have been dropped".to_owned();
        }
        let mut faults = Vec::new();
        if self.unexplained() > 0 {
            faults.push(format!("{} missing without a reason", records(self.unexplained())));
        }
        if self.doubled() > 0 {
            faults.push(format!("{} there more than once", records(self.doubled())));
        }
        if !self.files.is_empty() {
            let files = if self.files.len() == 1 { "file" } else { "files" };
            faults.push(format!("{} damaged or missing {files}", self.files.len()));
        }
        format!("not complete: {}", faults.join(", "))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for table in &self.tables {
            let TableReport { url, version, files, bytes, summed } = table;
            writeln!(
                f,
                "{url} at version {version}: {files} files, {bytes} bytes, {summed} held against their checksums"
            )?;
        }
        for file in &self.files {
            write!(f, "{file}")?;
        }
        for host in &self.hosts {
            write!(f, "{host}")?;
        }
        writeln!(f, "{}", self.verdict())
    }
}

impl fmt::Display for FileReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}", self.path, self.fault)?;
        let known = self.records.map(records).into_iter();
        let hosts = self.hosts.iter().map(|(first, last)| match first == last {
            true => format!("of host {first}"),
            false => format!("of hosts from {first} to {last}"),
        });
        let times = self.times.iter().map(|times| format!("observed {}", span(*times)));
        let known: Vec<String> = known.chain(hosts).chain(times).collect();
        match known.is_empty() {
            true => writeln!(f)?,
            false => writeln!(f, "; the log has it with {}", known.join(", "))?,
        }
        for Held { host, stream, first, last, records: count } in self.held.iter().take(RANGES_SHOWN) {
            writeln!(f, "  it holds {} of {host}, stream {stream}, from {first} to {last}", records(*count))?;
        }
        for End { host, stream, last } in self.ends.iter().take(RANGES_SHOWN) {
            let host = host.as_deref().unwrap_or("an unknown host");
            match last {
                Some(last) => {
                    writeln!(f, "  it may hold records of {host}, stream {stream}, also from {} on", last + 1)?
                }
                None => writeln!(f, "  it may hold all records of stream {stream}, of {host}")?,
            }
        }
        more(f, self.held.len().max(self.ends.len()), "streams")
    }
}

impl fmt::Display for HostReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total: u64 = self.streams.iter().map(|stream| stream.records).sum();
        let streams = if self.streams.len() == 1 { "stream" } else { "streams" };
        writeln!(f, "{}: {} {streams}, {}", self.host, self.streams.len(), records(total))?;
        let flawed = |stream: &&StreamReport| !stream.missing.is_empty() || !stream.doubled.is_empty();
        for stream in self.streams.iter().filter(flawed) {
            write!(f, "{stream}")?;
        }
        for (reason, count) in &self.unnumbered {
            writeln!(f, "  {} given up before they had a number: {reason}", records(*count))?;
        }
        Ok(())
    }
}

impl fmt::Display for StreamReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StreamReport { stream, first, last, .. } = self;
        writeln!(f, "  stream {stream}, from {first} to {last}: {}", records(self.records))?;
        // What nobody can explain comes first.
        let (explained, unexplained): (Vec<_>, Vec<_>) = self.missing.iter().partition(|gap| gap.reason.is_some());
        for gap in unexplained.iter().chain(&explained).take(RANGES_SHOWN) {
            let count = records(gap.last - gap.first + 1);
            write!(f, "    missing {}: {count}", range(gap.first, gap.last))?;
            match gap.between {
                (Some(from), Some(to)) => write!(f, " between {}", span((from, to)))?,
                (Some(from), None) => write!(f, " after {}", instant(from))?,
                (None, Some(to)) => write!(f, " before {}", instant(to))?,
                (None, None) => {}
            }
            writeln!(f, ", {}", gap.reason.as_deref().unwrap_or("NO REASON KNOWN"))?;
        }
        more(f, self.missing.len(), "missing ranges")?;
        for Doubled { first, last, files } in self.doubled.iter().take(RANGES_SHOWN) {
            let count = records(last - first + 1);
            writeln!(f, "    more than once {}: {count}, in {}", range(*first, *last), files.join(" and "))?;
        }
        more(f, self.doubled.len(), "ranges that are there more than once")
    }
}

fn more(f: &mut fmt::Formatter<'_>, ranges: usize, what: &str) -> fmt::Result {
    match ranges.checked_sub(RANGES_SHOWN) {
        None | Some(0) => Ok(()),
        Some(more) => writeln!(f, "    and {more} more {what}"),
    }
}

fn range(first: u64, last: u64) -> String {
    if first == last { format!("{first}") } else { format!("{first} to {last}") }
}

fn records(count: u64) -> String {
    if count == 1 { "1 record".to_owned() } else { format!("{count} records") }
}

fn span((from, to): (i64, i64)) -> String {
    format!("{} and {}", instant(from), instant(to))
}

fn instant(micros: i64) -> String {
    Timestamp::from_microsecond(micros).map_or_else(|_| format!("{micros} µs"), |instant| format!("{instant:.6}"))
}
