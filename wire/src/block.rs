//! The block: the one unit of durability, transfer and deduplication.
//!
//! Owns the byte format, which is the same in the spool, on the wire and in a collector's memory: encoded once in the
//! adaptor, checked at each hop, decoded once at merge. What a header says is specified on [`Header`], how the bytes
//! lie is specified on [`Block`].

use std::cmp::Ordering;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_ipc::writer::StreamEncoder;
use bytes::{Buf, BufMut, Bytes};

use crate::{Rows, StreamId, decompress, payload};

/// First bytes of every block.
pub const MAGIC: [u8; 4] = *b"LBLK";
/// The format version that this build writes. It reads all up to it.
pub const VERSION: u8 = 1;
/// Bytes of the fixed part at the front of a block.
pub const PREFIX_BYTES: usize = 24;
/// Largest header that is written or read, in bytes.
pub const HEADER_BYTES_MAX: usize = 8 << 20;
/// Largest compressed payload that is written or read, in bytes.
pub const PAYLOAD_BYTES_MAX: usize = 32 << 20;
/// Largest run, uncompressed, that is written or read, in bytes.
pub const RUN_RAW_BYTES_MAX: usize = 64 << 20;
/// Largest block, in bytes.
pub const BLOCK_BYTES_MAX: usize = PREFIX_BYTES + HEADER_BYTES_MAX + PAYLOAD_BYTES_MAX;

/// zstd level of payloads: level 1 compresses logs about as fast as lz4 and twice as well.
const ZSTD_LEVEL: i32 = 1;
/// Largest short text (host, category, source, attribute key, position key), in bytes.
const TEXT_BYTES_MAX: usize = u16::MAX as usize;

/// What the records of a run have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunKey {
    /// The category.
    pub category: String,
    /// Name of the source.
    pub source: String,
    /// Attributes of every record of the run, before the record's own: the file's path, labels of the host.
    pub attributes: Vec<(String, String)>,
}

/// A run: the records of a block that share a [`RunKey`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// What the records have in common.
    pub key: Arc<RunKey>,
    /// Count of records, at least 1.
    pub rows: u32,
    /// Earliest timestamp, ns since 1970.
    pub time_min: i64,
    /// Latest timestamp, ns since 1970.
    pub time_max: i64,
    /// Bytes of the Arrow stream before compression.
    pub raw_bytes: u32,
    /// Bytes of its zstd frame in the payload.
    pub compressed_bytes: u32,
}

/// Where a source stands after a block: opaque here, written and read by the source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// What it is the position of, 1 to 65,535 bytes.
    pub key: String,
    /// The position, up to 65,535 bytes; empty when there is nothing left to remember.
    pub value: String,
}

/// Header of a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The stream it belongs to.
    pub stream: StreamId,
    /// Its number in the stream: 1, 2, 3 …
    pub number: u64,
    /// Sequence number of its first record in the stream, from 0; records count on in payload order.
    pub first_record: u64,
    /// Name of the host that took the records in.
    pub host: String,
    /// The runs in payload order, which is the order of their keys.
    pub runs: Vec<Run>,
    /// Positions of the sources after this block.
    pub positions: Vec<Position>,
}

impl Header {
    /// Count of records.
    pub fn records(&self) -> u64 {
        self.runs.iter().map(|run| u64::from(run.rows)).sum()
    }

    /// Bytes of the records before compression.
    pub fn raw_bytes(&self) -> u64 {
        self.runs.iter().map(|run| u64::from(run.raw_bytes)).sum()
    }
}

/// Why bytes are not a block. The bytes are to be treated as damaged or hostile.
#[derive(Debug, thiserror::Error)]
pub enum BlockError {
    /// The bytes end before the block does.
    #[error("it ends after {have} bytes where {need} are needed")]
    Truncated {
        /// Bytes at hand.
        have: usize,
        /// Bytes needed, as far as known.
        need: usize,
    },
    /// Another magic number.
    #[error("it does not begin with LBLK")]
    Magic,
    /// A format version that this build does not know.
    #[error("it has format version {0}, this build reads 1 to {VERSION}: use a newer Logboom")]
    Version(u8),
    /// A checksum does not match.
    #[error("the checksum of its {0} does not match")]
    Checksum(&'static str),
    /// A length or a value beyond its limit.
    #[error("its {0} is out of range")]
    Range(&'static str),
    /// The payload does not decode.
    #[error("its run {run} does not decode: {reason}")]
    Payload {
        /// Index of the run.
        run: usize,
        /// What the decoder said.
        reason: String,
    },
}

/// The fixed part at the front of a block: enough to know how long it is and whether its header is sound.
#[derive(Clone, Copy, Debug)]
pub struct Prefix {
    header_bytes: usize,
    payload_bytes: usize,
    payload_crc: u32,
    header_crc: u32,
}

impl Prefix {
    /// Reads the prefix from the first [`PREFIX_BYTES`] bytes. Nothing in it is trustworthy before
    /// [`Prefix::header`] has checked it.
    pub fn parse(bytes: &[u8]) -> Result<Self, BlockError> {
        if bytes.len() < PREFIX_BYTES {
            return Err(BlockError::Truncated { have: bytes.len(), need: PREFIX_BYTES });
        }
        let mut rest = bytes;
        if rest[..4] != MAGIC {
            return Err(BlockError::Magic);
        }
        rest.advance(4);
        let version = rest.get_u8();
        if version == 0 || version > VERSION {
            return Err(BlockError::Version(version));
        }
        rest.advance(3);
        let header_bytes = rest.get_u32_le() as usize;
        let payload_bytes = rest.get_u32_le() as usize;
        if header_bytes > HEADER_BYTES_MAX {
            return Err(BlockError::Range("header length"));
        }
        if payload_bytes > PAYLOAD_BYTES_MAX {
            return Err(BlockError::Range("payload length"));
        }
        Ok(Self { header_bytes, payload_bytes, payload_crc: rest.get_u32_le(), header_crc: rest.get_u32_le() })
    }

    /// Bytes of the header, after the prefix.
    pub fn header_bytes(&self) -> usize {
        self.header_bytes
    }

    /// Bytes of the whole block.
    pub fn block_bytes(&self) -> usize {
        PREFIX_BYTES + self.header_bytes + self.payload_bytes
    }

    /// Checks and reads the header from `bytes`, which begin with the prefix.
    pub fn header(&self, bytes: &[u8]) -> Result<Header, BlockError> {
        let need = PREFIX_BYTES + self.header_bytes;
        if bytes.len() < need {
            return Err(BlockError::Truncated { have: bytes.len(), need });
        }
        if header_crc(&bytes[..need]) != self.header_crc {
            return Err(BlockError::Checksum("header"));
        }
        let header = read_header(&bytes[PREFIX_BYTES..need])?;
        let payload: u64 = header.runs.iter().map(|run| u64::from(run.compressed_bytes)).sum();
        if payload != self.payload_bytes as u64 {
            return Err(BlockError::Range("sum of its runs"));
        }
        Ok(header)
    }
}

fn header_crc(prefix_and_header: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&prefix_and_header[..PREFIX_BYTES - 4]);
    crc32c::crc32c_append(crc, &prefix_and_header[PREFIX_BYTES..])
}

/// A block whose checksums hold, with its bytes.
///
/// All integers are little-endian; a *text* is a u16 length and as many bytes of UTF-8.
///
/// | bytes | what |
/// |---|---|
/// | 4 | `LBLK` |
/// | 1 | format version, 1 |
/// | 3 | zero |
/// | 4 | header length |
/// | 4 | payload length |
/// | 4 | CRC32C (Castagnoli) of the payload |
/// | 4 | CRC32C of the 20 bytes before this one and of the header |
/// | … | header: stream id (16 bytes, big-endian), u64 number, u64 first record, text host, u16 count of runs, the runs, u16 count of positions, the positions |
/// | … | payload: per run one zstd frame of one Arrow IPC stream with one record batch |
///
/// A run: text category, text source, u16 count of attributes, as many pairs of texts, u32 rows, i64 earliest and i64
/// latest timestamp (ns since 1970), u32 raw bytes, u32 compressed bytes. A position: text key, text value.
/// The columns of a record batch are those of [`crate::column`].
#[derive(Clone, Debug)]
pub struct Block {
    header: Arc<Header>,
    payload: Bytes,
    bytes: Bytes,
}

impl Block {
    /// Checks `bytes`, which must be one whole block and nothing more.
    pub fn parse(bytes: Bytes) -> Result<Self, BlockError> {
        let prefix = Prefix::parse(&bytes)?;
        match bytes.len().cmp(&prefix.block_bytes()) {
            Ordering::Less => {
                return Err(BlockError::Truncated { have: bytes.len(), need: prefix.block_bytes() });
            }
            Ordering::Greater => return Err(BlockError::Range("length")),
            Ordering::Equal => {}
        }
        let header = Arc::new(prefix.header(&bytes)?);
        let payload = bytes.slice(PREFIX_BYTES + prefix.header_bytes..);
        if crc32c::crc32c(&payload) != prefix.payload_crc {
            return Err(BlockError::Checksum("payload"));
        }
        Ok(Self { header, payload, bytes })
    }

    /// The header.
    pub fn header(&self) -> &Arc<Header> {
        &self.header
    }

    /// The whole block, as it was parsed.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The same records at another place of the stream, for a block that nobody has seen yet.
    pub fn renumbered(&self, number: u64, first_record: u64) -> Self {
        let header = Header { number, first_record, ..(*self.header).clone() };
        assemble(header, &self.payload).expect("it has the length of this one's")
    }

    /// Decodes run `index`. The batch has the columns of [`crate::column`] and as many rows as the header says.
    ///
    /// # Errors
    /// [`BlockError::Payload`] when the checksums hold but the content does not: the work of a faulty or hostile peer.
    pub fn decode_run(&self, index: usize) -> Result<RecordBatch, BlockError> {
        let failed = |reason: String| BlockError::Payload { run: index, reason };
        let before: usize = self.header.runs[..index].iter().map(|run| run.compressed_bytes as usize).sum();
        let run = &self.header.runs[index];
        let compressed = &self.payload[before..before + run.compressed_bytes as usize];
        let raw = decompress::exactly(compressed, run.raw_bytes as usize).map_err(failed)?;
        payload::decode(raw, run.rows as usize).map_err(failed)
    }
}

/// Encodes blocks; keeps its compressor and buffers from one to the next.
pub struct Encoder {
    compressor: zstd::bulk::Compressor<'static>,
    raw: Vec<u8>,
    payload: Vec<u8>,
}

impl Default for Encoder {
    fn default() -> Self {
        let compressor = zstd::bulk::Compressor::new(ZSTD_LEVEL).expect("level 1 exists");
        Self { compressor, raw: Vec::new(), payload: Vec::new() }
    }
}

/// What goes into a block, apart from its runs.
#[derive(Clone, Copy, Debug)]
pub struct BlockPlace<'a> {
    /// The stream.
    pub stream: StreamId,
    /// Number of the block, from 1.
    pub number: u64,
    /// Sequence number of the first record, from 0.
    pub first_record: u64,
    /// The host.
    pub host: &'a str,
}

impl Encoder {
    /// Encodes one block.
    ///
    /// # Errors
    /// [`BlockError::Range`] where a text, a count or a length is beyond what the format can say;
    /// [`BlockError::Payload`] where a text that must be UTF-8 is not. Neither happens with what our sources build.
    pub fn encode(
        &mut self,
        place: BlockPlace<'_>,
        runs: impl IntoIterator<Item = (Arc<RunKey>, Rows)>,
        positions: Vec<Position>,
    ) -> Result<Block, BlockError> {
        let mut payload_bytes = 0;
        let mut headers = Vec::new();
        for (index, (key, rows)) in runs.into_iter().enumerate() {
            let failed = |reason: String| BlockError::Payload { run: index, reason };
            let Some((time_min, time_max)) = rows.time_range() else { continue };
            let count = rows.len() as u32;
            let batch = rows.into_batch().map_err(|error| failed(error.to_string()))?;
            write_stream(&mut self.raw, &batch).map_err(|error| failed(error.to_string()))?;
            if self.raw.len() > RUN_RAW_BYTES_MAX {
                return Err(BlockError::Range("run"));
            }
            let room = payload_bytes + zstd::zstd_safe::compress_bound(self.raw.len());
            if self.payload.len() < room {
                self.payload.resize(room, 0);
            }
            let written = self
                .compressor
                .compress_to_buffer(&self.raw, &mut self.payload[payload_bytes..])
                .map_err(|error| failed(error.to_string()))?;
            payload_bytes += written;
            headers.push(Run {
                key,
                rows: count,
                time_min,
                time_max,
                raw_bytes: self.raw.len() as u32,
                compressed_bytes: written as u32,
            });
        }
        if payload_bytes > PAYLOAD_BYTES_MAX {
            return Err(BlockError::Range("payload length"));
        }
        let payload = &self.payload[..payload_bytes];
        let header = Header {
            stream: place.stream,
            number: place.number,
            first_record: place.first_record,
            host: place.host.to_owned(),
            runs: headers,
            positions,
        };
        assemble(header, payload)
    }
}

/// The block with this header and payload.
fn assemble(header: Header, payload: &[u8]) -> Result<Block, BlockError> {
    let mut bytes = vec![0; PREFIX_BYTES];
    write_header(&mut bytes, &header)?;
    let header_bytes = bytes.len() - PREFIX_BYTES;
    if header_bytes > HEADER_BYTES_MAX {
        return Err(BlockError::Range("header length"));
    }
    let mut prefix = &mut bytes[..PREFIX_BYTES - 4];
    prefix.put_slice(&MAGIC);
    prefix.put_slice(&[VERSION, 0, 0, 0]);
    prefix.put_u32_le(header_bytes as u32);
    prefix.put_u32_le(payload.len() as u32);
    prefix.put_u32_le(crc32c::crc32c(payload));
    let crc = header_crc(&bytes);
    bytes[PREFIX_BYTES - 4..PREFIX_BYTES].copy_from_slice(&crc.to_le_bytes());
    bytes.extend_from_slice(payload);
    let bytes = Bytes::from(bytes);
    Ok(Block { payload: bytes.slice(PREFIX_BYTES + header_bytes..), header: Arc::new(header), bytes })
}

/// The Arrow stream of one batch, in place of what `out` held.
fn write_stream(out: &mut Vec<u8>, batch: &RecordBatch) -> Result<(), arrow_schema::ArrowError> {
    out.clear();
    let mut encoder = StreamEncoder::try_new(batch.schema_ref())?;
    // The columns come as they lie in memory: this is the only copy of them.
    for buffer in encoder.encode(batch)?.iter().chain(&encoder.finish()?) {
        out.extend_from_slice(buffer);
    }
    Ok(())
}

fn write_header(out: &mut Vec<u8>, header: &Header) -> Result<(), BlockError> {
    out.put_slice(&header.stream.to_bytes());
    out.put_u64_le(header.number);
    out.put_u64_le(header.first_record);
    write_text(out, &header.host)?;
    write_count(out, header.runs.len(), "count of runs")?;
    for run in &header.runs {
        write_text(out, &run.key.category)?;
        write_text(out, &run.key.source)?;
        write_count(out, run.key.attributes.len(), "count of attributes")?;
        for (key, value) in &run.key.attributes {
            write_text(out, key)?;
            write_text(out, value)?;
        }
        out.put_u32_le(run.rows);
        out.put_i64_le(run.time_min);
        out.put_i64_le(run.time_max);
        out.put_u32_le(run.raw_bytes);
        out.put_u32_le(run.compressed_bytes);
    }
    write_count(out, header.positions.len(), "count of positions")?;
    for position in &header.positions {
        write_text(out, &position.key)?;
        write_text(out, &position.value)?;
    }
    Ok(())
}

fn write_count(out: &mut Vec<u8>, count: usize, what: &'static str) -> Result<(), BlockError> {
    out.put_u16_le(u16::try_from(count).map_err(|_| BlockError::Range(what))?);
    Ok(())
}

fn write_text(out: &mut Vec<u8>, text: &str) -> Result<(), BlockError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(BlockError::Range("text"));
    }
    out.put_u16_le(text.len() as u16);
    out.put_slice(text.as_bytes());
    Ok(())
}

/// Reads a header whose checksum held. Still hostile: a peer can compute checksums.
fn read_header(mut bytes: &[u8]) -> Result<Header, BlockError> {
    let from = &mut bytes;
    let mut stream = [0; 16];
    from.try_copy_to_slice(&mut stream).map_err(|_| BlockError::Range("header"))?;
    let number = read_u64(from)?;
    let first_record = read_u64(from)?;
    let host = read_text(from)?;
    let mut runs = Vec::new();
    for _ in 0..read_u16(from)? {
        runs.push(read_run(from)?);
    }
    let mut positions = Vec::new();
    for _ in 0..read_u16(from)? {
        positions.push(Position { key: read_text(from)?, value: read_text(from)? });
    }
    if !from.is_empty() {
        return Err(BlockError::Range("header length"));
    }
    if number == 0 || number > i64::MAX as u64 {
        return Err(BlockError::Range("number"));
    }
    if !runs.is_sorted_by(|a: &Run, b: &Run| a.key < b.key) {
        return Err(BlockError::Range("order of runs"));
    }
    let header = Header { stream: StreamId::from_bytes(stream), number, first_record, host, runs, positions };
    match header.first_record.checked_add(header.records()) {
        Some(end) if end <= i64::MAX as u64 => Ok(header),
        _ => Err(BlockError::Range("first record")),
    }
}

fn read_run(from: &mut &[u8]) -> Result<Run, BlockError> {
    let category = read_text(from)?;
    let source = read_text(from)?;
    let mut attributes = Vec::new();
    for _ in 0..read_u16(from)? {
        attributes.push((read_text(from)?, read_text(from)?));
    }
    let run = Run {
        key: Arc::new(RunKey { category, source, attributes }),
        rows: read_u32(from)?,
        time_min: read_u64(from)? as i64,
        time_max: read_u64(from)? as i64,
        raw_bytes: read_u32(from)?,
        compressed_bytes: read_u32(from)?,
    };
    if run.rows == 0 || run.rows as usize > RUN_RAW_BYTES_MAX / 8 {
        return Err(BlockError::Range("count of rows"));
    }
    if run.raw_bytes as usize > RUN_RAW_BYTES_MAX {
        return Err(BlockError::Range("raw length"));
    }
    if run.time_min > run.time_max {
        return Err(BlockError::Range("time range"));
    }
    Ok(run)
}

fn read_u16(from: &mut &[u8]) -> Result<u16, BlockError> {
    from.try_get_u16_le().map_err(|_| BlockError::Range("header"))
}

fn read_u32(from: &mut &[u8]) -> Result<u32, BlockError> {
    from.try_get_u32_le().map_err(|_| BlockError::Range("header"))
}

fn read_u64(from: &mut &[u8]) -> Result<u64, BlockError> {
    from.try_get_u64_le().map_err(|_| BlockError::Range("header"))
}

fn read_text(from: &mut &[u8]) -> Result<String, BlockError> {
    let length = read_u16(from)? as usize;
    if from.len() < length {
        return Err(BlockError::Range("header"));
    }
    let (text, rest) = from.split_at(length);
    *from = rest;
    String::from_utf8(text.to_vec()).map_err(|_| BlockError::Range("text"))
}
