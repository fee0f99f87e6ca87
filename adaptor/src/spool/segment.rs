//! A segment: one append-only file of a stream's blocks.
//!
//! Owns the segment's name, its header, and the reading of frames one after the other, sound or damaged. A frame is a
//! block, byte for byte; there is nothing between frames.
//!
//! | bytes | what |
//! |---|---|
//! | 4 | `LSEG` |
//! | 1 | format version, 1 |
//! | 3 | zero |
//! | 16 | stream id, big-endian |
//! | 8 | generation of the stream: 1 more than that of any stream in the spool when it was opened; little-endian |
//! | 8 | when the stream was opened, ms since 1970; little-endian |
//! | 4 | CRC32C of the 40 bytes before; little-endian |
//! | … | blocks |

use std::io;

use bytes::Bytes;
use logboom_wire::block::{MAGIC, PREFIX_BYTES, Prefix};
use logboom_wire::{Block, BlockError, Header, StreamId};

use super::disk::File;

/// Bytes of a segment's header.
pub const HEADER_BYTES: usize = 44;
const SEGMENT_MAGIC: [u8; 4] = *b"LSEG";
const SEGMENT_VERSION: u8 = 1;
/// How much is read at once in the search for the next sound frame, at first and at the most: where much is damaged, the
/// next one is mostly near.
const SEARCH_BYTES: std::ops::RangeInclusive<usize> = (32 << 10)..=(1 << 20);

/// What a segment says of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The stream.
    pub stream: StreamId,
    /// Orders the streams of a spool, whatever the clock says.
    pub generation: u64,
    /// When the stream was opened, ms since 1970.
    pub opened_ms: u64,
}

impl SegmentHeader {
    /// The bytes at the front of the file.
    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&SEGMENT_MAGIC);
        bytes[4] = SEGMENT_VERSION;
        bytes[8..24].copy_from_slice(&self.stream.to_bytes());
        bytes[24..32].copy_from_slice(&self.generation.to_le_bytes());
        bytes[32..40].copy_from_slice(&self.opened_ms.to_le_bytes());
        let crc = crc32c::crc32c(&bytes[..40]);
        bytes[40..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    /// Reads the front of a file; `None` if it is not a sound header of a version that this build knows.
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let word = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
        let crc = u32::from_le_bytes(bytes[40..].try_into().expect("four bytes"));
        let sound = bytes[..4] == SEGMENT_MAGIC && bytes[4] == SEGMENT_VERSION && crc == crc32c::crc32c(&bytes[..40]);
        sound.then(|| Self {
            stream: StreamId::from_bytes(bytes[8..24].try_into().expect("sixteen bytes")),
            generation: word(24),
            opened_ms: word(32),
        })
    }

    /// Reads the front of a file in which one bit may have flipped: the checksum tells which. Without it the blocks behind
    /// it could not be placed among those of other streams, and would be lost although they are sound.
    pub fn mend(mut bytes: [u8; HEADER_BYTES]) -> Option<Self> {
        (0..8 * HEADER_BYTES).find_map(|bit| {
            bytes[bit / 8] ^= 1 << (bit % 8);
            let mended = Self::parse(&bytes);
            bytes[bit / 8] ^= 1 << (bit % 8);
            mended
        })
    }
}

/// Name of the segment that begins with block `first`; `attempt` tells segments apart that began with the same block
/// because a sync failed.
pub fn file_name(first: u64, attempt: u32) -> String {
    match attempt {
        0 => format!("{first:020}.seg"),
        _ => format!("{first:020}-{attempt}.seg"),
    }
}

/// The inverse of [`file_name`].
pub fn parse_file_name(name: &str) -> Option<(u64, u32)> {
    let stem = name.strip_suffix(".seg")?;
    let (first, attempt) = stem.split_once('-').unwrap_or((stem, "0"));
    let parsed = (first.parse().ok()?, attempt.parse().ok()?);
    (file_name(parsed.0, parsed.1) == name).then_some(parsed)
}

/// One step through a segment.
#[derive(Debug)]
pub enum Frame<T> {
    /// A sound frame; the next begins at `end`.
    Sound {
        /// What was asked for: the header, or the whole block.
        content: T,
        /// Offset after it.
        end: u64,
    },
    /// Bytes that are no frame, up to the next one that is sound or to the limit.
    Damaged {
        /// Offset of the next sound frame.
        end: u64,
        /// The header, where that at least is sound.
        header: Option<Header>,
        /// What is wrong with the first of them.
        error: BlockError,
    },
    /// Nothing more before the limit.
    End,
}

/// Reads the header of the frame at `offset` of a segment that is good for `limit` bytes. The payload is not read.
pub fn read_header(file: &File, offset: u64, limit: u64) -> io::Result<Frame<Header>> {
    if offset >= limit {
        return Ok(Frame::End);
    }
    match frame_header(file, offset, limit)? {
        Ok((prefix, header, _)) => Ok(Frame::Sound { content: header, end: offset + prefix.block_bytes() as u64 }),
        Err(error) => Ok(Frame::Damaged { end: next_sound(file, offset + 1, limit)?, header: None, error }),
    }
}

/// Reads the block at `offset` of a segment that is good for `limit` bytes, and checks all of it.
pub fn read_block(file: &File, offset: u64, limit: u64) -> io::Result<Frame<Block>> {
    if offset >= limit {
        return Ok(Frame::End);
    }
    // Somebody may have cut it.
    let held = file.length()?.min(limit);
    let (prefix, header, mut bytes) = match frame_header(file, offset, held)? {
        Ok(found) => found,
        Err(error) => {
            let end = Some(next_sound(file, offset + 1, held)?).filter(|end| *end < held).unwrap_or(limit);
            return Ok(Frame::Damaged { end, header: None, error });
        }
    };
    let have = bytes.len();
    bytes.resize(prefix.block_bytes(), 0);
    file.read_exact_at(&mut bytes[have..], offset + have as u64)?;
    let end = offset + prefix.block_bytes() as u64;
    match Block::parse(Bytes::from(bytes)) {
        Ok(content) => Ok(Frame::Sound { content, end }),
        Err(error) => Ok(Frame::Damaged { end, header: Some(header), error }),
    }
}

type FoundHeader = Result<(Prefix, Header, Vec<u8>), BlockError>;

/// Prefix and header at `offset`, with the bytes read for them; the whole frame lies below `limit`.
fn frame_header(file: &File, offset: u64, limit: u64) -> io::Result<FoundHeader> {
    let left = usize::try_from(limit.saturating_sub(offset)).unwrap_or(usize::MAX);
    // Most headers fit into the first read.
    let mut bytes = vec![0; left.min(1024)];
    file.read_exact_at(&mut bytes, offset)?;
    let prefix = match Prefix::parse(&bytes) {
        Ok(prefix) => prefix,
        Err(error) => return Ok(Err(error)),
    };
    if prefix.block_bytes() > left {
        return Ok(Err(BlockError::Truncated { have: left, need: prefix.block_bytes() }));
    }
    let need = PREFIX_BYTES + prefix.header_bytes();
    let have = bytes.len().min(need);
    bytes.resize(need, 0);
    file.read_exact_at(&mut bytes[have..], offset + have as u64)?;
    Ok(prefix.header(&bytes).map(|header| (prefix, header, bytes)))
}

/// Offset of the next frame at or after `from` whose header is sound, or `limit`.
fn next_sound(file: &File, mut from: u64, limit: u64) -> io::Result<u64> {
    let mut length = *SEARCH_BYTES.start();
    while from + PREFIX_BYTES as u64 <= limit {
        let mut bytes = vec![0; length.min((limit - from) as usize)];
        length = (2 * length).min(*SEARCH_BYTES.end());
        file.read_exact_at(&mut bytes, from)?;
        for found in memchr::memmem::find_iter(&bytes, &MAGIC) {
            let offset = from + found as u64;
            if limit - offset >= PREFIX_BYTES as u64 && frame_header(file, offset, limit)?.is_ok() {
                return Ok(offset);
            }
        }
        // The magic may lie across the border.
        from += (bytes.len() - (MAGIC.len() - 1)) as u64;
    }
    Ok(limit)
}
