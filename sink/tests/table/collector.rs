//! The least that a correct caller of the table does, and the oracle that counts what came of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::TryStreamExt;
use jiff::civil::date;
use logboom_sink::paths::Name;
use logboom_sink::table::actions::{self, Action};
use logboom_sink::table::{Batch, Clock, DataFile, FileStats, Outcome, Snapshot, TableOptions, Timing, View, commit};
use logboom_sink::{Error, Store};
use logboom_wire::StreamId;
use object_store::ObjectStoreExt;

/// A block: its stream and its number. As a record, its file holds its text.
pub type Block = (StreamId, u64);

pub fn stream(n: u8) -> StreamId {
    StreamId::from_bytes([n; 16])
}

pub fn blocks(of: StreamId, numbers: impl IntoIterator<Item = u64>) -> Vec<Block> {
    numbers.into_iter().map(|number| (of, number)).collect()
}

pub fn memory() -> Store {
    Store::open("memory://", &BTreeMap::new()).unwrap()
}

pub fn folder(dir: &tempfile::TempDir) -> Store {
    Store::open(dir.path().to_str().unwrap(), &BTreeMap::new()).unwrap()
}

/// Options with short pauses. The deadline stays generous, for machines that are busy.
pub fn options() -> TableOptions {
    let timing =
        Timing { pause_first: Duration::from_millis(1), pause_max: Duration::from_millis(20), ..Timing::default() };
    TableOptions { timing, ..TableOptions::default() }
}

/// Options for stores that hang.
pub fn impatient() -> TableOptions {
    let mut options = options();
    options.timing.call_deadline = Duration::from_millis(150);
    options
}

pub fn with_clock(clock: Arc<dyn Clock>) -> TableOptions {
    TableOptions { clock, ..options() }
}

/// Options by which all but the newest is old: the store's clock, which clean-up goes by, cannot be set.
pub fn without_retention(options: &TableOptions) -> TableOptions {
    TableOptions { log_retention: Duration::ZERO, ..options.clone() }
}

/// A file with these blocks, on the store.
pub async fn put_file(store: &Store, blocks: &[Block]) -> DataFile {
    let date = date(2026, 2, 3);
    let name = Name::new_data(date);
    let text: String = blocks.iter().map(|(stream, number)| format!("{stream} {number}\n")).collect();
    let size = text.len() as u64;
    let content: bytes::Bytes = text.into();
    // On a store that refuses now and then: it has a name of its own, so it may be put again.
    while let Err(error) = store.objects().put(&name.path(), content.clone().into()).await {
        println!("{name}: {error}");
    }
    let stats = FileStats { records: blocks.len() as u64, ..FileStats::default() };
    DataFile { path: name.to_string(), size, date, stats, crc32c: None }
}

/// The new marks of a batch of these blocks.
pub fn marks(blocks: &[Block]) -> Vec<(StreamId, u64)> {
    let mut marks = BTreeMap::new();
    for (stream, number) in blocks {
        let mark = marks.entry(*stream).or_insert(0);
        *mark = (*number).max(*mark);
    }
    marks.into_iter().collect()
}

/// A collector that holds nothing that matters.
pub struct Collector {
    pub store: Store,
    pub view: View,
}

impl Collector {
    pub async fn new(store: &Store, options: &TableOptions) -> Self {
        Self { store: store.clone(), view: View::open_or_create(store, options).await.unwrap() }
    }

    /// One try: filter, write, commit. `None`: all blocks are covered by the view, and so may be acknowledged.
    pub async fn try_deliver(&mut self, blocks: &[Block]) -> Option<Result<Outcome, Error>> {
        let pending: Vec<Block> =
            blocks.iter().copied().filter(|(stream, number)| *number > self.view.mark(*stream)).collect();
        if pending.is_empty() {
            return None;
        }
        let begun = self.view.begin_files();
        let files = [put_file(&self.store, &pending).await];
        let marks = marks(&pending);
        Some(commit(&mut self.view, Batch { files: &files, marks: &marks, begun }).await)
    }

    /// Tries until every block may be acknowledged. Returns how often it committed.
    pub async fn deliver(&mut self, blocks: &[Block]) -> usize {
        let mut commits = 0;
        for _ in 0..1000 {
            match self.try_deliver(blocks).await {
                None => return commits,
                Some(Ok(Outcome::Committed { .. })) => commits += 1,
                Some(Ok(Outcome::Conflict)) => {}
                // Unknown: look again, which may fail as well.
                Some(Err(_)) => drop(self.view.refresh().await),
            }
        }
        panic!("stuck with {blocks:?}");
    }
}

/// How often each block is in the newest snapshot.
pub async fn copies(store: &Store) -> BTreeMap<Block, usize> {
    let mut copies = BTreeMap::new();
    for file in Snapshot::load(store).await.unwrap().files {
        let object = store.objects().get(&file.path.as_str().into()).await.expect("a committed file is there");
        let text = object.bytes().await.unwrap();
        assert_eq!(text.len() as u64, file.size);
        for line in str::from_utf8(&text).unwrap().lines() {
            let (stream, number) = line.split_once(' ').unwrap();
            *copies.entry((stream.parse().unwrap(), number.parse().unwrap())).or_default() += 1;
        }
    }
    copies
}

/// Fails unless exactly these blocks are in the table, each once, and marks grew with every commit that is left.
pub async fn assert_once(store: &Store, expected: &[Block]) {
    let copies = copies(store).await;
    let wrong: Vec<_> = copies.iter().filter(|(_, n)| **n != 1).collect();
    assert!(wrong.is_empty(), "more than once: {wrong:?}");
    let found: BTreeSet<Block> = copies.into_keys().collect();
    let expected: BTreeSet<Block> = expected.iter().copied().collect();
    assert_eq!(found, expected, "what is in the table, and what should be");
    assert_marks_grow(store).await;
}

async fn assert_marks_grow(store: &Store) {
    let mut marks: BTreeMap<String, i64> = BTreeMap::new();
    for version in commits(store).await {
        let name = Name::Commit(version);
        let text = store.objects().get(&name.path()).await.unwrap().bytes().await.unwrap();
        for action in actions::parse(&name.to_string(), &text).unwrap() {
            if let Action::Txn(txn) = action {
                let before = marks.insert(txn.app_id.clone(), txn.version);
                assert!(before.is_none_or(|mark| mark < txn.version), "{txn:?} after {before:?} in {version}");
            }
        }
    }
}

/// The versions that are in the log as commits, ascending.
pub async fn commits(store: &Store) -> Vec<u64> {
    let mut versions: Vec<u64> = names(store)
        .await
        .into_iter()
        .filter_map(|name| match name {
            Name::Commit(version) => Some(version),
            _ => None,
        })
        .collect();
    versions.sort_unstable();
    versions
}

/// Every object that has a name of ours.
pub async fn names(store: &Store) -> Vec<Name> {
    let listed: Vec<_> = store.objects().list(None).try_collect().await.unwrap();
    listed.iter().filter_map(|meta| Name::parse(meta.location.as_ref())).collect()
}
