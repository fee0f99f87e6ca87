//! What is committed, in one table or several: logs are read as any reader does, sink files with the bare Parquet library.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use logboom_config::Globs;
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
    /// Its category belongs into another table.
    pub misplaced: bool,
}

/// The rows of one sink file, or why it cannot be read.
pub type FileRows = Result<Arc<Vec<Row>>, String>;

/// Reads tables in folders. Sink files never change, so [`Table::files`] reads each only once.
pub struct Table {
    /// The table that takes what no other takes.
    default: PathBuf,
    /// Tables of their own for some categories; the first that matches counts.
    routes: Vec<(Globs, PathBuf)>,
    read: BTreeMap<String, Arc<Vec<Row>>>,
}

impl Table {
    pub fn at(folder: &Path) -> Self {
        Self::with_routes(folder, Vec::new())
    }

    /// The table in a folder together with those that some categories go to in its place.
    pub fn with_routes(default: &Path, routes: Vec<(Globs, PathBuf)>) -> Self {
        Self { default: default.to_owned(), routes, read: BTreeMap::new() }
    }

    /// Every file that the newest version of a table names, with its rows.
    pub fn files(&mut self) -> BTreeMap<String, FileRows> {
        let mut files = BTreeMap::new();
        let folders = self.routes.iter().map(|(_, folder)| folder).chain([&self.default]);
        for (table, folder) in folders.enumerate() {
            let belongs = |category: &str| {
                let route = self.routes.iter().position(|(globs, _)| globs.matches(category));
                route.unwrap_or(self.routes.len()) == table
            };
            for file in snapshot(folder).files {
                let name = folder.join(&file.path).display().to_string();
                let rows = match self.read.get(&name) {
                    Some(rows) => Ok(rows.clone()),
                    None => read_file(folder, &file, &belongs).map(Arc::new),
                };
                if let Ok(rows) = &rows {
                    self.read.insert(name.clone(), rows.clone());
                }
                files.insert(name, rows);
            }
        }
        files
    }
}

/// The newest version.
fn snapshot(folder: &Path) -> Snapshot {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let snapshot = runtime.block_on(async {
        let store = Store::open_to_read(&folder.to_string_lossy(), &BTreeMap::new())?;
        Snapshot::load(&store).await
    });
    snapshot.unwrap_or_else(|error| panic!("the table cannot be read: {error}"))
}

fn read_file(folder: &Path, file: &SnapshotFile, belongs: &dyn Fn(&str) -> bool) -> Result<Vec<Row>, String> {
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
        let (bodies, streams) = (batch["body"].as_string::<i32>(), batch["stream"].as_string::<i32>());
        let (originals, categories) = (batch["body_bytes"].as_binary::<i32>(), batch["category"].as_string::<i32>());
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
                misplaced: !belongs(categories.value(row)),
            });
        }
    }
    match &file.stats {
        Some(stats) if stats.records != read => Err(format!("it has {read} rows, the log says {}", stats.records)),
        _ => Ok(rows),
    }
}
