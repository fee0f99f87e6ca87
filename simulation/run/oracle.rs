//! The oracle: reads what is committed in all tables, and counts what does not fit with what was sent and promised.
//!
//! The counters are those of the tests with real processes (`tests/oracle`): lost, duplicate, phantom, corrupt,
//! unreachable, stuck.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use bytes::Bytes;
use logboom_sink::Store;
use logboom_sink::table::{Snapshot, SnapshotFile};
use logboom_wire::loss;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::ledger::{Ledger, Promise, parse};
use crate::store::Bucket;

/// A table, and whose records belong in it.
pub struct Table {
    pub name: &'static str,
    pub store: Store,
    pub bucket: Bucket,
    pub takes: fn(&str) -> bool,
}

#[derive(Clone, Debug, Default)]
pub struct Verdict {
    /// Lost, duplicate, phantom, corrupt, unreachable, stuck.
    pub counters: [u64; 6],
    pub rows: u64,
    pub kept: u64,
    pub examples: Vec<String>,
}

const NAMES: [&str; 6] = ["lost", "duplicate", "phantom", "corrupt", "unreachable", "stuck"];

impl Verdict {
    pub fn is_clean(&self) -> bool {
        self.counters == [0; 6]
    }

    /// The counters that are not zero.
    pub fn wrong(&self) -> String {
        let wrong = NAMES.iter().zip(self.counters).filter(|(_, count)| *count > 0);
        wrong.map(|(name, count)| format!("{count} {name}")).collect::<Vec<_>>().join(", ")
    }

    pub fn count(&mut self, counter: &str, example: String) {
        let at = NAMES.iter().position(|name| *name == counter).expect("it is one of them");
        self.counters[at] += 1;
        if self.counters[at] <= 5 {
            self.examples.push(format!("{counter}: {example}"));
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in NAMES.iter().zip(self.counters) {
            write!(f, "{name} {count}, ")?;
        }
        write!(f, "{} promised, {} rows", self.kept, self.rows)?;
        self.examples.iter().try_for_each(|example| write!(f, "\n  {example}"))
    }
}

struct Row {
    stream: String,
    seq: i64,
    category: String,
    body: String,
}

/// Judges the tables by the ledger; `stuck` are the segments that are left in spools.
pub async fn judge(ledger: &Ledger, tables: &[Table], stuck: Vec<String>) -> Verdict {
    let mut verdict = Verdict::default();
    let accounts = ledger.accounts();
    let mut places = BTreeSet::new();
    let mut seen: BTreeMap<(String, u64), String> = BTreeMap::new();
    for table in tables {
        let files = match Snapshot::load(&table.store).await {
            Ok(snapshot) => snapshot.files,
            Err(error) => {
                verdict.count("unreachable", format!("the table {}: {error}", table.name));
                continue;
            }
        };
        for file in files {
            let rows = match read(&table.bucket, &file) {
                Ok(rows) => rows,
                Err(reason) => {
                    verdict.count("unreachable", format!("{} of {}: {reason}", file.path, table.name));
                    continue;
                }
            };
            for row in rows {
                verdict.rows += 1;
                let Row { stream, seq, category, body } = row;
                if !places.insert((stream.clone(), seq)) {
                    verdict.count("duplicate", format!("{stream} {seq} ({body}) in {} of {}", file.path, table.name));
                    continue;
                }
                if !(table.takes)(&category) {
                    verdict.count("phantom", format!("{category} in {}", table.name));
                }
                if category == loss::CATEGORY {
                    continue;
                }
                let Some((producer, n, of)) = parse(&body).filter(|(_, _, of)| *of == category) else {
                    verdict.count("corrupt", format!("{stream} {seq}: {category}: {body}"));
                    continue;
                };
                let promise = accounts.get(producer).and_then(|promises| promises.get((n as usize).wrapping_sub(1)));
                if !matches!(promise, Some(Promise::None | Promise::Kept)) {
                    verdict.count("phantom", format!("{producer} {n} of {of}: {promise:?}"));
                    continue;
                }
                let place = format!("{stream} {seq} in {}", file.path);
                if let Some(before) = seen.insert((producer.to_owned(), n), place.clone()) {
                    verdict.count("duplicate", format!("{producer} {n}: {before} and {place}"));
                }
            }
        }
    }
    for (producer, promises) in accounts {
        for (at, promise) in promises.iter().enumerate().filter(|(_, promise)| **promise == Promise::Kept) {
            verdict.kept += 1;
            if !seen.contains_key(&(producer.clone(), at as u64 + 1)) {
                verdict.count("lost", format!("{producer} {}, which had {promise:?}", at + 1));
            }
        }
    }
    stuck.into_iter().for_each(|path| verdict.count("stuck", path));
    verdict
}

fn read(bucket: &Bucket, file: &SnapshotFile) -> Result<Vec<Row>, String> {
    let bytes: Bytes = bucket.get(&file.path).ok_or("it is gone")?;
    if bytes.len() as u64 != file.size {
        return Err(format!("it has {} bytes, not {}", bytes.len(), file.size));
    }
    let mut rows = Vec::new();
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).and_then(|builder| builder.build());
    for batch in reader.map_err(|error| error.to_string())? {
        let batch = batch.map_err(|error| error.to_string())?;
        let column = |name: &str| batch.column_by_name(name).ok_or(format!("no column {name}"));
        let (streams, categories, bodies) = (column("stream")?, column("category")?, column("body")?);
        let seqs = column("seq")?.as_primitive::<Int64Type>();
        for row in 0..batch.num_rows() {
            let text = |array: &arrow_array::ArrayRef| array.as_string::<i32>().value(row).to_owned();
            rows.push(Row {
                stream: text(streams),
                seq: seqs.value(row),
                category: text(categories),
                body: text(bodies),
            });
        }
    }
    match &file.stats {
        Some(stats) if stats.records != rows.len() as u64 => {
            Err(format!("it has {} rows, the log says {}", rows.len(), stats.records))
        }
        _ => Ok(rows),
    }
}
