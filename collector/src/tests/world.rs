//! Three tables in memory, collectors whose stores fail as they are told, and what is in the tables in the end.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use async_trait::async_trait;
use bytes::Bytes;
use futures::TryStreamExt;
use futures::stream::BoxStream;
use logboom_config::{Globs, Sink};
use logboom_sink::paths::{Name, REJECTED_FOLDER};
use logboom_sink::table::{Snapshot, TableOptions, Timing, View, set_property};
use logboom_sink::{FileSettings, Store};
use logboom_wire::block::{BlockPlace, Encoder};
use logboom_wire::{Block, Rows, RunKey, StreamId};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::StartError;
use crate::batch::{Batch, Entry};
use crate::committer::Committer;
use crate::marks::Marks;
use crate::output::OutputRatio;
use crate::pulse::Pulse;
use crate::tables::{TableSettings, Tables};

/// The routes, in order; the default table comes after them.
pub const ROUTES: [&[&str]; 2] = [&["audit.*"], &["bill.*", "audit.login"]];
pub const DEFAULT: usize = ROUTES.len();

pub fn stream(of: u8) -> StreamId {
    StreamId::from_bytes([of; 16])
}

pub fn options() -> TableOptions {
    // Errors come to the committer at once.
    let timing = Timing { attempts: 1, pause_first: Duration::from_millis(1), ..Timing::default() };
    TableOptions { timing, checkpoint_interval: 5, ..TableOptions::default() }
}

/// What becomes of the put of a commit.
#[derive(Clone, Copy, Debug)]
pub enum Fate {
    Well,
    /// The collector dies before it is done.
    DieBefore,
    /// It is done, and the collector dies.
    DieAfter,
    /// It is not done, and its answer is an error.
    Refuse,
    /// It is done, and its answer is an error.
    LoseAnswer,
    /// It is done, and answered as S3 does after the client's own retry.
    ExistsAfter,
}

/// Told by a commit that has come so far, and what it waits for.
type Gate = (oneshot::Sender<()>, oneshot::Receiver<()>);

/// What happens to the next commits at one store of one collector.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    fates: Arc<Mutex<VecDeque<Fate>>>,
    gate: Arc<Mutex<Option<Gate>>>,
    death: Arc<Notify>,
}

impl Faults {
    pub fn next(&self, fates: impl IntoIterator<Item = Fate>) {
        self.fates.lock().unwrap().extend(fates);
    }

    /// The next commit tells the first, and waits for the second.
    pub fn gate(&self) -> (oneshot::Receiver<()>, oneshot::Sender<()>) {
        let (reached, at_gate) = oneshot::channel();
        let (open, opened) = oneshot::channel();
        *self.gate.lock().unwrap() = Some((reached, opened));
        (at_gate, open)
    }
}

#[derive(Debug)]
struct Faulty {
    inner: Arc<dyn ObjectStore>,
    faults: Faults,
}

impl fmt::Display for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "faulty {}", self.inner)
    }
}

#[async_trait]
impl ObjectStore for Faulty {
    async fn put_opts(&self, location: &Path, payload: PutPayload, opts: PutOptions) -> Result<PutResult> {
        let put = self.inner.put_opts(location, payload, opts);
        if !matches!(Name::parse(location.as_ref()), Some(Name::Commit(_))) {
            return put.await;
        }
        let gate = self.faults.gate.lock().unwrap().take();
        if let Some((reached, opened)) = gate {
            reached.send(()).unwrap();
            opened.await.unwrap();
        }
        let broken = Err(Error::Generic { store: "faulty", source: "connection reset".into() });
        let fate = self.faults.fates.lock().unwrap().pop_front().unwrap_or(Fate::Well);
        match fate {
            Fate::Well => put.await,
            Fate::Refuse => broken,
            Fate::LoseAnswer => put.await.and(broken),
            Fate::ExistsAfter => {
                put.await.and(Err(Error::AlreadyExists { path: location.to_string(), source: "409".into() }))
            }
            Fate::DieBefore | Fate::DieAfter => {
                if matches!(fate, Fate::DieAfter) {
                    let _ = put.await;
                }
                self.faults.death.notify_one();
                std::future::pending().await
            }
        }
    }

    async fn put_multipart_opts(&self, location: &Path, opts: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(location, opts).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(location, options).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

/// A collector from its batches on.
pub struct Collector {
    committer: Committer,
    pub faults: [Faults; DEFAULT + 1],
    death: Arc<Notify>,
}

impl Collector {
    /// Commits these blocks, each with the block before it. Whether it lived to see it.
    pub async fn try_deliver(&mut self, blocks: &[(u64, Block)]) -> bool {
        let memory = Arc::new(Semaphore::new(blocks.len()));
        let mut batch = Batch::default();
        for (base, block) in blocks {
            let permit = memory.clone().try_acquire_owned().unwrap();
            let (outbox, _) = mpsc::unbounded_channel();
            batch.push(Instant::now(), Entry { block: block.clone(), base: *base, outbox, _permit: permit });
        }
        tokio::select! {
            () = self.committer.commit(&batch) => true,
            () = self.death.notified() => false,
        }
    }

    pub async fn deliver(&mut self, blocks: &[(u64, Block)]) {
        assert!(self.try_deliver(blocks).await, "it died");
    }
}

/// A row, as far as it matters here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    pub stream: String,
    pub seq: i64,
    pub category: String,
}

/// The tables in the order of their commits.
pub struct World {
    pub tables: [Store; DEFAULT + 1],
}

impl World {
    pub fn new() -> Self {
        Self { tables: std::array::from_fn(|_| Store::open("memory://", &BTreeMap::new()).unwrap()) }
    }

    /// A new collector, which opens the tables without faults.
    pub async fn collector(&self) -> Collector {
        let death = Arc::new(Notify::new());
        let faults: [Faults; DEFAULT + 1] =
            std::array::from_fn(|_| Faults { death: death.clone(), ..Faults::default() });
        let tables = self.tables_with(&ROUTES, &faults).await.unwrap();
        let marks = Marks::new(tables.default_table().view.clone());
        Collector {
            committer: Committer {
                tables,
                marks,
                output: OutputRatio::default(),
                pulse: Pulse::default(),
                background: TaskTracker::new(),
            },
            faults,
            death,
        }
    }

    /// The tables with other routes.
    pub async fn open(&self, routes: &[&[&str]; DEFAULT]) -> std::result::Result<Tables, StartError> {
        self.tables_with(routes, &Default::default()).await
    }

    pub async fn open_with_default_as_route(&self) -> std::result::Result<Tables, StartError> {
        let default = &self.tables[DEFAULT];
        let alias = Store::from_parts(default.objects().clone(), "memory://alias".parse().unwrap());
        Tables::open(settings(default.clone()), vec![(Globs::new(["a"]).unwrap(), settings(alias))]).await
    }

    async fn tables_with(
        &self,
        routes: &[&[&str]; DEFAULT],
        faults: &[Faults; DEFAULT + 1],
    ) -> std::result::Result<Tables, StartError> {
        let place = |index: usize| {
            let inner = self.tables[index].objects().clone();
            let faulty = Arc::new(Faulty { inner, faults: faults[index].clone() });
            settings(Store::from_parts(faulty, format!("memory://{index}").parse().unwrap()))
        };
        let routes =
            routes.iter().enumerate().map(|(at, globs)| (Globs::new(globs.iter().copied()).unwrap(), place(at)));
        Tables::open(place(DEFAULT), routes.collect()).await
    }

    pub async fn force_routes(&self, routes: &str) {
        let mut view = View::open(&self.tables[DEFAULT], &options()).await.unwrap();
        set_property(&mut view, "logboom.routes", routes, |_| true).await.unwrap();
    }

    /// A block with a record of each category; blocks have room for ten records.
    pub fn block(&self, of: u8, number: u64, categories: &[&str]) -> (u64, Block) {
        let mut sorted = categories.to_vec();
        sorted.sort_unstable();
        let runs = sorted.into_iter().map(|category| {
            let mut rows = Rows::default();
            rows.push_line(number as i64, b"line");
            (Arc::new(RunKey { category: category.into(), source: "s".into(), attributes: vec![] }), rows)
        });
        let place = BlockPlace { stream: stream(of), number, first_record: number * 10, host: "h" };
        (number - 1, Encoder::default().encode(place, runs, vec![]).unwrap())
    }

    /// The blocks of a stream that follow one another from `base` on. What they hold depends on their number alone.
    pub fn blocks(&self, of: u8, base: u64, numbers: std::ops::RangeInclusive<u64>) -> Vec<(u64, Block)> {
        assert_eq!(*numbers.start(), base + 1);
        numbers.map(|number| self.block(of, number, &categories(of, number))).collect()
    }

    /// The mark that adaptors are told.
    pub async fn mark(&self, of: u8) -> u64 {
        match View::open(&self.tables[DEFAULT], &options()).await {
            Ok(view) => view.mark(stream(of)),
            Err(_) => 0,
        }
    }

    pub async fn rejected(&self) -> usize {
        let folder = Path::from(REJECTED_FOLDER);
        let listed: Vec<_> = self.tables[DEFAULT].objects().list(Some(&folder)).try_collect().await.unwrap();
        listed.len()
    }

    /// The rows of each table.
    pub async fn rows(&self) -> [Vec<Row>; DEFAULT + 1] {
        let mut all = [const { Vec::new() }; DEFAULT + 1];
        for (store, rows) in self.tables.iter().zip(&mut all) {
            for file in Snapshot::load(store).await.unwrap().files {
                let object = store.objects().get(&file.path.as_str().into()).await.unwrap();
                let reader = ParquetRecordBatchReaderBuilder::try_new(object.bytes().await.unwrap()).unwrap();
                for batch in reader.build().unwrap().map(|batch| batch.unwrap()) {
                    let text = |name: &str, row: usize| batch[name].as_string::<i32>().value(row).to_owned();
                    let seqs = batch["seq"].as_primitive::<Int64Type>();
                    rows.extend((0..batch.num_rows()).map(|row| Row {
                        stream: text("stream", row),
                        seq: seqs.value(row),
                        category: text("category", row),
                    }));
                }
            }
            rows.sort_unstable();
        }
        all
    }

    /// Fails unless the tables have exactly the blocks of each stream up to a number, each row once and in its table.
    pub async fn assert_once(&self, streams: &[(u8, u64)]) {
        let mut expected = [const { Vec::new() }; DEFAULT + 1];
        for &(of, last) in streams {
            for number in 1..=last {
                let mut sorted = categories(of, number);
                sorted.sort_unstable();
                for (at, category) in sorted.into_iter().enumerate() {
                    let seq = number as i64 * 10 + at as i64;
                    let table = match category {
                        "audit.login" => 0,
                        "bill.eu" => 1,
                        _ => DEFAULT,
                    };
                    expected[table].push(Row { stream: stream(of).to_string(), seq, category: category.into() });
                }
            }
        }
        for (table, (rows, mut expected)) in self.rows().await.into_iter().zip(expected).enumerate() {
            expected.sort_unstable();
            assert_eq!(rows, expected, "table {table}");
        }
    }
}

fn settings(store: Store) -> TableSettings {
    let files =
        FileSettings { target_file_size: 1 << 20, row_group_rows: 1024, ..FileSettings::from(&Sink::at("memory://")) };
    TableSettings { store, files, options: options() }
}

/// All mixtures of categories in turn; the first blocks have all of them.
fn categories(of: u8, number: u64) -> Vec<&'static str> {
    let mixture = (7 + (u64::from(of) + 2) * (number - 1)) % 8;
    ["app", "audit.login", "bill.eu"]
        .into_iter()
        .enumerate()
        .filter(|(bit, _)| mixture >> bit & 1 == 1)
        .map(|(_, c)| c)
        .collect()
}

/// The same block with zeros for a payload, and checksums that hold: the work of a faulty peer.
pub fn hollow((base, block): &(u64, Block)) -> (u64, Block) {
    let mut bytes = block.bytes().to_vec();
    let header = u32::from_le_bytes(bytes[8..12].try_into().unwrap()) as usize;
    bytes[24 + header..].fill(0);
    let crc = crc32c::crc32c(&bytes[24 + header..]);
    bytes[16..20].copy_from_slice(&crc.to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes[..20]), &bytes[24..24 + header]);
    bytes[20..24].copy_from_slice(&crc.to_le_bytes());
    (*base, Block::parse(Bytes::from(bytes)).unwrap())
}
