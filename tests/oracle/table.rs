//! What is committed: the log is read as any reader does, sink files with the bare Parquet library, and those in JSON with
//! `flate2` and `serde_json` where their index says.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use logboom_sink::Store;
use logboom_sink::table::{Snapshot, SnapshotFile};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use serde_json::Value;

/// One row, as far as the oracle cares.
#[derive(Clone, Debug)]
pub struct Row {
    pub body: String,
    /// The body where it is not UTF-8.
    pub original: Option<Vec<u8>>,
    pub stream: Arc<str>,
    pub seq: i64,
}

/// The rows of one sink file, or why it cannot be read.
pub type FileRows = Result<Arc<Vec<Row>>, String>;

/// Reads the table in a folder. Sink files never change, so [`Table::files`] reads each only once.
pub struct Table {
    folder: PathBuf,
    read: BTreeMap<String, Arc<Vec<Row>>>,
}

impl Table {
    pub fn at(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), read: BTreeMap::new() }
    }

    /// Every file that the newest version names, with its rows.
    pub fn files(&mut self) -> BTreeMap<String, FileRows> {
        let mut files = BTreeMap::new();
        for file in self.snapshot().files {
            let rows = match self.read.get(&file.path) {
                Some(rows) => Ok(rows.clone()),
                None => read_file(&self.folder, &file).map(Arc::new),
            };
            if let Ok(rows) = &rows {
                self.read.insert(file.path.clone(), rows.clone());
            }
            files.insert(file.path, rows);
        }
        files
    }

    /// The newest version.
    pub fn snapshot(&self) -> Snapshot {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let snapshot = runtime.block_on(async {
            let store = Store::open_to_read(&self.folder.to_string_lossy(), &BTreeMap::new())?;
            Snapshot::load(&store).await
        });
        snapshot.unwrap_or_else(|error| panic!("the table cannot be read: {error}"))
    }
}

fn read_file(folder: &Path, file: &SnapshotFile) -> Result<Vec<Row>, String> {
    let open = File::open(folder.join(&file.path)).map_err(|error| error.to_string())?;
    let size = open.metadata().map_err(|error| error.to_string())?.len();
    if size != file.size {
        return Err(format!("it has {size} bytes, the log says {}", file.size));
    }
    let builder = ParquetRecordBatchReaderBuilder::try_new(open).map_err(|error| error.to_string())?;
    if builder.schema().column_with_name("raw_length").is_some() {
        return read_index(folder, file, builder.build().map_err(|error| error.to_string())?);
    }
    let columns = ProjectionMask::columns(builder.parquet_schema(), ["body", "body_bytes", "stream", "seq"]);
    let reader = builder.with_projection(columns).build().map_err(|error| error.to_string())?;
    let mut rows = Vec::new();
    for batch in reader {
        let batch = batch.map_err(|error| error.to_string())?;
        let (bodies, streams) = (batch["body"].as_string::<i32>(), batch["stream"].as_string::<i32>());
        let originals = batch["body_bytes"].as_binary::<i32>();
        let seqs = batch["seq"].as_primitive::<Int64Type>();
        let mut stream: Arc<str> = "".into();
        for row in 0..batch.num_rows() {
            if *stream != *streams.value(row) {
                stream = streams.value(row).into();
            }
            rows.push(Row {
                body: bodies.value(row).to_owned(),
                original: originals.is_valid(row).then(|| originals.value(row).to_owned()),
                stream: stream.clone(),
                seq: seqs.value(row),
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

/// The rows of all members that an index lists.
fn read_index(folder: &Path, file: &SnapshotFile, reader: ParquetRecordBatchReader) -> Result<Vec<Row>, String> {
    let (mut rows, mut members) = (Vec::new(), 0);
    for batch in reader {
        let batch = batch.map_err(|error| error.to_string())?;
        let number = |name: &str, row| batch[name].as_primitive::<Int64Type>().value(row) as u64;
        for row in 0..batch.num_rows() {
            let path = batch["path"].as_string::<i32>().value(row);
            let (offset, length, records) = (number("offset", row), number("length", row), number("records", row));
            let before = rows.len() as u64;
            read_member(&folder.join(path), offset, length, &mut rows).map_err(|error| format!("{path}: {error}"))?;
            if rows.len() as u64 - before != records {
                return Err(format!("{path} has {} rows at {offset}, not {records}", rows.len() as u64 - before));
            }
            members += 1;
        }
    }
    match file.stats.as_ref().and_then(|stats| stats.members) {
        Some(listed) if listed == members => Ok(rows),
        listed => Err(format!("it has {members} members, the log says {listed:?}")),
    }
}

fn read_member(path: &Path, offset: u64, length: u64, rows: &mut Vec<Row>) -> std::io::Result<()> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::Start(offset))?;
    let mut lines = String::new();
    GzDecoder::new(file.take(length)).read_to_string(&mut lines)?;
    let mut stream: Arc<str> = "".into();
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line)?;
        let text = |name: &str| line[name].as_str().unwrap_or_else(|| panic!("`{name}` of {line}"));
        if *stream != *text("stream") {
            stream = text("stream").into();
        }
        let original = line.get("body_bytes").map(|_| STANDARD.decode(text("body_bytes")).expect("it is base64"));
        let seq = line["seq"].as_i64().expect("a whole number");
        rows.push(Row { body: text("body").to_owned(), original, stream: stream.clone(), seq });
    }
    Ok(())
}
