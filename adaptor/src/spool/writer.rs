//! Writes the live stream: takes what the intake holds, encodes it into blocks, appends, syncs, and only then says so.
//!
//! Owns the order of these steps and what happens when one fails:
//!
//! 1. encode, append to the segment — nobody knows of it yet;
//! 2. `fdatasync` — now the block is durable;
//! 3. publish to the index — the sender may read it; the segment's length there is the synced one;
//! 4. release the receipts — producers are answered.
//!
//! A sync covers one block. Of several a power cut may keep a later one and not an earlier one, and a start could not tell
//! that from damage: positions in the later one would speak for lines that are gone, and its mark for a block that another
//! copy of the spool still has.
//!
//! A failed write or sync is final for its segment: it is cut back to what was synced and left, and the same blocks go
//! under the same numbers to a new one. A failed sync is never tried again on the same file: the kernel may have
//! dropped the dirty pages and would answer that all is well.
//!
//! When the spool is full, blocks of the lane that may be refused are given up here, before anything of them was
//! written: at once if `when_full = "drop_newest"`, else after [`REFUSE_AFTER`]. Those behind them take their numbers.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use logboom_config::{WhenFull, crash, planted, random};
use logboom_wire::block::{BlockPlace, Encoder};
use logboom_wire::{Block, Position, StreamId};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::disk::File;
use super::positions::Positions;
use super::segment::{self, SegmentHeader};
use super::{RESERVE_BYTES, Segment, Spool, SpoolError, Stream, durable};
use crate::intake::{Intake, Lane, Pending, Refusing, Settled, Ticket};

const RETRY: Duration = Duration::from_millis(200);
/// So long a full spool makes those wait who can be refused; then they are, and may come again.
const REFUSE_AFTER: Duration = Duration::from_secs(1);

/// The writer of one stream. Blocking: it has a thread of its own.
pub struct Writer {
    spool: Arc<Spool>,
    host: String,
    header: SegmentHeader,
    number: u64,
    record: u64,
    encoder: Encoder,
    current: Option<Current>,
    attempt: u32,
    warned: Option<Instant>,
    /// While producers are refused: how much room a refused block needed.
    refusing: Option<u64>,
    /// When set, the writer does not wait for room any longer.
    give_up: CancellationToken,
}

struct Current {
    file: File,
    path: PathBuf,
    /// Synced length.
    synced: u64,
}

impl Encoded {
    fn may_be_refused(&self) -> bool {
        self.ticket.lane() == Lane::Refusable
    }
}

/// Told to give up while waiting for room: what is not written was never acknowledged.
struct GaveUp;

/// A block, and what is to be settled once it is on disk.
struct Encoded {
    block: Block,
    raw_bytes: usize,
    ticket: Arc<Ticket>,
}

/// Also when the writer panics, nobody may go on waiting for what will never come.
struct EndOnDrop<'a>(&'a Intake);

impl Drop for EndOnDrop<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl Writer {
    /// Opens a new stream in `spool`. `give_up` ends the wait for room in a full spool.
    pub fn open(spool: Arc<Spool>, host: &str, give_up: CancellationToken) -> Self {
        let mut index = spool.lock();
        let newest = index.streams.keys().next_back().copied().unwrap_or(0).max(index.folded.generation_max());
        let header = SegmentHeader {
            stream: match planted::bug("reuse_stream_id") {
                true => StreamId::from_bytes([host.bytes().fold(0, |sum: u8, byte| sum.wrapping_mul(31) ^ byte); 16]),
                false => StreamId::from_bytes(random::identity()),
            },
            generation: newest + 1,
            opened_ms: spool.disk.date().as_millis() as u64,
        };
        let stream = Stream {
            id: header.stream,
            opened_ms: header.opened_ms,
            mark: 0,
            published: 0,
            accounted: 0,
            sealed: false,
            writing: false,
            segments: VecDeque::new(),
        };
        index.streams.insert(header.generation, stream);
        drop(index);
        spool.signal_change();
        Self {
            spool,
            host: host.to_owned(),
            header,
            number: 1,
            record: 0,
            encoder: Encoder::default(),
            current: None,
            attempt: 0,
            warned: None,
            refusing: None,
            give_up,
        }
    }

    /// The stream that is written.
    pub fn stream(&self) -> StreamId {
        self.header.stream
    }

    /// Writes what `intake` takes in until it is closed and empty. Returns the count of records that could not be
    /// written because the writer was told to give up: none of them was acknowledged, and nothing after them is
    /// written either, for its positions would be beyond what is missing.
    pub fn run(self, intake: &Intake) -> u64 {
        self.write(intake).now_or_never().expect("waiting blocks this thread")
    }

    /// As [`Writer::run`], which it is; for a simulation, which has no threads.
    pub async fn write(mut self, intake: &Intake) -> u64 {
        let _end = EndOnDrop(intake);
        intake.set_drops_newest(self.spool.settings.when_full == WhenFull::DropNewest);
        let mut abandoned = 0;
        while let Some(taken) = intake.taken(self.spool.settings.linger, self.refusing.map(|_| RETRY)).await {
            if let Some(need) = self.refusing
                && taken.blocks.is_empty()
                && self.has_room_for(need)
            {
                self.refuse_nobody(intake);
            }
            let mut blocks = self.encode(taken.blocks);
            if let Err(GaveUp) = self.persist(&mut blocks, intake).await {
                abandoned = blocks.iter().map(|encoded| encoded.block.header().records()).sum();
                intake.close();
                while let Some(taken) = intake.taken(Duration::ZERO, None).await {
                    abandoned += taken.blocks.iter().map(Pending::records).sum::<u64>();
                }
                break;
            }
        }
        self.seal();
        abandoned
    }

    fn encode(&mut self, pending: Vec<Pending>) -> VecDeque<Encoded> {
        let mut blocks = VecDeque::with_capacity(pending.len());
        for pending in pending {
            let raw_bytes = pending.raw_bytes();
            let positions = pending.positions.into_iter().map(|(key, value)| Position { key, value }).collect();
            let place = BlockPlace {
                stream: self.header.stream,
                number: self.number,
                first_record: self.record,
                host: &self.host,
            };
            // Sources bound their texts and the intake bounds a block, so this cannot fail; were it to, the records
            // must not be answered with OK.
            let block = self.encoder.encode(place, pending.runs, positions);
            let block = block.unwrap_or_else(|error| panic!("a block that cannot be encoded: {error}"));
            self.number += 1;
            self.record += block.header().records();
            blocks.push_back(Encoded { block, raw_bytes, ticket: pending.ticket });
        }
        blocks
    }

    /// Syncs, publishes and acknowledges `blocks`, however long that takes; what is done is taken off them.
    async fn persist(&mut self, blocks: &mut VecDeque<Encoded>, intake: &Intake) -> Result<(), GaveUp> {
        while self.wait_for_room(blocks, intake).await? {
            if planted::bug("acknowledge_unwritten_tail") && intake.is_closed() {
                blocks.drain(..).for_each(|tail| intake.settle(&tail.ticket, tail.raw_bytes, Settled::Durable));
                continue;
            }
            match self.append(&blocks[0].block).await {
                Ok(()) => {
                    self.spool.signal_change();
                    let done = blocks.pop_front().expect("it was just written");
                    intake.settle(&done.ticket, done.raw_bytes, Settled::Durable);
                }
                Err(error) => {
                    error!(%error, "cannot write to the spool; nothing is acknowledged until it works again");
                    self.abandon_segment();
                    if matches!(&error, SpoolError::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull) {
                        self.make_room();
                    }
                    if self.give_up.is_cancelled() {
                        return Err(GaveUp);
                    }
                    self.spool.wait_freed(RETRY).await;
                }
            }
        }
        Ok(())
    }

    /// Waits until the spool has room for the first of `blocks`, as `when_full` says. `false` when no block is left, since
    /// those that may be were refused.
    async fn wait_for_room(&mut self, blocks: &mut VecDeque<Encoded>, intake: &Intake) -> Result<bool, GaveUp> {
        let since = Instant::now();
        loop {
            let Some(first) = blocks.front() else { return Ok(false) };
            let need = first.block.bytes().len() as u64;
            if self.has_room_for(need) {
                self.refuse_nobody(intake);
                return Ok(true);
            }
            // What is being written can be trimmed only once it is closed.
            self.roll();
            if self.make_room() {
                continue;
            }
            if self.give_up.is_cancelled() {
                return Err(GaveUp);
            }
            if self.warned.is_none_or(|at| at.elapsed() > Duration::from_secs(60)) {
                self.warned = Some(Instant::now());
                let (used, limit) = (self.spool.bytes(), self.spool.settings.max_size);
                warn!(used, limit, "the spool is full; waiting for the collector");
            }
            let drops = self.spool.settings.when_full == WhenFull::DropNewest;
            if drops || self.refusing.is_some() || since.elapsed() >= REFUSE_AFTER {
                self.refuse(blocks, need, if drops { Refusing::All } else { Refusing::Asked }, intake);
                if blocks.is_empty() {
                    return Ok(false);
                }
            }
            self.spool.wait_freed(RETRY).await;
        }
    }

    /// Whether the spool has room for a block of `need` bytes.
    fn has_room_for(&self, need: u64) -> bool {
        // A new segment may have to be opened for it.
        let limit = self.spool.settings.max_size.saturating_sub(RESERVE_BYTES + segment::HEADER_BYTES as u64);
        let used = self.spool.bytes();
        // A block larger than the whole spool is let through alone rather than never.
        used + need <= limit || used <= segment::HEADER_BYTES as u64
    }

    /// Refuses what may be refused, here and in the intake, until there is room for `need` bytes. Nothing of it was ever
    /// written, so its numbers are free: a block whose write failed had room then, and nobody but this writer takes room.
    fn refuse(&mut self, blocks: &mut VecDeque<Encoded>, need: u64, refusing: Refusing, intake: &Intake) {
        // First the door is closed, so that nothing slips in behind those that are sent away.
        intake.set_refusing(refusing);
        self.refusing = Some(self.refusing.map_or(need, |known| known.min(need)));
        let spool = self.spool.clone();
        let count = |records| spool.counters.records_refused_full.add(records);
        intake.refuse_pending(count);
        if !blocks.iter().any(Encoded::may_be_refused) {
            return;
        }
        (self.number, self.record) = (blocks[0].block.header().number, blocks[0].block.header().first_record);
        for mut encoded in std::mem::take(blocks) {
            if encoded.may_be_refused() {
                count(encoded.block.header().records());
                intake.settle(&encoded.ticket, encoded.raw_bytes, Settled::Refused);
                continue;
            }
            if encoded.block.header().number != self.number {
                encoded.block = encoded.block.renumbered(self.number, self.record);
            }
            self.number += 1;
            self.record += encoded.block.header().records();
            blocks.push_back(encoded);
        }
    }

    fn refuse_nobody(&mut self, intake: &Intake) {
        if self.refusing.take().is_some() {
            intake.set_refusing(Refusing::Nobody);
        }
    }

    /// Does what `when_full` says; whether that has freed anything.
    fn make_room(&self) -> bool {
        if self.spool.settings.when_full != WhenFull::DropOldest {
            return false;
        }
        match self.spool.drop_oldest() {
            Ok(Some(records)) => {
                warn!(records, "the spool is full; dropped its oldest segment, as when_full says");
                return true;
            }
            Ok(None) => {}
            Err(error) => error!(%error, "the spool is full and its oldest segment cannot be dropped"),
        }
        false
    }

    /// Appends a block, syncs it, and publishes it.
    async fn append(&mut self, block: &Block) -> Result<(), SpoolError> {
        if self.current.as_ref().is_some_and(|current| current.synced >= self.spool.settings.segment_size) {
            self.roll();
        }
        if self.is_missing() {
            self.abandon_segment();
        }
        let current = match &mut self.current {
            Some(current) => current,
            None => {
                let opened = open_segment(&self.spool, self.header, block.header().number, self.attempt)?;
                self.current.insert(opened)
            }
        };
        let start = current.synced;
        crash::point("spool.write.before");
        current.file.write_all_at(block.bytes(), start).map_err(SpoolError::io(&current.path, "write"))?;
        crash::point("spool.write.after");
        if planted::bug("publish_before_sync") {
            self.publish(block, start);
            self.spool.signal_change();
        }
        self.spool.disk.step().await;
        crash::point("spool.sync.before");
        let current = self.current.as_mut().expect("just written");
        if let Err(source) = durable::sync(&current.file) {
            self.spool.counters.syncs_failed.add(1);
            return Err(SpoolError::Io { path: current.path.clone(), what: "sync", source });
        }
        crash::point("spool.sync.after");
        self.spool.disk.step().await;
        // A deleted file takes writes and syncs like any other, but nobody will find it again.
        if current.file.is_deleted().map_err(SpoolError::io(&current.path, "look at it"))? {
            return Err(SpoolError::io(&current.path, "write")(io::Error::other("somebody has deleted it")));
        }
        current.synced = start + block.bytes().len() as u64;
        if !planted::bug("publish_before_sync") {
            self.publish(block, start);
        }
        self.attempt = 0;
        Ok(())
    }

    /// Whether a reader found that the segment that is being written is gone.
    fn is_missing(&self) -> bool {
        let Some(current) = &self.current else { return false };
        let index = self.spool.lock();
        let newest = index.streams.get(&self.header.generation).and_then(|stream| stream.segments.back());
        current.synced > segment::HEADER_BYTES as u64 && newest.is_none_or(|segment| segment.path != current.path)
    }

    /// Lets readers know of a block that begins at offset `start` of the segment.
    fn publish(&mut self, block: &Block, start: u64) {
        let current = self.current.as_ref().expect("just written");
        let mut index = self.spool.lock();
        let stream = index.streams.get_mut(&self.header.generation).expect("a stream that is written stays");
        let header = block.header();
        if stream.segments.back().is_none_or(|segment| segment.path != current.path) {
            stream.segments.push_back(Segment {
                path: current.path.clone(),
                first: header.number,
                last: header.number - 1,
                records: 0,
                end_record: 0,
                bytes: 0,
                set_aside: 0,
                positions: Positions::default(),
            });
        }
        let segment = stream.segments.back_mut().expect("pushed above");
        assert!(header.number > segment.last, "block numbers grow");
        segment.last = header.number;
        segment.records += header.records();
        segment.end_record = header.first_record + header.records();
        for position in &header.positions {
            segment.positions.set((self.header.generation, header.number), &position.key, &position.value);
        }
        stream.published = header.number;
        stream.writing = true;
        let end = start + block.bytes().len() as u64;
        let before = std::mem::replace(&mut segment.bytes, end);
        debug_assert!(before == 0 || before == start);
        index.bytes += end - before;
    }

    /// Ends the segment that is being written; the next block opens another.
    fn roll(&mut self) {
        if self.current.take().is_none() {
            return;
        }
        let mut index = self.spool.lock();
        if let Some(stream) = index.streams.get_mut(&self.header.generation) {
            stream.writing = false;
        }
        if let Err(error) = self.spool.delete_committed(&mut index, [self.header.generation]) {
            warn!(%error, "cannot delete committed segments; trying again later");
        }
    }

    /// Leaves a segment after a failure, cut back to what was synced, so that its unsynced tail confuses nobody.
    fn abandon_segment(&mut self) {
        self.attempt += 1;
        if let Some(current) = &self.current {
            let _ = current.file.set_len(current.synced);
            if current.synced <= segment::HEADER_BYTES as u64 {
                let _ = durable::delete(&self.spool.disk, &current.path);
            }
        }
        self.roll();
    }

    fn seal(mut self) {
        self.roll();
        let mut index = self.spool.lock();
        if let Some(stream) = index.streams.get_mut(&self.header.generation) {
            stream.sealed = true;
        }
        if let Err(error) = self.spool.delete_committed(&mut index, [self.header.generation]) {
            warn!(%error, "cannot delete committed segments; the next start will");
        }
        drop(index);
        self.spool.signal_change();
    }
}

/// Creates the segment that begins with block `first`; its header is written, not yet synced (the first sync of blocks
/// does that).
fn open_segment(spool: &Spool, header: SegmentHeader, first: u64, attempt: u32) -> Result<Current, SpoolError> {
    let folder = spool.path.join(header.stream.to_string());
    durable::create_dir(&spool.disk, &folder).map_err(SpoolError::io(&folder, "create the folder"))?;
    let path = folder.join(segment::file_name(first, attempt));
    let file = durable::create(&spool.disk, &path).map_err(SpoolError::io(&path, "create the segment"));
    let written = file.and_then(|file| {
        file.write_all_at(&header.to_bytes(), 0).map_err(SpoolError::io(&path, "write its header"))?;
        Ok(file)
    });
    if written.is_err() {
        // On a full disk this is tried again and again, under a new name each time.
        let _ = durable::delete(&spool.disk, &path);
    }
    let file = written?;
    crash::point("spool.segment.created");
    Ok(Current { file, path, synced: segment::HEADER_BYTES as u64 })
}
