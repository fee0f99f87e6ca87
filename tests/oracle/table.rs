//! What is committed, in one table or several: logs are read as any reader does, sink files with the bare Parquet library.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use bytes::Bytes;
use logboom_config::Globs;
use logboom_sink::table::{Snapshot, SnapshotFile};
use logboom_sink::{Error, Store};
use logboom_wire::loss;
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
    /// Its category belongs into another table.
    pub misplaced: bool,
}

/// The rows of one sink file, or why it cannot be read.
pub type FileRows = Result<Arc<Vec<Row>>, String>;

/// Reads tables. Sink files never change, so [`Table::files`] reads each only once.
#[derive(Clone)]
pub struct Table {
    /// The table that takes what no other takes.
    default: Place,
    /// Tables of their own for some categories; the first that matches counts.
    routes: Vec<(Globs, Place)>,
    read: BTreeMap<String, Arc<Vec<Row>>>,
}

/// Where a table is.
#[derive(Clone)]
struct Place {
    url: String,
    options: BTreeMap<String, String>,
}

impl Table {
    /// The table in a folder, which need not be there yet.
    pub fn at(folder: &Path) -> Self {
        Self::on(folder.to_str().unwrap(), BTreeMap::new())
    }

    /// The table on a store with these options.
    pub fn on(url: &str, options: BTreeMap<String, String>) -> Self {
        Self { default: Place { url: url.to_owned(), options }, routes: Vec::new(), read: BTreeMap::new() }
    }

    /// The same with tables in folders for some categories.
    pub fn with_routes(self, routes: Vec<(Globs, PathBuf)>) -> Self {
        let place = |folder: PathBuf| Place { url: folder.to_str().unwrap().to_owned(), options: BTreeMap::new() };
        Self { routes: routes.into_iter().map(|(globs, folder)| (globs, place(folder))).collect(), ..self }
    }

    /// The same tables, none of their files read yet.
    pub fn afresh(&self) -> Self {
        Self { read: BTreeMap::new(), ..self.clone() }
    }

    /// Every file that the newest version of each table names, with its rows.
    pub fn files(&mut self) -> BTreeMap<String, FileRows> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let files = runtime.block_on(self.read_files());
        let files = files.unwrap_or_else(|error| panic!("the table cannot be read: {error}"));
        let read = files.iter().filter_map(|(name, rows)| Some((name.clone(), rows.clone().ok()?)));
        self.read.extend(read);
        files
    }

    async fn read_files(&self) -> Result<BTreeMap<String, FileRows>, Error> {
        let mut files = BTreeMap::new();
        let places = self.routes.iter().map(|(_, place)| place).chain([&self.default]);
        for (table, Place { url, options }) in places.enumerate() {
            let belongs = |category: &str| {
                let route = self.routes.iter().position(|(globs, _)| globs.matches(category));
                route.unwrap_or(self.routes.len()) == table
            };
            let store = Store::open_to_read(url, options)?;
            for file in Snapshot::load(&store).await?.files {
                let name = format!("{url}/{}", file.path);
                let rows = match self.read.get(&name) {
                    Some(rows) => Ok(rows.clone()),
                    None => match store.objects().get(&file.path.as_str().into()).await {
                        Ok(object) => read_file(object.bytes().await, &file, &belongs).map(Arc::new),
                        Err(error) => Err(error.to_string()),
                    },
                };
                files.insert(name, rows);
            }
        }
        Ok(files)
    }
}

fn read_file(
    bytes: object_store::Result<Bytes>,
    file: &SnapshotFile,
    belongs: &dyn Fn(&str) -> bool,
) -> Result<Vec<Row>, String> {
    let bytes = bytes.map_err(|error| error.to_string())?;
    let size = bytes.len() as u64;
    if size != file.size {
        return Err(format!("it has {size} bytes, the log says {}", file.size));
    }
    let builder = ParquetRecordBatchReaderBuilder::try_new(bytes).map_err(|error| error.to_string())?;
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
