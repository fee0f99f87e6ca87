//! Reads the synced blocks of one stream in order, for the sender.
//!
//! Owns what happens to damage: the bytes go to `quarantine/`, what was lost is counted from the numbers around it, and
//! reading goes on at the next frame that is sound.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use logboom_wire::{Block, Header, StreamId};
use tracing::error;

use super::disk::File;
use super::segment::{self, Frame};
use super::{Spool, SpoolError, quarantine};

/// A place in a stream. Blocking: call it where waiting for a disk is allowed.
pub struct Reader {
    spool: Arc<Spool>,
    generation: u64,
    stream: StreamId,
    /// Number of the last block returned or passed.
    last: u64,
    /// Sequence number that the next block begins with, if nothing is missing.
    next_record: Option<u64>,
    open: Option<Open>,
}

/// The segment that holds the next block.
struct Current {
    path: PathBuf,
    /// Its synced length.
    limit: u64,
}

struct Open {
    path: PathBuf,
    file: File,
    offset: u64,
}

impl Reader {
    /// Reads stream `generation` from the block after `after`.
    pub fn new(spool: Arc<Spool>, generation: u64, stream: StreamId, after: u64) -> Self {
        let next_record = (after == 0).then_some(0);
        Self { spool, generation, stream, last: after, next_record, open: None }
    }

    /// The next synced blocks: at least one if there is one, then more up to about `bytes_max` bytes.
    ///
    /// # Errors
    /// [`SpoolError`] when a segment cannot be read; the place stays, so that it can be tried again.
    pub fn read(&mut self, bytes_max: usize) -> Result<Vec<Block>, SpoolError> {
        let mut blocks = Vec::new();
        let mut bytes = 0;
        while bytes < bytes_max {
            let Some(block) = self.next()? else { break };
            bytes += block.bytes().len();
            blocks.push(block);
        }
        Ok(blocks)
    }

    fn next(&mut self) -> Result<Option<Block>, SpoolError> {
        loop {
            let Some(Current { path, limit }) = self.current_segment() else { return Ok(None) };
            if self.open.as_ref().is_none_or(|open| open.path != path) {
                let file = match self.spool.disk.open(&path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        self.spool.forget_missing(self.generation, &path, self.next_record)?;
                        continue;
                    }
                    other => other.map_err(SpoolError::io(&path, "open the segment"))?,
                };
                self.open = Some(Open { path: path.clone(), file, offset: segment::HEADER_BYTES as u64 });
            }
            let open = self.open.as_mut().expect("opened above");
            let from = open.offset;
            let frame = segment::read_block(&open.file, from, limit).map_err(SpoolError::io(&path, "read it"))?;
            match frame {
                Frame::Sound { content: block, end } => {
                    open.offset = end;
                    if block.header().stream != self.stream {
                        self.set_aside(from, end, "a block of another stream");
                    } else if self.pass(block.header()) {
                        return Ok(Some(block));
                    }
                }
                Frame::Damaged { end, header, error } => {
                    open.offset = end;
                    self.set_aside(from, end, &error.to_string());
                    if let Some(header) = header.filter(|header| header.stream == self.stream) {
                        self.pass_lost(&header);
                    }
                }
                Frame::End => return Ok(None),
            }
            if self.open.as_ref().is_some_and(|open| open.offset >= limit) {
                self.spool.settle(self.generation, &path, limit, self.last, self.next_record)?;
            }
        }
    }

    /// Notes that a sound block came by; whether it is new. What is missing before it is counted here, where both
    /// neighbours are known, so that the count is exact.
    fn pass(&mut self, header: &Header) -> bool {
        // A second copy of a block whose first one is damaged: it was reported lost, and that is to stay true.
        let is_lost = header.number > self.last && self.next_record.is_some_and(|next| header.first_record < next);
        if header.number < self.last || is_lost {
            return false;
        }
        let new = header.number > self.last;
        if let Some(expected) = self.next_record.filter(|_| new) {
            self.spool.count_lost(self.generation, expected, header.first_record);
        }
        self.last = header.number;
        self.next_record = Some(header.first_record + header.records());
        new
    }

    /// Notes that a block is lost whose header is sound, and what is missing before it.
    fn pass_lost(&mut self, header: &Header) {
        let end = header.first_record + header.records();
        if header.number > self.last {
            self.spool.count_lost(self.generation, self.next_record.unwrap_or(header.first_record), end);
        }
        if header.number >= self.last {
            self.next_record = Some(end);
        }
    }

    fn current_segment(&self) -> Option<Current> {
        let index = self.spool.lock();
        let stream = index.streams.get(&self.generation)?;
        let at_end = |segment: &super::Segment| {
            self.open.as_ref().is_some_and(|open| open.path == segment.path && open.offset >= segment.bytes)
        };
        // One without a sound block has nothing to read, even if its number is yet to come.
        let unread = |segment: &&super::Segment| !segment.is_hollow() && segment.last > self.last && !at_end(segment);
        let segment = stream.segments.iter().find(unread)?;
        Some(Current { path: segment.path.clone(), limit: segment.bytes })
    }

    /// Copies what lies in the open segment from `from` to `end` into the quarantine, unless another reader has.
    fn set_aside(&self, from: u64, end: u64, reason: &str) {
        let Open { path, file, .. } = self.open.as_ref().expect("it was just read");
        if !self.spool.is_news(self.generation, path, end) {
            return;
        }
        self.spool.counters.frames_quarantined.add(1);
        let copied = quarantine::copy(&self.spool.disk, &self.spool.path, self.stream, path, file, from, end);
        let (path, bytes) = (path.display(), end - from);
        match copied {
            Ok(name) => {
                error!(%path, offset = from, bytes, reason, quarantine = %name.display(), "damaged bytes set aside");
            }
            Err(error) => {
                error!(%path, offset = from, bytes, reason, %error, "damaged bytes passed over; cannot copy them");
            }
        }
    }
}
