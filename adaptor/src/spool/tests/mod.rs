//! The spool as a whole, on real folders: a writer behind an intake, readers, restarts, and everything that disks do.

mod damage;
mod flips;
mod full;
mod fuzzed;
mod golden;
mod image;
mod losses;
mod recovery;
mod sync_failure;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arrow_array::cast::AsArray;
use logboom_config::Spool as Settings;
use logboom_wire::{Block, Position, RunKey, StreamId, column};
use tokio_util::sync::CancellationToken;

use super::disk::Disk;
use super::{RESERVE_BYTES, Reader, Recovered, Spool, Writer};
use crate::counters::Counters;
use crate::intake::{Chunk, Intake, Receipt, Refused};

/// Settings with a segment per block, unless changed.
fn settings(path: &Path) -> Settings {
    Settings { linger: Duration::ZERO, segment_size: 1, ..Settings::at(path) }
}

fn open(settings: &Settings) -> (Arc<Spool>, Recovered, Arc<Counters>) {
    let counters = Arc::new(Counters::default());
    let (spool, recovered) = Spool::open(Disk::default(), settings, counters.clone()).unwrap();
    (spool, recovered, counters)
}

fn block_on<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(future)
}

/// `records` records named after `tag`, and perhaps a position.
fn chunk(tag: &str, records: usize, position: Option<(&str, &str)>) -> Chunk {
    let mut chunk = Chunk::default();
    let key = Arc::new(RunKey { category: "c".into(), source: "s".into(), attributes: vec![] });
    for n in 0..records {
        chunk.rows(&key).push_line(n as i64, format!("{tag}-{n}").as_bytes());
    }
    if let Some((key, value)) = position {
        chunk.set_position(Position { key: key.into(), value: value.into() });
    }
    chunk
}

/// A writer in a thread of its own.
struct Writing {
    intake: Intake,
    give_up: CancellationToken,
    stream: StreamId,
    thread: JoinHandle<u64>,
}

impl Writing {
    fn start(spool: &Arc<Spool>) -> Self {
        Self::start_after(spool, || ())
    }

    /// Runs `prepare` in the writer's thread first.
    fn start_after(spool: &Arc<Spool>, prepare: impl FnOnce() + Send + 'static) -> Self {
        let intake = Intake::new(1 << 20, 16 << 20);
        let give_up = CancellationToken::new();
        let writer = Writer::open(spool.clone(), "host", give_up.clone());
        let stream = writer.stream();
        let thread = std::thread::spawn({
            let intake = intake.clone();
            move || {
                prepare();
                writer.run(&intake)
            }
        });
        Self { intake, give_up, stream, thread }
    }

    fn append(&self, chunk: Chunk) -> Receipt {
        block_on(self.intake.append(chunk)).unwrap()
    }

    /// One chunk, one block.
    fn put(&self, chunk: Chunk) {
        block_on(self.append(chunk).durable()).unwrap();
    }

    fn close(self) -> u64 {
        self.intake.close();
        self.thread.join().unwrap()
    }
}

/// Writes blocks of 1, 2, 3 … records, with the position `p` at the number of the block.
fn write_blocks(spool: &Arc<Spool>, blocks: usize) -> StreamId {
    let writing = Writing::start(spool);
    for n in 1..=blocks {
        writing.put(chunk(&format!("b{n}"), n, Some(("p", &n.to_string()))));
    }
    let stream = writing.stream;
    assert_eq!(writing.close(), 0);
    stream
}

fn bodies(block: &Block) -> Vec<String> {
    let runs = 0..block.header().runs.len();
    let batches = runs.map(|run| block.decode_run(run).unwrap());
    let texts = batches.flat_map(|batch| {
        let body = batch.column_by_name(column::BODY).unwrap().as_binary::<i32>().clone();
        body.iter().map(|text| String::from_utf8(text.unwrap().to_vec()).unwrap()).collect::<Vec<_>>()
    });
    texts.collect()
}

/// Everything that readers find, by generation, in order.
fn read_all(spool: &Arc<Spool>) -> BTreeMap<u64, Vec<Block>> {
    let mut found = BTreeMap::new();
    for stream in spool.streams() {
        let mut reader = Reader::new(spool.clone(), stream.generation, stream.id, stream.mark);
        let mut blocks = Vec::new();
        loop {
            let read = reader.read(1 << 20).unwrap();
            if read.is_empty() {
                break;
            }
            blocks.extend(read);
        }
        assert!(blocks.is_sorted_by(|a: &Block, b: &Block| a.header().number < b.header().number));
        found.insert(stream.generation, blocks);
    }
    found
}

/// Reads everything and says it is committed; bodies in order.
fn drain(spool: &Arc<Spool>) -> Vec<String> {
    let mut all = Vec::new();
    for block in read_all(spool).into_values().flatten() {
        all.extend(bodies(&block));
        spool.trim(&[(block.header().stream, block.header().number)].into()).unwrap();
    }
    all
}

fn records_of_blocks(numbers: impl IntoIterator<Item = usize>) -> Vec<String> {
    numbers.into_iter().flat_map(|n| (0..n).map(move |at| format!("b{n}-{at}"))).collect()
}

fn segments(settings: &Settings, stream: StreamId) -> Vec<PathBuf> {
    let mut paths: Vec<_> = match fs::read_dir(settings.path.join(stream.to_string())) {
        Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
        Err(_) => vec![],
    };
    paths.sort();
    paths
}

/// Offsets of the frames in the segment at `path`, and its length.
fn frame_offsets(path: &Path) -> Vec<u64> {
    let file = Disk::default().open(path).unwrap();
    let length = file.length().unwrap();
    let mut offsets = vec![super::segment::HEADER_BYTES as u64];
    while let super::segment::Frame::Sound { end, .. } =
        super::segment::read_header(&file, *offsets.last().unwrap(), length).unwrap()
    {
        offsets.push(end);
    }
    offsets
}
