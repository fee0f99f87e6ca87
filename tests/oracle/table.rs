//! What is committed, in one table or several: logs are read as any reader does, sink files with the bare Parquet library,
//! and those in JSON with `flate2` and `serde_json` where their index says.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::Array;
use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use logboom_config::Globs;
use logboom_sink::table::{Snapshot, SnapshotFile};
use logboom_sink::{Error, Store};
use logboom_wire::loss;
use object_store::ObjectStoreExt;
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
    /// Its category belongs into another table.
    pub misplaced: bool,
}

/// The rows of one sink file, or why it cannot be read.
pub type FileRows = Result<Arc<Vec<Row>>, String>;

/// Rows that are remembered; those of further files are read again each time.
const REMEMBERED_MAX: usize = 1_000_000;

/// Reads tables. Sink files never change, so each is read only once, as long as they are not too many to remember.
#[derive(Clone)]
pub struct Table {
    /// The table that takes what no other takes.
    default: Place,
    /// Tables of their own for some categories; the first that matches counts.
    routes: Vec<(Globs, Place)>,
    read: BTreeMap<String, Arc<Vec<Row>>>,
    remembered: usize,
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
        Self {
            default: Place { url: url.to_owned(), options },
            routes: Vec::new(),
            read: BTreeMap::new(),
            remembered: 0,
        }
    }

    /// The same with tables in folders for some categories.
    pub fn with_routes(self, routes: Vec<(Globs, PathBuf)>) -> Self {
        let place = |folder: PathBuf| Place { url: folder.to_str().unwrap().to_owned(), options: BTreeMap::new() };
        Self { routes: routes.into_iter().map(|(globs, folder)| (globs, place(folder))).collect(), ..self }
    }

    /// The same tables, none of their files read yet.
    pub fn afresh(&self) -> Self {
        Self { default: self.default.clone(), routes: self.routes.clone(), read: BTreeMap::new(), remembered: 0 }
    }

    /// Shows every file that the newest version of each table names, with its rows, one after the other: they need not be
    /// in memory all at once.
    pub fn visit(&mut self, mut each: impl FnMut(&str, FileRows)) {
        let runtime = runtime();
        for (table, place) in self.places().into_iter().enumerate() {
            let listed = runtime.block_on(place.list());
            let (store, listed) = listed.unwrap_or_else(|error| panic!("the table cannot be read: {error}"));
            for file in listed {
                let name = format!("{}/{}", place.url, file.path);
                let rows = match self.read.get(&name) {
                    Some(rows) => Ok(rows.clone()),
                    None => {
                        let belongs = |category: &str| {
                            let route = self.routes.iter().position(|(globs, _)| globs.matches(category));
                            route.unwrap_or(self.routes.len()) == table
                        };
                        let rows = runtime.block_on(async {
                            let object = store.objects().get(&file.path.as_str().into()).await;
                            let object = object.map_err(|error| error.to_string())?;
                            read_file(&store, object.bytes().await, &file, &belongs).await.map(Arc::new)
                        });
                        if let Ok(rows) = &rows
                            && self.remembered + rows.len() <= REMEMBERED_MAX
                        {
                            self.remembered += rows.len();
                            self.read.insert(name.clone(), rows.clone());
                        }
                        rows
                    }
                };
                each(&name, rows);
            }
        }
    }

    /// How many rows there are, by what the logs say; `None` where they do not say,
    /// as for files in JSON.
    pub fn rows_listed(&self) -> Option<u64> {
        let runtime = runtime();
        let mut rows = 0;
        for place in self.places() {
            let listed = runtime.block_on(place.list());
            let (_, listed) = listed.unwrap_or_else(|error| panic!("the table cannot be read: {error}"));
            for file in listed {
                let stats = file.stats?;
                if stats.members.is_some() {
                    // An index counts its own rows.
                    return None;
                }
                rows += stats.records;
            }
        }
        Some(rows)
    }

    fn places(&self) -> Vec<Place> {
        self.routes.iter().map(|(_, place)| place).chain([&self.default]).cloned().collect()
    }
}

impl Place {
    async fn list(&self) -> Result<(Store, Vec<SnapshotFile>), Error> {
        let store = Store::open_to_read(&self.url, &self.options)?;
        let mut snapshot = Snapshot::load(&store).await;
        if let Err(Error::Delta { .. }) = snapshot {
            // The table may have been created while it was looked for.
            snapshot = Snapshot::load(&store).await;
        }
        match snapshot {
            // Nothing is committed where there is no table yet.
            Err(Error::NoTable { .. }) => Ok((store, Vec::new())),
            snapshot => Ok((store, snapshot?.files)),
        }
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

async fn read_file(
    store: &Store,
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
    if builder.schema().column_with_name("raw_length").is_some() {
        let reader = builder.build().map_err(|error| error.to_string())?;
        return read_index(store, file, reader, belongs).await;
    }
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

/// The rows of all members that an index lists.
async fn read_index(
    store: &Store,
    file: &SnapshotFile,
    reader: ParquetRecordBatchReader,
    belongs: &dyn Fn(&str) -> bool,
) -> Result<Vec<Row>, String> {
    let (mut rows, mut members) = (Vec::new(), 0);
    for batch in reader {
        let batch = batch.map_err(|error| error.to_string())?;
        let number = |name: &str, row| batch[name].as_primitive::<Int64Type>().value(row) as u64;
        for row in 0..batch.num_rows() {
            let path = batch["path"].as_string::<i32>().value(row);
            let (offset, length, records) = (number("offset", row), number("length", row), number("records", row));
            let bytes = store.objects().get_range(&path.into(), offset..offset + length).await;
            let bytes = bytes.map_err(|error| format!("{path}: {error}"))?;
            let read = read_member(&bytes, belongs, &mut rows).map_err(|error| format!("{path}: {error}"))?;
            if read != records {
                return Err(format!("{path} has {read} rows at {offset}, not {records}"));
            }
            members += 1;
        }
    }
    match file.stats.as_ref().and_then(|stats| stats.members) {
        Some(listed) if listed == members => Ok(rows),
        listed => Err(format!("it has {members} members, the log says {listed:?}")),
    }
}

/// Returns how many rows there are.
#[expect(clippy::disallowed_types, reason = "the oracle shares no code with what it judges")]
fn read_member(bytes: &[u8], belongs: &dyn Fn(&str) -> bool, rows: &mut Vec<Row>) -> std::io::Result<u64> {
    let (mut lines, mut read) = (String::new(), 0);
    flate2::read::GzDecoder::new(bytes).read_to_string(&mut lines)?;
    let mut stream: Arc<str> = "".into();
    for line in lines.lines() {
        let line: Value = serde_json::from_str(line)?;
        let text = |name: &str| line[name].as_str().unwrap_or_else(|| panic!("`{name}` of {line}"));
        read += 1;
        // What an adaptor says itself, no producer has sent.
        if text("category") == loss::CATEGORY {
            continue;
        }
        if *stream != *text("stream") {
            stream = text("stream").into();
        }
        let original = line.get("body_bytes").map(|_| STANDARD.decode(text("body_bytes")).expect("it is base64"));
        rows.push(Row {
            body: text("body").to_owned(),
            original,
            stream: stream.clone(),
            seq: line["seq"].as_i64().expect("a whole number"),
            misplaced: !belongs(text("category")),
        });
    }
    Ok(read)
}
