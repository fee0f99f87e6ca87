//! What is committed: the log is read as any reader does, sink files with the bare Parquet library.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use logboom_sink::Store;
use logboom_sink::table::{Snapshot, SnapshotFile};
use logboom_wire::loss;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

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
    let columns =
        ProjectionMask::columns(builder.parquet_schema(), ["category", "body", "body_bytes", "stream", "seq"]);
    let reader = builder.with_projection(columns).build().map_err(|error| error.to_string())?;
    let (mut rows, mut read) = (Vec::new(), 0);
    for batch in reader {
        let batch = batch.map_err(|error| error.to_string())?;
        let categories = batch["category"].as_string::<i32>();
        let (bodies, streams) = (batch["body"].as_string::<i32>(), batch["stream"].as_string::<i32>());
        let originals = batch["body_bytes"].as_binary::<i32>();
        let seqs = batch["seq"].as_primitive::<Int64Type>();
        let mut stream: Arc<str> = "".into();
        for row in 0..batch.num_rows() {
            read += 1;
            // What an adaptor says itself, no producer has sent.
            if categories.value(row) == loss::CATEGORY {
                continue;
            }
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
        Some(stats) if stats.records != read => Err(format!("it has {read} rows, the log says {}", stats.records)),
        _ => Ok(rows),
    }
}
