//! A pass over the rows of a file, as far as the ledger needs them: who they are, and whether they can be where they are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, RecordBatch};
use logboom_wire::{StreamId, loss};
use parquet::errors::{ParquetError, Result as ParquetResult};

use super::ledger::{Loss, Numbered};
use super::seqs::Seqs;
use crate::table::FileStats;

/// The columns that a pass needs.
pub(super) const COLUMNS: [&str; 6] = ["timestamp", "observed_timestamp", "category", "host", "stream", "seq"];
/// Those that say what was lost.
pub(super) const LOSS_COLUMNS: [&str; 3] = ["host", "source", "attributes"];

/// What of a stream is in a file.
#[derive(Clone, Debug)]
pub(super) struct Part {
    pub host: String,
    pub seqs: Seqs,
    /// Numbers that are in the file more than once.
    pub doubled: Seqs,
    /// Least and greatest observed time, in microseconds.
    pub times: (i64, i64),
    /// Least and greatest number among the rows that were observed in the time asked for.
    pub within: Option<(u64, u64)>,
}

/// What is in a file.
#[derive(Debug, Default)]
pub(super) struct FileRows {
    pub parts: BTreeMap<StreamId, Part>,
    pub losses: Vec<Loss>,
}

/// Which rows are asked for.
#[derive(Clone, Debug, Default)]
pub(super) struct Wanted {
    /// Of this stream only; loss records are wanted all the same.
    pub stream: Option<StreamId>,
    /// Observed from the first to before the second, in microseconds.
    pub observed: Option<Range<i64>>,
    /// Of these categories only; loss records are wanted all the same.
    pub categories: Option<BTreeSet<String>>,
    /// The file is one of ours, so that its rows are sorted.
    pub sorted: bool,
}

pub(super) fn wrong(reason: impl Into<String>) -> ParquetError {
    ParquetError::General(reason.into())
}

/// The columns of a batch.
pub(super) struct Columns<'a> {
    timestamp: &'a [i64],
    observed: &'a [i64],
    pub category: &'a arrow_array::StringArray,
    host: &'a arrow_array::StringArray,
    stream: &'a arrow_array::StringArray,
    pub seq: &'a [i64],
}

impl<'a> Columns<'a> {
    pub fn of(batch: &'a RecordBatch) -> ParquetResult<Self> {
        let column = |name: &str| {
            let column = batch.column_by_name(name).ok_or_else(|| wrong(format!("it has no column `{name}`")))?;
            match column.null_count() {
                0 => Ok(column),
                _ => Err(wrong(format!("there are nulls in its column `{name}`"))),
            }
        };
        let other = |name: &str| wrong(format!("its column `{name}` has another type"));
        let instants = |name: &str| {
            let column = column(name)?.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(|| other(name))?;
            Ok::<_, ParquetError>(&column.values()[..])
        };
        let texts = |name: &str| column(name)?.as_string_opt::<i32>().ok_or_else(|| other(name));
        Ok(Self {
            timestamp: instants("timestamp")?,
            observed: instants("observed_timestamp")?,
            category: texts("category")?,
            host: texts("host")?,
            stream: texts("stream")?,
            seq: column("seq")?.as_primitive_opt::<Int64Type>().ok_or_else(|| other("seq"))?.values(),
        })
    }

    /// The rows with these numbers, and when they were observed. Numbers by stream.
    pub fn find(&self, sought: &HashMap<String, (StreamId, &BTreeSet<u64>)>, found: &mut Vec<(StreamId, u64, i64)>) {
        for (row, stream) in self.stream.iter().enumerate() {
            let Some((stream, seqs)) = stream.and_then(|stream| sought.get(stream)) else { continue };
            let seq = self.seq[row] as u64;
            if seqs.contains(&seq) {
                found.push((*stream, seq, self.observed[row]));
            }
        }
    }
}

/// A pass over the rows of a file.
pub(super) struct Pass<'a> {
    wanted: &'a Wanted,
    stats: Option<&'a FileStats>,
    numbers: HashMap<String, usize>,
    parts: Vec<(StreamId, Part)>,
    /// Text and number of the stream of the row before.
    stream: (String, usize),
    /// Category and time of the row before.
    place: (String, i64),
}

impl<'a> Pass<'a> {
    /// A pass over rows that lie within the bounds of `stats`.
    pub fn new(wanted: &'a Wanted, stats: Option<&'a FileStats>) -> Self {
        Self {
            wanted,
            stats,
            numbers: HashMap::new(),
            parts: Vec::new(),
            stream: (String::new(), 0),
            place: (String::new(), i64::MIN),
        }
    }

    /// The rows to come lie within the bounds of `stats`.
    pub fn within(&mut self, stats: &'a FileStats) {
        self.stats = Some(stats);
    }

    /// Takes the next row.
    ///
    /// # Errors
    /// It cannot be where it is.
    pub fn row(&mut self, columns: &Columns<'_>, row: usize) -> ParquetResult<()> {
        let (timestamp, observed) = (columns.timestamp[row], columns.observed[row]);
        if self.wanted.sorted {
            self.check_order(columns.category.value(row), timestamp)?;
        }
        self.check_bounds(columns, row)?;
        let number = self.stream_number(columns, row, observed)?;
        let (id, part) = &mut self.parts[number];
        let category = columns.category.value(row);
        if self.wanted.stream.is_some_and(|stream| stream != *id)
            || self.wanted.categories.as_ref().is_some_and(|wanted| !wanted.contains(category))
        {
            return Ok(());
        }
        let seq = u64::try_from(columns.seq[row]).map_err(|_| wrong("a sequence number is negative"))?;
        if !part.seqs.insert(seq) {
            part.doubled.insert(seq);
        }
        part.times = (part.times.0.min(observed), part.times.1.max(observed));
        if self.wanted.observed.as_ref().is_none_or(|range| range.contains(&observed)) {
            let (least, greatest) = part.within.unwrap_or((seq, seq));
            part.within = Some((least.min(seq), greatest.max(seq)));
        }
        Ok(())
    }

    fn check_order(&mut self, category: &str, timestamp: i64) -> ParquetResult<()> {
        if self.place.0 != category {
            if *self.place.0 > *category {
                return Err(wrong(format!("its rows are not sorted: `{category}` comes after `{}`", self.place.0)));
            }
            self.place = (category.to_owned(), timestamp);
        } else if self.place.1 > timestamp {
            return Err(wrong(format!("its rows are not sorted by time within `{category}`")));
        }
        self.place.1 = timestamp;
        Ok(())
    }

    fn check_bounds(&self, columns: &Columns<'_>, row: usize) -> ParquetResult<()> {
        let Some(stats) = self.stats else { return Ok(()) };
        let instant = |bounds: Option<(i64, i64)>, value: i64| bounds.is_none_or(|(a, b)| a <= value && value <= b);
        let text = |bounds: &Option<(String, String)>, value: &str| {
            bounds.as_ref().is_none_or(|(a, b)| a.as_str() <= value && value <= b.as_str())
        };
        let wrong_one = match () {
            () if !instant(stats.timestamp, columns.timestamp[row]) => "timestamp",
            () if !instant(stats.observed_timestamp, columns.observed[row]) => "observed_timestamp",
            () if !text(&stats.category, columns.category.value(row)) => "category",
            () if !text(&stats.host, columns.host.value(row)) => "host",
            () => return Ok(()),
        };
        Err(wrong(format!("a row lies outside of the bounds that the log has for `{wrong_one}`: readers pass it over")))
    }

    fn stream_number(&mut self, columns: &Columns<'_>, row: usize, observed: i64) -> ParquetResult<usize> {
        let (stream, host) = (columns.stream.value(row), columns.host.value(row));
        let number = match &self.stream {
            (text, number) if text == stream && !self.parts.is_empty() => *number,
            _ => match self.numbers.get(stream) {
                Some(number) => *number,
                None => {
                    let id = stream.parse().map_err(|_| wrong(format!("`{stream}` is no stream")))?;
                    let part = Part {
                        host: host.to_owned(),
                        seqs: Seqs::default(),
                        doubled: Seqs::default(),
                        times: (observed, observed),
                        within: None,
                    };
                    self.parts.push((id, part));
                    self.numbers.insert(stream.to_owned(), self.parts.len() - 1);
                    self.parts.len() - 1
                }
            },
        };
        if self.stream.1 != number || self.stream.0 != stream {
            self.stream = (stream.to_owned(), number);
        }
        match self.parts[number].1.host == host {
            true => Ok(number),
            false => {
                Err(wrong(format!("stream {stream} is of two hosts, `{}` and `{host}`", self.parts[number].1.host)))
            }
        }
    }

    /// All rows have come.
    pub fn end(self) -> FileRows {
        let parts = self.parts.into_iter().filter(|(_, part)| !part.seqs.is_empty());
        let parts = parts.map(|(id, mut part)| {
            part.seqs.optimize();
            (id, part)
        });
        FileRows { parts: parts.collect(), losses: Vec::new() }
    }
}

/// What these rows say was lost.
pub(super) fn losses_of(batch: &RecordBatch, losses: &mut Vec<Loss>) -> ParquetResult<()> {
    let text = |name: &str| batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
    let (Some(hosts), Some(sources)) = (text("host"), text("source")) else {
        return Err(wrong("its columns `host` and `source` are not as they should be"));
    };
    let attributes = batch.column_by_name("attributes").and_then(|column| column.as_map_opt());
    let attributes = attributes.ok_or_else(|| wrong("its column `attributes` is not as it should be"))?;
    for row in 0..batch.num_rows() {
        if sources.value(row) != loss::SOURCE || !attributes.is_valid(row) {
            continue;
        }
        let entries = attributes.value(row);
        let (Some(keys), Some(values)) =
            (entries.column(0).as_string_opt::<i32>(), entries.column(1).as_string_opt::<i32>())
        else {
            continue;
        };
        let attribute = |name: &str| {
            let at = (0..keys.len()).find(|at| keys.value(*at) == name)?;
            values.is_valid(at).then(|| values.value(at))
        };
        losses.extend(loss_of(hosts.value(row), attribute));
    }
    Ok(())
}

/// What a loss record says; `None` if it makes no sense.
fn loss_of<'a>(host: &str, attribute: impl Fn(&str) -> Option<&'a str>) -> Option<Loss> {
    let number = |name: &str| attribute(name)?.parse::<u64>().ok();
    let numbered = match attribute(loss::STREAM) {
        Some(stream) => {
            let (first, last) = (number(loss::FIRST_SEQ)?, number(loss::LAST_SEQ)?);
            (first <= last && last < u64::MAX).then_some(())?;
            Some(Numbered { stream: stream.parse().ok()?, first, last })
        }
        None => None,
    };
    let records = number(loss::RECORDS)?;
    Some(Loss { host: host.to_owned(), reason: attribute(loss::REASON)?.to_owned(), records, numbered })
}
