//! What is committed: the log is read as any reader does, sink files with the bare Parquet library.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use bytes::Bytes;
use logboom_sink::Store;
use logboom_sink::table::{Snapshot, SnapshotFile};
use object_store::ObjectStoreExt;
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

/// Reads a table. Sink files never change, so [`Table::files`] reads each only once.
#[derive(Clone)]
pub struct Table {
    url: String,
    options: BTreeMap<String, String>,
    read: BTreeMap<String, Arc<Vec<Row>>>,
}

impl Table {
    /// The table in a folder, which need not be there yet.
    pub fn at(folder: &Path) -> Self {
        Self::on(folder.to_str().unwrap(), BTreeMap::new())
    }

    /// The table on a store with these options.
    pub fn on(url: &str, options: BTreeMap<String, String>) -> Self {
        Self { url: url.to_owned(), options, read: BTreeMap::new() }
    }

    /// The same table, none of its files read yet.
    pub fn afresh(&self) -> Self {
        Self { read: BTreeMap::new(), ..self.clone() }
    }

    /// Every file that the newest version names, with its rows.
    pub fn files(&mut self) -> BTreeMap<String, FileRows> {
        let known = &self.read;
        let files = self.run(async |store| {
            let mut files = BTreeMap::new();
            for file in Snapshot::load(&store).await?.files {
                let rows = match known.get(&file.path) {
                    Some(rows) => Ok(rows.clone()),
                    None => match store.objects().get(&file.path.as_str().into()).await {
                        Ok(object) => read_file(object.bytes().await, &file).map(Arc::new),
                        Err(error) => Err(error.to_string()),
                    },
                };
                files.insert(file.path, rows);
            }
            Ok(files)
        });
        let read = files.iter().filter_map(|(path, rows)| Some((path.clone(), rows.clone().ok()?)));
        self.read.extend(read);
        files
    }

    fn run<T>(&self, work: impl AsyncFnOnce(Store) -> Result<T, logboom_sink::Error>) -> T {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let done = runtime.block_on(async { work(Store::open_to_read(&self.url, &self.options)?).await });
        done.unwrap_or_else(|error| panic!("the table cannot be read: {error}"))
    }
}

fn read_file(bytes: object_store::Result<Bytes>, file: &SnapshotFile) -> Result<Vec<Row>, String> {
    let bytes = bytes.map_err(|error| error.to_string())?;
    let size = bytes.len() as u64;
    if size != file.size {
        return Err(format!("it has {size} bytes, the log says {}", file.size));
    }
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|error| error.to_string())?;
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
