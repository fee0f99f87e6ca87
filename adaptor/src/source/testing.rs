//! For tests of sources: a context, a rig with a writer, and the records that went into an intake.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use arrow_array::cast::AsArray;
use futures::FutureExt;
use logboom_config::{Settings, Source};
pub(crate) use logboom_fuzz::fuzz;
use logboom_wire::block::{BlockPlace, Encoder};
use logboom_wire::{StreamId, column};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::intake::{Chunk, Intake, Pending};
use crate::route::Routes;
use crate::source::Context;

/// Long enough for anything that does happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// Long enough to believe that something does not happen.
pub(crate) const A_WHILE: Duration = Duration::from_millis(150);

/// A record as a reader would see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) category: String,
    pub(crate) body: String,
    /// Those of its run and its own.
    pub(crate) attributes: BTreeMap<String, String>,
}

impl Seen {
    pub(crate) fn new(category: &str, body: &str) -> Self {
        Self { category: category.to_owned(), body: body.to_owned(), attributes: BTreeMap::new() }
    }

    pub(crate) fn with(mut self, key: &str, value: &str) -> Self {
        self.attributes.insert(key.to_owned(), value.to_owned());
        self
    }
}

/// A context with an intake that nobody writes out yet.
pub(crate) fn context() -> Context {
    Context {
        intake: Intake::new(1 << 20, 16 << 20),
        host: "host-1".into(),
        labels: Arc::default(),
        positions: Arc::default(),
        resumed: false,
        counters: Arc::default(),
        routes: Arc::default(),
    }
}

/// The rules of these settings.
pub(crate) fn routes(toml: &str) -> Arc<Routes> {
    let settings = Settings::parse("rules", toml).unwrap_or_else(|error| panic!("{error}\n{toml}"));
    Arc::new(Routes::new(&settings.adaptor.unwrap()))
}

/// The records of `chunk` after a way through an intake that is empty.
pub(crate) fn taken(intake: &Intake, chunk: Chunk) -> Vec<Seen> {
    let appended = intake.append(chunk).now_or_never().expect("there is room");
    assert!(appended.is_ok());
    let mut taken = intake.take(Duration::ZERO, None).unwrap();
    intake.synced(taken.tickets());
    taken.blocks.into_iter().flat_map(records).collect()
}

/// The records of a block, in its order.
pub(crate) fn records(block: Pending) -> Vec<Seen> {
    let place = BlockPlace { stream: StreamId::random(), number: 1, first_record: 0, host: "host-1" };
    let block = Encoder::default().encode(place, block.runs, Vec::new()).unwrap();
    let mut seen = Vec::new();
    for (index, run) in block.header().runs.iter().enumerate() {
        let batch = block.decode_run(index).unwrap();
        let bodies = batch.column_by_name(column::BODY).unwrap().as_binary::<i32>();
        let attributes = batch.column_by_name(column::ATTRIBUTES).map(|column| column.as_map());
        for row in 0..batch.num_rows() {
            let mut record = Seen::new(&run.key.category, &String::from_utf8_lossy(bodies.value(row)));
            record.attributes.extend(run.key.attributes.iter().cloned());
            if let Some(attributes) = attributes {
                let entries = attributes.value(row);
                let (keys, values) = (entries.column(0).as_string::<i32>(), entries.column(1).as_string::<i32>());
                for (key, value) in keys.iter().zip(values) {
                    record.attributes.insert(key.unwrap().to_owned(), value.unwrap().to_owned());
                }
            }
            seen.push(record);
        }
    }
    seen
}

/// An adaptor that is nothing but an intake and a writer.
pub(crate) struct Rig {
    pub(crate) context: Context,
    pub(crate) stop: CancellationToken,
    may_sync: Arc<(Mutex<bool>, Condvar)>,
    pub(crate) synced: Arc<Mutex<Vec<Seen>>>,
    /// Newest positions by key.
    pub(crate) positions: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Rig {
    pub(crate) fn new() -> Self {
        let rig = Self {
            context: context(),
            stop: CancellationToken::new(),
            may_sync: Arc::default(),
            synced: Arc::default(),
            positions: Arc::default(),
        };
        rig.hold(false);
        let (intake, gate, synced) = (rig.context.intake.clone(), rig.may_sync.clone(), rig.synced.clone());
        let positions = rig.positions.clone();
        std::thread::spawn(move || {
            while let Some(mut taken) = intake.take(Duration::from_millis(1), None) {
                drop(gate.1.wait_while(gate.0.lock().unwrap(), |open| !*open).unwrap());
                for block in &taken.blocks {
                    positions.lock().unwrap().extend(block.positions.clone());
                }
                let tickets = taken.tickets();
                synced.lock().unwrap().extend(taken.blocks.into_iter().flat_map(records));
                intake.synced(tickets);
            }
        });
        rig
    }

    /// What a rig is after a restart with what this one has made durable.
    pub(crate) fn restarted(&self) -> Self {
        let mut next = Self::new();
        next.context.positions = Arc::new(self.positions.lock().unwrap().clone());
        next.context.resumed = true;
        next
    }

    /// Keeps the writer from syncing, or lets it again.
    pub(crate) fn hold(&self, hold: bool) {
        *self.may_sync.0.lock().unwrap() = !hold;
        self.may_sync.1.notify_all();
    }

    /// What `answer` comes to. It must not do so while the writer is kept from syncing.
    pub(crate) async fn not_before_durable<T>(&self, answer: impl Future<Output = T>) -> T {
        self.hold(true);
        let mut answer = pin!(answer);
        assert!(timeout(A_WHILE, &mut answer).await.is_err(), "it is not durable");
        self.hold(false);
        answer.await
    }

    /// The bodies of `count` records, once that many are synced.
    pub(crate) async fn bodies(&self, count: usize) -> Vec<String> {
        let bodies = async {
            while self.synced.lock().unwrap().len() < count {
                sleep(Duration::from_millis(2)).await;
            }
        };
        assert!(timeout(PATIENCE, bodies).await.is_ok(), "only {:?}", self.synced.lock().unwrap());
        self.synced.lock().unwrap().iter().map(|seen| seen.body.clone()).collect()
    }

    /// A source that is open and runs.
    pub(crate) async fn open(&self, source: Source) -> JoinHandle<()> {
        match super::open(source, self.context.clone(), self.stop.clone()).await {
            Ok(running) => tokio::spawn(running),
            Err(error) => panic!("{error}"),
        }
    }

    /// Why the source cannot be opened.
    pub(crate) async fn refusal(&self, source: Source) -> String {
        match super::open(source, self.context.clone(), self.stop.clone()).await {
            Ok(_) => panic!("it opened"),
            Err(error) => error.message,
        }
    }

    /// `count` records, once that many are synced.
    pub(crate) async fn records(&self, count: usize) -> Vec<Seen> {
        self.bodies(count).await;
        self.synced.lock().unwrap().clone()
    }

    /// Stops the source and waits until it has ended.
    pub(crate) async fn stop(&self, running: JoinHandle<()>) {
        self.stop.cancel();
        timeout(PATIENCE, running).await.unwrap().unwrap();
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.hold(false);
        self.context.intake.close();
    }
}

/// Port 0: whichever is free.
pub(crate) fn any_port() -> SocketAddr {
    "127.0.0.1:0".parse().unwrap()
}

/// An address with a port that nobody listens at, outside of the range from which the system takes those of other tests.
pub(crate) fn free_address() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 100) as u16 * 100;
    loop {
        let port = 10_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        if std::net::TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Cuts `bytes` in pieces in many ways (one byte each, two halves at every place, at random) and calls `decode` with each.
pub(crate) fn every_split(bytes: &[u8], mut decode: impl FnMut(&[&[u8]])) {
    decode(&bytes.chunks(1).collect::<Vec<_>>());
    for at in 0..=bytes.len().min(2000) {
        decode(&[&bytes[..at], &bytes[at..]]);
    }
    for seed in 0..50 {
        let mut random = StdRng::seed_from_u64(seed);
        let (mut pieces, mut rest) = (Vec::new(), bytes);
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(random.random_range(0..=rest.len().min(40)));
            pieces.push(piece);
            rest = after;
        }
        decode(&pieces);
    }
}
