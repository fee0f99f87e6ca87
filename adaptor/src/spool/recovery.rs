//! What a start finds in the spool: streams of earlier runs, to be sent and deleted.
//!
//! Headers are read, payloads are not, but for the last block of each stream: it may never have been synced (a sync covers
//! one block), and its position must not count if its records are damaged, for the source would skip them. Memory is
//! bounded by the count of segments and positions, not by bytes.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

use logboom_config::planted;
use logboom_wire::{BlockError, Header, StreamId};
use tracing::{error, info, warn};

use super::disk::{Create, Disk, File};
use super::positions::Positions;
use super::segment::{self, Frame, SegmentHeader};
use super::{Index, Recovered, Segment, SpoolError, Stream, durable, quarantine};
use crate::counters::Counters;

/// After so many frames of a segment it is known whether they are small.
const FRAMES_KNOWN: usize = 16;
/// Frames that are smaller than this on average have a header in every few pages: it is faster to read all of them.
const SMALL_FRAME_BYTES: u64 = 16 << 10;

/// Reads the spool at `path`.
pub fn recover(disk: &Disk, path: &Path, counters: &Counters) -> Result<(Index, Recovered), SpoolError> {
    let positions_path = path.join("positions");
    let loaded = Positions::load(disk, &positions_path).map_err(SpoolError::io(&positions_path, "read it"))?;
    let folded = loaded.unwrap_or_else(|reason| {
        error!(path = %positions_path.display(), reason, "positions are damaged; files may be read again from their beginning");
        let _ = quarantine::take(disk, path, &positions_path);
        counters.frames_quarantined.add(1);
        Positions::default()
    });
    let mut resumed = disk.open(&positions_path).is_ok();
    let mut index = Index { folded, ..Index::default() };
    for folder in disk.list(path).map_err(SpoolError::io(path, "list the folder"))? {
        let Some(id) = folder.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse().ok()) else {
            continue;
        };
        resumed = true;
        recover_stream(disk, path, &folder, id, &mut index, counters)?;
    }
    sync_newest(disk, &index)?;
    let mut positions = index.folded.clone();
    for segment in index.streams.values().flat_map(|stream| &stream.segments) {
        positions.merge(&segment.positions);
    }
    index.bytes = index.streams.values().flat_map(|stream| &stream.segments).map(|segment| segment.bytes).sum();
    if !index.streams.is_empty() {
        info!(streams = index.streams.len(), bytes = index.bytes, "found blocks of earlier runs");
    }
    Ok((index, Recovered { positions: positions.values(), resumed }))
}

/// What the last run wrote may be in the cache only, and sources are about to go on after it. What earlier ones wrote is
/// on disk: the run after each has come by here before it wrote anything.
fn sync_newest(disk: &Disk, index: &Index) -> Result<(), SpoolError> {
    let Some(segment) = index.streams.values().next_back().and_then(|stream| stream.segments.back()) else {
        return Ok(());
    };
    if planted::bug("skip_recovery_sync") {
        return Ok(());
    }
    let synced = disk.open(&segment.path).and_then(|file| file.sync_data());
    synced.map_err(SpoolError::io(&segment.path, "sync it"))
}

fn recover_stream(
    disk: &Disk,
    root: &Path,
    folder: &Path,
    id: StreamId,
    index: &mut Index,
    counters: &Counters,
) -> Result<(), SpoolError> {
    let mut names = BTreeMap::new();
    for path in disk.list(folder).map_err(SpoolError::io(folder, "list the folder"))? {
        if let Some(place) = path.file_name().and_then(|name| name.to_str()).and_then(segment::parse_file_name) {
            names.insert(place, path);
        }
    }
    let mut stream: Option<(u64, Stream)> = None;
    let firsts: Vec<u64> = names.keys().map(|(first, _)| *first).collect();
    for (at, ((first, _), path)) in names.iter().enumerate() {
        let file = disk.open(path).map_err(SpoolError::io(path, "open the segment"))?;
        let length = file.length().map_err(SpoolError::io(path, "read its length"))?;
        let header = match read_segment_header(path, &file, length).map_err(SpoolError::io(path, "read its header"))? {
            Some(header) if header.stream == id => header,
            // A crash between creating a file and syncing its header: no block in it was ever synced.
            _ if length <= segment::HEADER_BYTES as u64 => {
                info!(path = %path.display(), "an empty segment; deleted");
                durable::delete(disk, path).map_err(SpoolError::io(path, "delete it"))?;
                continue;
            }
            _ => {
                error!(path = %path.display(), "a segment whose header is damaged; set aside");
                counters.frames_quarantined.add(1);
                quarantine::take(disk, root, path).map_err(SpoolError::io(path, "set it aside"))?;
                continue;
            }
        };
        let entry = stream.get_or_insert_with(|| {
            let stream = Stream {
                id,
                opened_ms: header.opened_ms,
                mark: 0,
                published: 0,
                accounted: 0,
                sealed: true,
                writing: false,
                segments: VecDeque::new(),
            };
            (header.generation, stream)
        });
        let is_last = at + 1 == names.len();
        // After a failed sync the same blocks were written again to the next segment: those count.
        let below = firsts.get(at + 1).copied().unwrap_or(u64::MAX);
        let scan =
            Scan { path, file: &file, length, stream: id, below, verify: is_last && !planted::bug("accept_torn_tail") };
        let Scanned { segment, first_record, end } =
            scan.run(*first, header.generation).map_err(SpoolError::io(path, "read it"))?;
        let mut deletable = segment.is_hollow();
        match end {
            End::Sound => {}
            End::Superseded => {
                // Once the next segment is gone, nothing would tell that they do not count.
                let cut = || {
                    let file = disk.create(path, Create::Never)?;
                    file.set_len(segment.bytes)?;
                    file.sync_all()
                };
                cut().map_err(SpoolError::io(path, "cut off what was written again elsewhere"))?;
            }
            End::Damaged(_) if is_last || below == segment.last + 1 => {
                info!(path = %path.display(), offset = segment.bytes, bytes = length - segment.bytes,
                    "the last frame was never synced, so never acknowledged; passed over");
                counters.frames_torn.add(1);
            }
            End::Damaged(reason) => {
                counters.frames_quarantined.add(1);
                let copied = quarantine::copy(disk, root, id, path, &file, segment.bytes, length);
                error!(path = %path.display(), offset = segment.bytes, bytes = length - segment.bytes, %reason,
                    error = ?copied.as_ref().err(), "damaged bytes set aside");
                deletable &= copied.is_ok();
            }
        }
        if deletable {
            info!(path = %path.display(), "a segment without any block; deleted");
            durable::delete(disk, path).map_err(SpoolError::io(path, "delete it"))?;
            continue;
        }
        if entry.1.segments.is_empty() && firsts[0] > 1 {
            // What was before is committed, or was dropped and counted.
            entry.1.accounted = first_record;
        }
        entry.1.segments.push_back(segment);
    }
    // Streams whose every segment was empty hold nothing.
    let stream = stream.filter(|(_, stream)| !stream.segments.is_empty());
    match stream {
        Some((mut generation, stream)) => {
            // Two streams of one generation can only come from folders that were copied together; any order will do.
            while index.streams.contains_key(&generation) {
                generation += 1;
            }
            index.streams.insert(generation, stream);
        }
        None => durable::delete_dir(disk, folder)
            .unwrap_or_else(|error| warn!(path = %folder.display(), %error, "cannot delete an empty stream")),
    }
    Ok(())
}

fn read_segment_header(path: &Path, file: &File, length: u64) -> io::Result<Option<SegmentHeader>> {
    if length < segment::HEADER_BYTES as u64 {
        return Ok(None);
    }
    let mut bytes = [0; segment::HEADER_BYTES];
    file.read_exact_at(&mut bytes, 0)?;
    let header = SegmentHeader::parse(&bytes);
    // What has no block yet was never synced: then nothing is lost with it, and nothing to be guessed.
    if header.is_some() || length == segment::HEADER_BYTES as u64 {
        return Ok(header);
    }
    let mended = SegmentHeader::mend(bytes);
    if mended.is_some() {
        warn!(path = %path.display(), "a bit of a segment's header has flipped; the disk or the memory may be failing");
    }
    Ok(mended)
}

/// A pass over the frames of one segment.
struct Scan<'a> {
    path: &'a Path,
    file: &'a File,
    length: u64,
    stream: StreamId,
    /// Blocks from this number on lie in the next segment.
    below: u64,
    /// Check the payload of the last block too.
    verify: bool,
}

/// What a [`Scan`] finds.
struct Scanned {
    segment: Segment,
    /// Sequence number of the first record whose block has a sound header; 0 for none.
    first_record: u64,
    end: End,
}

/// What comes after the last block of a segment.
enum End {
    /// Nothing.
    Sound,
    /// Blocks that lie in the next segment too.
    Superseded,
    /// Bytes that are no frame.
    Damaged(BlockError),
}

impl Scan<'_> {
    /// What is in the segment. Damaged frames between sound ones are left to the reader, which sets them aside and
    /// counts them when it comes by: here they only mean that their positions do not count.
    fn run(&self, first: u64, generation: u64) -> io::Result<Scanned> {
        let mut segment = Segment {
            path: PathBuf::from(self.path),
            first,
            last: first - 1,
            records: 0,
            end_record: 0,
            bytes: segment::HEADER_BYTES as u64,
            set_aside: 0,
            positions: Positions::default(),
        };
        let (mut first_record, mut frames) = (None, 0);
        let end = loop {
            if frames == FRAMES_KNOWN && segment.bytes < FRAMES_KNOWN as u64 * SMALL_FRAME_BYTES {
                self.file.will_be_read(segment.bytes);
            }
            frames += 1;
            let (header, sound, end, error) = match self.step(segment.bytes)? {
                Frame::Sound { content, end } => (Some(content), true, end, None),
                Frame::Damaged { end, header, error } => (header, false, end, Some(error)),
                Frame::End => break End::Sound,
            };
            match header.filter(|header| header.stream == self.stream) {
                Some(header) if header.number >= self.below => break End::Superseded,
                Some(header) => {
                    first_record.get_or_insert(header.first_record);
                    segment.last = segment.last.max(header.number);
                    segment.records += header.records();
                    segment.end_record = segment.end_record.max(header.first_record + header.records());
                    for position in header.positions.iter().filter(|_| sound) {
                        segment.positions.set((generation, header.number), &position.key, &position.value);
                    }
                }
                None => {
                    if let Some(error) = error.filter(|_| end == self.length) {
                        break End::Damaged(error);
                    }
                }
            }
            segment.bytes = end;
        };
        Ok(Scanned { segment, first_record: first_record.unwrap_or(0), end })
    }

    fn step(&self, offset: u64) -> io::Result<Frame<Header>> {
        let frame = segment::read_header(self.file, offset, self.length)?;
        let is_last = matches!(frame, Frame::Sound { end, .. } if end == self.length);
        if !self.verify || !is_last {
            return Ok(frame);
        }
        Ok(match segment::read_block(self.file, offset, self.length)? {
            Frame::Sound { content, end } => Frame::Sound { content: Header::clone(content.header()), end },
            Frame::Damaged { end, header, error } => Frame::Damaged { end, header, error },
            Frame::End => Frame::End,
        })
    }
}
