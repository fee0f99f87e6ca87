//! A folder, a file source on it, and a spool in memory: a thread that takes blocks from the intake and keeps their lines
//! and positions, or throws them away once the process counts as killed.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use logboom_config::{FileSource, Source, SourceKind};
use logboom_wire::block::{BlockPlace, Encoder};
use logboom_wire::{Position, StreamId, column};
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::counters::Counters;
use crate::intake::{Intake, Pending};
use crate::route::Routes;
use crate::source::Context;
use crate::source::file::identity::{FileId, Standing, born};
use crate::source::file::{GRACE_LOOKS, open};

pub const POLL: Duration = Duration::from_millis(10);
const PATIENCE: Duration = Duration::from_secs(20);

/// What would be on disk.
#[derive(Default)]
pub struct Durable {
    /// Path and body, in the order of the blocks.
    pub lines: Vec<(String, String)>,
    pub positions: BTreeMap<String, String>,
}

impl Durable {
    fn add(&mut self, encoder: &mut Encoder, block: Pending) {
        let place = BlockPlace { stream: StreamId::from_bytes([1; 16]), number: 1, first_record: 0, host: "test" };
        let positions: Vec<_> = block.positions.into_iter().map(|(key, value)| Position { key, value }).collect();
        let block = encoder.encode(place, block.runs, positions).unwrap();
        for (index, run) in block.header().runs.iter().enumerate() {
            let path = run.key.attributes.iter().find(|(key, _)| key == "log.file.path").unwrap().1.clone();
            let batch = block.decode_run(index).unwrap();
            let bodies = batch.column_by_name(column::BODY).unwrap().to_data();
            let offsets = bodies.buffers()[0].typed_data::<i32>();
            for ends in offsets.windows(2) {
                let body = &bodies.buffers()[1][ends[0] as usize..ends[1] as usize];
                self.lines.push((path.clone(), String::from_utf8_lossy(body).into_owned()));
            }
        }
        for Position { key, value } in block.header().positions.clone() {
            match value.is_empty() {
                true => self.positions.remove(&key),
                false => self.positions.insert(key, value),
            };
        }
    }

    pub fn bodies(&self) -> Vec<&str> {
        self.lines.iter().map(|(_, body)| body.as_str()).collect()
    }

    /// What is durable but for `expected`, and what of `expected` is not: by how often.
    pub fn difference(&self, expected: &[String]) -> BTreeMap<String, i64> {
        let mut counts: BTreeMap<String, i64> = expected.iter().map(|line| (line.clone(), -1)).collect();
        for body in self.bodies() {
            *counts.entry(body.to_owned()).or_default() += 1;
        }
        counts.retain(|_, count| *count != 0);
        counts
    }

    pub fn standings(&self) -> Vec<Standing> {
        let standings = self.positions.iter().filter(|(key, _)| !key.ends_with("/start"));
        standings.map(|(_, value)| serde_json::from_str(value).unwrap()).collect()
    }
}

/// Folder, settings and durable state; outlives the runs.
pub struct Rig {
    pub dir: TempDir,
    pub source: Source,
    pub settings: FileSource,
    pub durable: Arc<Mutex<Durable>>,
    pub resumed: bool,
    pub block_bytes: usize,
    pub buffer_bytes: usize,
    pub routes: Arc<Routes>,
}

/// A source that runs, as one process would run it.
pub struct Run {
    pub counters: Arc<Counters>,
    /// While set, nothing becomes durable.
    pub stalled: Arc<AtomicBool>,
    intake: Intake,
    stop: CancellationToken,
    killed: Arc<AtomicBool>,
    running: JoinHandle<()>,
    writer: thread::JoinHandle<()>,
}

impl Rig {
    /// Follows `*.log`.
    pub fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let mut settings = FileSource::at([format!("{}/*.log", dir.path().display())]);
        settings.poll_interval = POLL;
        let source = Source::new("test", SourceKind::File(settings.clone()));
        Self {
            dir,
            source,
            settings,
            durable: Arc::default(),
            resumed: false,
            block_bytes: 4 << 10,
            buffer_bytes: 1 << 20,
            routes: Arc::default(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn append(&self, name: &str, text: &str) {
        let mut file = File::options().create(true).append(true).open(self.path(name)).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    pub fn rename(&self, from: &str, to: &str) {
        fs::rename(self.path(from), self.path(to)).unwrap();
    }

    pub fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    /// Whether a position of the file is durable.
    pub fn is_known(&self, path: &Path) -> bool {
        let meta = fs::metadata(path).unwrap();
        let durable = self.durable.lock().unwrap();
        let value = durable.positions.get(&FileId::of(&meta).key("test"));
        let standing: Option<Standing> = value.map(|value| serde_json::from_str(value).unwrap());
        standing.is_some_and(|standing| standing.born == born(&meta))
    }

    pub async fn start(&mut self) -> Run {
        let intake = Intake::new(self.block_bytes, self.buffer_bytes);
        let counters = Arc::new(Counters::default());
        let context = Context {
            intake: intake.clone(),
            host: "test".into(),
            labels: Arc::default(),
            positions: Arc::new(self.durable.lock().unwrap().positions.clone()),
            resumed: std::mem::replace(&mut self.resumed, true),
            counters: counters.clone(),
            routes: self.routes.clone(),
        };
        let stop = CancellationToken::new();
        let running = open(self.source.clone(), self.settings.clone(), context, stop.clone()).await.unwrap();
        let (stalled, killed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let writer = thread::spawn({
            let (intake, durable) = (intake.clone(), self.durable.clone());
            let (stalled, killed) = (stalled.clone(), killed.clone());
            move || write(&intake, &durable, &stalled, &killed)
        });
        Run { counters, stalled, intake, stop, killed, running: tokio::spawn(running), writer }
    }

    /// Waits until what is durable is as wished.
    pub async fn until(&self, what: &str, wish: impl Fn(&Durable) -> bool) {
        if !self.comes(wish).await {
            let durable = self.durable.lock().unwrap();
            let last = &durable.lines[durable.lines.len().saturating_sub(20)..];
            panic!("not in time: {what}; {} lines, last {last:?}; {:?}", durable.lines.len(), durable.positions);
        }
    }

    /// Waits until what is durable is as wished; whether it came to that.
    pub async fn comes(&self, wish: impl Fn(&Durable) -> bool) -> bool {
        let start = Instant::now();
        while !wish(&self.durable.lock().unwrap()) {
            if start.elapsed() > PATIENCE {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        true
    }

    pub async fn until_bodies(&self, bodies: &[&str]) {
        self.until(&format!("{bodies:?}"), |durable| durable.bodies().len() >= bodies.len()).await;
        assert_eq!(self.durable.lock().unwrap().bodies(), bodies);
    }

    pub fn assert_bodies(&self, bodies: &[&str]) {
        assert_eq!(self.durable.lock().unwrap().bodies(), bodies);
    }

    pub fn standings(&self) -> Vec<Standing> {
        self.durable.lock().unwrap().standings()
    }
}

/// Long enough for the source to have looked `looks` times, or more.
pub async fn looks(looks: u32) {
    tokio::time::sleep(POLL * 2 * looks + Duration::from_millis(50)).await;
}

/// Long enough for the grace to be over.
pub async fn grace() {
    looks(2 * GRACE_LOOKS).await;
}

impl Run {
    /// Ends as SIGTERM would end it: what was handed over becomes durable.
    pub async fn stop(self) {
        self.stop.cancel();
        self.running.await.unwrap();
        self.stalled.store(false, Ordering::SeqCst);
        self.intake.close();
        self.writer.join().unwrap();
    }

    /// Ends as kill -9 would end it: what is not durable by now never will be.
    pub async fn kill(self) {
        self.killed.store(true, Ordering::SeqCst);
        self.stop().await;
    }
}

fn write(intake: &Intake, durable: &Mutex<Durable>, stalled: &AtomicBool, killed: &AtomicBool) {
    let mut encoder = Encoder::default();
    while let Some(mut taken) = intake.take(Duration::from_millis(1), None) {
        while stalled.load(Ordering::SeqCst) {
            thread::park_timeout(Duration::from_millis(1));
        }
        let tickets = taken.tickets();
        for block in taken.blocks {
            if !killed.load(Ordering::SeqCst) {
                durable.lock().unwrap().add(&mut encoder, block);
            }
        }
        intake.synced(tickets);
    }
}

pub fn exists(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

/// The seeds that are to be run: from 1 to what `SEEDS` says, or 1.
pub fn seeds() -> RangeInclusive<u64> {
    1..=std::env::var("SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(1)
}
