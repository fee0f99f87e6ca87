//! Reads the synced blocks of one stream in order, for the sender.
//!
//! Owns what happens to damage: the bytes go to `quarantine/`, what was lost is counted from the numbers around it, and
//! reading goes on at the next frame that is sound.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use logboom_wire::{Block, Header, StreamId};
use tracing::{error, info};

use super::segment::{self, Frame};
use super::{Spool, SpoolError, durable};

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
    first: u64,
    /// Its synced length.
    limit: u64,
    /// Whether it may end in a frame that was never synced.
    may_be_torn: bool,
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

    /// The stream that is read.
    pub fn stream(&self) -> StreamId {
        self.stream
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
            let Some(current) = self.current_segment() else { return Ok(None) };
            let path = current.path;
            if self.open.as_ref().is_none_or(|open| open.path != path) {
                let file = match File::open(&path) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {
                        self.spool.forget_missing(self.generation, &path);
                        continue;
                    }
                    other => other.map_err(SpoolError::io(&path, "open the segment"))?,
                };
                if current.first > self.last + 1 {
                    // The blocks between were dropped on purpose, and counted when they were.
                    self.next_record = None;
                }
                self.open = Some(Open { path: path.clone(), file, offset: segment::HEADER_BYTES as u64 });
            }
            let open = self.open.as_mut().expect("opened above");
            let from = open.offset;
            match segment::read_block(&open.file, from, current.limit).map_err(SpoolError::io(&path, "read it"))? {
                Frame::Sound { content: block, end } => {
                    open.offset = end;
                    if block.header().stream != self.stream {
                        self.set_aside(&path, from, end, "a block of another stream");
                    } else if self.pass(block.header()) {
                        return Ok(Some(block));
                    }
                }
                Frame::Damaged { end, header, error } => {
                    open.offset = end;
                    if header.is_none() && end == current.limit && current.may_be_torn {
                        self.spool.counters.frames_torn.add(1);
                        info!(path = %path.display(), offset = from, bytes = end - from,
                            "the last frame was never synced, so never acknowledged; passed over");
                    } else {
                        self.set_aside(&path, from, end, &error.to_string());
                    }
                    if let Some(header) = header
                        && self.pass_lost(&header)
                    {
                        self.spool.counters.records_quarantined.add(header.records());
                    }
                    if end >= current.limit {
                        self.spool.settle(self.generation, &path, self.last)?;
                    }
                }
                Frame::End => return Ok(None),
            }
        }
    }

    /// Notes that a sound block came by; whether it is new. What is missing before it is counted here, where both
    /// neighbours are known, so that the count is exact.
    fn pass(&mut self, header: &Header) -> bool {
        if header.number < self.last {
            return false;
        }
        let new = header.number > self.last;
        if let Some(expected) = self.next_record.filter(|_| new) {
            self.spool.counters.records_quarantined.add(header.first_record.saturating_sub(expected));
        }
        self.last = header.number;
        self.next_record = Some(header.first_record + header.records());
        new
    }

    /// Notes that a block is lost whose header is sound. It counts as read: nothing more will come of it.
    fn pass_lost(&mut self, header: &Header) -> bool {
        let last = self.last;
        let new = self.pass(header);
        self.last = last;
        new
    }

    fn current_segment(&self) -> Option<Current> {
        let index = self.spool.lock();
        let stream = index.streams.get(&self.generation)?;
        let at_end = |segment: &super::Segment| {
            self.open.as_ref().is_some_and(|open| open.path == segment.path && open.offset >= segment.bytes)
        };
        let at = stream.segments.iter().position(|segment| segment.last > self.last && !at_end(segment))?;
        let segment = &stream.segments[at];
        Some(Current {
            path: segment.path.clone(),
            first: segment.first,
            limit: segment.bytes,
            may_be_torn: stream.sealed && at + 1 == stream.segments.len(),
        })
    }

    fn set_aside(&self, path: &Path, from: u64, end: u64, reason: &str) {
        self.spool.counters.frames_quarantined.add(1);
        let folder = self.spool.path.join("quarantine");
        let copy = || -> io::Result<PathBuf> {
            durable::create_dir(&folder)?;
            let stem = path.file_stem().unwrap_or_default().to_string_lossy();
            let name = folder.join(format!("{}-{stem}-{from}.bad", self.stream));
            let mut bytes = vec![0; (end - from) as usize];
            File::open(path)?.read_exact_at(&mut bytes, from)?;
            fs::write(&name, bytes)?;
            Ok(name)
        };
        let (path, bytes) = (path.display(), end - from);
        match copy() {
            Ok(name) => {
                error!(%path, offset = from, bytes, reason, quarantine = %name.display(), "damaged bytes set aside");
            }
            Err(error) => {
                error!(%path, offset = from, bytes, reason, %error, "damaged bytes passed over; cannot copy them");
            }
        }
    }
}
