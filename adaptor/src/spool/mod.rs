//! The spool: blocks on local disk, until they are committed.
//!
//! `<spool>/<stream>/<first block number>.seg`, append-only. There is no index on disk: what is here is rebuilt from
//! names and frame headers at start ([`recovery`]). This file owns the index in memory and its rules:
//!
//! - only blocks below a segment's synced end exist for readers, so a mark never runs ahead of the disk;
//! - a segment is deleted when the mark has passed its last block, after its positions are folded into `positions`;
//! - a stream that this process did not open is sealed: it is read, sent and deleted, never written to.
//!
//! What is written is in [`writer`], what is read in [`reader`], what goes in [`trim`].

pub mod disk;
pub mod durable;
mod losses;
pub mod positions;
pub mod quarantine;
mod reader;
mod recovery;
pub mod segment;
#[cfg(test)]
mod tests;
mod trim;
mod writer;

use std::collections::{BTreeMap, VecDeque};
use std::fs::TryLockError;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use logboom_config::Spool as Settings;
use logboom_wire::StreamId;
use tokio::sync::{Notify, watch};
use tracing::{error, warn};

use crate::counters::Counters;
use disk::{Create, Disk, File};
use positions::Positions;

pub use losses::{Loss, Reason};
pub use reader::Reader;
pub use writer::Writer;

/// Kept free of the limit, and on disk as a file that can be given up, so that deleting always works: folding positions
/// needs some room.
const RESERVE_BYTES: u64 = 1 << 20;

/// Why the spool cannot be used. Names the path.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// A file operation failed.
    #[error("spool {}: {what}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// Another process uses it.
    #[error("spool {}: another adaptor uses it; stop that one or set another `adaptor.spool.path`", .0.display())]
    InUse(PathBuf),
    /// A collector says that blocks are committed which were never written.
    #[error("stream {stream}: the collector has committed block {mark}, but only {last} were written")]
    Ahead {
        /// The stream.
        stream: StreamId,
        /// The highest block that is said to be committed.
        mark: u64,
        /// The last block.
        last: u64,
    },
}

impl SpoolError {
    fn io(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, what, source }
    }
}

/// One file of a stream.
#[derive(Debug)]
struct Segment {
    path: PathBuf,
    /// Number of its first block, whether or not that is sound.
    first: u64,
    /// Number of its last block; less than `first` while it has none.
    last: u64,
    records: u64,
    /// Sequence number after its last record, as far as known.
    end_record: u64,
    /// Synced length: readers stop here.
    bytes: u64,
    /// Offset up to which damage was counted and set aside: readers come by again.
    set_aside: u64,
    positions: Positions,
}

impl Segment {
    /// Whether it holds no block that will ever be committed.
    fn is_hollow(&self) -> bool {
        self.last < self.first
    }
}

/// One stream.
#[derive(Debug)]
struct Stream {
    id: StreamId,
    opened_ms: u64,
    /// Highest number that is committed, as far as this process has heard.
    mark: u64,
    /// Number of the last block that this process wrote.
    published: u64,
    /// Sequence number of the record up to which losses are counted: readers come by again.
    accounted: u64,
    /// Nothing is ever written to it again.
    sealed: bool,
    /// Its last segment is open for writing.
    writing: bool,
    segments: VecDeque<Segment>,
}

impl Stream {
    /// Number of the last block; 0 for none.
    fn last(&self) -> u64 {
        self.segments.iter().rfind(|segment| !segment.is_hollow()).map_or(0, |segment| segment.last)
    }

    /// Whether nothing of a segment of it will ever be sent again.
    fn is_done_with(&self, segment: &Segment) -> bool {
        segment.last <= self.mark || segment.is_hollow()
    }

    /// Notes that the records from sequence number `from` up to `to` are lost; how many of them were not known to be.
    fn lose(&mut self, from: u64, to: u64) -> u64 {
        let lost = to.saturating_sub(from.max(self.accounted));
        self.accounted = self.accounted.max(to);
        lost
    }
}

/// What is in the spool. Streams are ordered by generation, oldest first.
#[derive(Debug, Default)]
struct Index {
    streams: BTreeMap<u64, Stream>,
    bytes: u64,
    folded: Positions,
    /// `folded` has losses that are not on disk yet.
    unsaved: bool,
}

/// A stream as the sender sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamStatus {
    /// Its place among the streams of this spool.
    pub generation: u64,
    /// The stream.
    pub id: StreamId,
    /// When it was opened, ms since 1970.
    pub opened_ms: u64,
    /// Number of the first block that may still be held.
    pub first: u64,
    /// Number of the last synced block; less than `first` for none.
    pub last: u64,
    /// Highest number that is committed.
    pub mark: u64,
    /// Whether nothing is added any more.
    pub sealed: bool,
}

/// The spool of one adaptor.
pub struct Spool {
    disk: Disk,
    path: PathBuf,
    settings: Settings,
    counters: Arc<Counters>,
    index: Mutex<Index>,
    /// Moves with every sync and every new stream.
    changed: watch::Sender<u64>,
    /// Moves when bytes were freed.
    freed: Condvar,
    /// Told when there are losses to be told of.
    losses: Notify,
    _lock: File,
}

impl Spool {
    /// Opens the spool at `settings.path` of `disk`, creating it if need be, and takes in what earlier runs left.
    ///
    /// # Errors
    /// [`SpoolError`] when the folder cannot be written or belongs to another process.
    pub fn open(
        disk: Disk,
        settings: &Settings,
        counters: Arc<Counters>,
    ) -> Result<(Arc<Self>, Recovered), SpoolError> {
        let path = settings.path.clone();
        durable::create_dir(&disk, &path).map_err(SpoolError::io(&path, "create the folder"))?;
        // Whoever created it may have died before it was durable.
        durable::sync_parent(&disk, &path).map_err(SpoolError::io(&path, "sync its name"))?;
        let lock = lock_folder(&disk, &path)?;
        restore_reserve(&disk, &path);
        let (index, recovered) = recovery::recover(&disk, &path, &counters)?;
        let spool = Self {
            disk,
            path,
            settings: settings.clone(),
            counters,
            index: Mutex::new(index),
            changed: watch::Sender::new(0),
            freed: Condvar::new(),
            losses: Notify::new(),
            _lock: lock,
        };
        Ok((Arc::new(spool), recovered))
    }

    /// The streams that hold something or still may.
    pub fn streams(&self) -> Vec<StreamStatus> {
        let index = self.lock();
        let status = |(&generation, stream): (&u64, &Stream)| StreamStatus {
            generation,
            id: stream.id,
            opened_ms: stream.opened_ms,
            first: stream.segments.front().map_or(stream.mark + 1, |segment| segment.first.max(stream.mark + 1)),
            last: stream.last(),
            mark: stream.mark,
            sealed: stream.sealed,
        };
        index.streams.iter().map(status).collect()
    }

    /// Signals when there may be more to send.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    /// The most bytes on disk.
    pub fn max_bytes(&self) -> u64 {
        self.settings.max_size
    }

    /// The disk that it is on.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The newest positions that are durable, by key.
    pub fn positions(&self) -> BTreeMap<String, String> {
        let index = self.lock();
        let mut positions = index.folded.clone();
        for segment in index.streams.values().flat_map(|stream| &stream.segments) {
            positions.merge(&segment.positions);
        }
        positions.values()
    }

    /// Losses that no loss record tells of, neither in the spool nor in the table.
    pub fn owed_losses(&self) -> Vec<Loss> {
        let index = self.lock();
        let mut positions = index.folded.clone();
        for segment in index.streams.values().flat_map(|stream| &stream.segments) {
            positions.merge(&segment.positions);
        }
        losses::owed(&positions)
    }

    /// Returns when there may be more of them than there were.
    pub async fn more_losses(&self) {
        self.losses.notified().await;
    }

    /// Whether everything is committed.
    pub fn is_drained(&self) -> bool {
        self.lock().streams.values().all(|stream| stream.last() <= stream.mark)
    }

    /// A reader went through the segment at `path` up to `limit` and found nothing sound after block `last`: what is
    /// damaged at its end will never be committed and must not hold the segment. `next_record` is the sequence number
    /// after the last record that it knows of.
    fn settle(
        &self,
        generation: u64,
        path: &Path,
        limit: u64,
        last: u64,
        next_record: Option<u64>,
    ) -> Result<(), SpoolError> {
        let mut index = self.lock();
        let Some(stream) = index.streams.get_mut(&generation) else { return Ok(()) };
        let found = stream.segments.iter_mut().find(|segment| segment.path == path);
        // If it has grown meanwhile, the end is elsewhere.
        if let Some(segment) = found.filter(|segment| segment.bytes == limit && segment.last > last) {
            segment.last = last.max(segment.first - 1);
            let end = segment.end_record;
            if let Some(from) = next_record {
                self.note_damage(&mut index, generation, from, end);
            }
        }
        self.delete_committed(&mut index, [generation])
    }

    /// A reader found the records from sequence number `from` up to `to` missing or damaged.
    fn count_lost(&self, generation: u64, from: u64, to: u64) {
        self.note_damage(&mut self.lock(), generation, from, to);
    }

    /// Counts the records from sequence number `from` up to `to` as damaged, as far as they were not, and makes the loss
    /// durable: the damage may be passed by once the blocks after it are committed. Returns the count.
    fn note_damage(&self, index: &mut Index, generation: u64, from: u64, to: u64) -> u64 {
        let Some(stream) = index.streams.get_mut(&generation) else { return 0 };
        let (id, first) = (stream.id, from.max(stream.accounted));
        let lost = stream.lose(from, to);
        if lost == 0 {
            return 0;
        }
        self.counters.records_quarantined.add(lost);
        let loss = Loss { stream: id, first, last: to - 1, reason: Reason::Damaged };
        losses::owe(&mut index.folded, generation, loss);
        if let Err(error) = self.store_positions(&index.folded) {
            warn!(%error, "cannot make a loss durable; trying again with the next segment that is deleted");
            index.unsaved = true;
        }
        self.losses.notify_one();
        lost
    }

    /// A reader found damage up to `end` in the segment at `path`; whether it was not known.
    fn is_news(&self, generation: u64, path: &Path, end: u64) -> bool {
        let mut index = self.lock();
        let Some(stream) = index.streams.get_mut(&generation) else { return false };
        let Some(segment) = stream.segments.iter_mut().find(|segment| segment.path == path) else { return false };
        let news = end > segment.set_aside;
        segment.set_aside = segment.set_aside.max(end);
        news
    }

    /// The segment at `path` is gone, and not by our doing. `next_record` is the sequence number after the last record
    /// that the reader knows of.
    fn forget_missing(&self, generation: u64, path: &Path, next_record: Option<u64>) -> Result<(), SpoolError> {
        let mut index = self.lock();
        let Some(stream) = index.streams.get_mut(&generation) else { return Ok(()) };
        let Some(at) = stream.segments.iter().position(|segment| segment.path == path) else { return Ok(()) };
        stream.writing &= at + 1 < stream.segments.len();
        let segment = stream.segments.remove(at).expect("found above");
        let is_lost = segment.last > stream.mark;
        index.bytes -= segment.bytes;
        if is_lost {
            index.folded.merge_dropped(&segment.positions);
            let from = next_record.unwrap_or(segment.end_record - segment.records);
            let lost = self.note_damage(&mut index, generation, from, segment.end_record);
            error!(path = %path.display(), lost, "a segment is missing from the spool");
        } else {
            index.folded.merge(&segment.positions);
        }
        self.freed.notify_all();
        self.delete_committed(&mut index, [generation])
    }

    /// Waits until bytes were freed, or `timeout`: blocks the thread, which is the writer's own. In a simulation it waits
    /// as others do.
    async fn wait_freed(&self, timeout: Duration) {
        #[cfg(feature = "simulation")]
        if logboom_config::simulation::is_on() {
            return tokio::time::sleep(timeout).await;
        }
        let index = self.lock();
        drop(self.freed.wait_timeout(index, timeout));
    }

    fn signal_change(&self) {
        self.changed.send_modify(|version| *version += 1);
    }

    /// No code panics while it holds the lock, so a poisoned one is still sound.
    fn lock(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What earlier runs left.
#[derive(Clone, Debug, Default)]
pub struct Recovered {
    /// Positions of the sources, by key.
    pub positions: BTreeMap<String, String>,
    /// Whether the spool was used before.
    pub resumed: bool,
}

fn lock_folder(disk: &Disk, path: &Path) -> Result<File, SpoolError> {
    let name = path.join("lock");
    let file = disk.create(&name, Create::Keep).map_err(SpoolError::io(&name, "create the lock file"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(SpoolError::InUse(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(SpoolError::Io { path: name, what: "lock it", source }),
    }
}

/// A reserve that cannot be made now (a full disk) is made at a later start.
fn restore_reserve(disk: &Disk, path: &Path) {
    let name = path.join("reserve");
    if disk.open(&name).and_then(|file| file.length()).is_ok_and(|length| length == RESERVE_BYTES) {
        return;
    }
    let _ = disk.write(&name, &vec![0; RESERVE_BYTES as usize]);
}
