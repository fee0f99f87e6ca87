//! Bytes from a peer that computes checksums but means no good.

#![expect(clippy::disallowed_methods, reason = "it unpacks what it has packed itself")]

use arrow_array::{Int64Array, RecordBatch, StringArray};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{IpcWriteOptions, StreamWriter};
use bytes::Bytes;
use logboom_wire::block::{PREFIX_BYTES, Prefix, RUN_RAW_BYTES_MAX};
use logboom_wire::{Block, column};
use std::sync::Arc;

use crate::records::sample;

struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % end.max(1)
    }

    /// Bit flips, cuts, splices, and integers that lengths and counts like to trip over.
    fn mutate(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..1 + self.below(4) {
            let at = self.below(bytes.len());
            match self.below(5) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                1 if self.below(4) == 0 => bytes.truncate(at),
                2 => {
                    let end = (at + self.below(16)).min(bytes.len());
                    let part = bytes[at..end].to_vec();
                    let to = self.below(bytes.len());
                    bytes.splice(to..to, part);
                }
                3 => {
                    let end = (at + self.below(8)).min(bytes.len());
                    bytes.drain(at..end);
                }
                _ => {
                    let odd = [0, 1, -1, i64::MAX, i64::MIN, 1 << 31, (1 << 32) - 1, 1 << 40, 64 << 20][self.below(9)];
                    let width = [1, 2, 4, 8][self.below(4)];
                    // Lengths are aligned in what Arrow writes.
                    let at = if self.below(2) == 0 { at } else { at / width * width };
                    for (byte, new) in bytes.iter_mut().skip(at).zip(&odd.to_le_bytes()[..width]) {
                        *byte = *new;
                    }
                }
            }
        }
    }
}

/// A block of this header and payload, with lengths and checksums that are right.
pub fn sealed(header: &[u8], payload: &[u8]) -> Bytes {
    let mut bytes = b"LBLK\x01\0\0\0".to_vec();
    bytes.extend((header.len() as u32).to_le_bytes());
    bytes.extend((payload.len() as u32).to_le_bytes());
    bytes.extend(crc32c::crc32c(payload).to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&bytes), header);
    bytes.extend(crc.to_le_bytes());
    bytes.extend(header);
    bytes.extend(payload);
    bytes.into()
}

/// A block of one run, with these columns as its header says.
pub fn with_stream(raw: &[u8], rows: u32, raw_bytes: u32) -> Bytes {
    with_compressed(&zstd::bulk::compress(raw, 1).unwrap(), rows, raw_bytes)
}

fn with_compressed(payload: &[u8], rows: u32, raw_bytes: u32) -> Bytes {
    let mut header = vec![7; 16];
    header.extend(1u64.to_le_bytes());
    header.extend(0u64.to_le_bytes());
    header.extend(b"\x01\0h\x01\0\x01\0c\x01\0s\0\0");
    header.extend(rows.to_le_bytes());
    header.extend(0i64.to_le_bytes());
    header.extend(i64::MAX.to_le_bytes());
    header.extend(raw_bytes.to_le_bytes());
    header.extend((payload.len() as u32).to_le_bytes());
    header.extend(0u16.to_le_bytes());
    sealed(&header, payload)
}

pub fn raw_streams(block: &Block) -> Vec<Vec<u8>> {
    let mut payload = &block.bytes()[PREFIX_BYTES + Prefix::parse(block.bytes()).unwrap().header_bytes()..];
    let mut streams = Vec::new();
    for run in &block.header().runs {
        let (frame, rest) = payload.split_at(run.compressed_bytes as usize);
        streams.push(zstd::bulk::decompress(frame, run.raw_bytes as usize).unwrap());
        payload = rest;
    }
    streams
}

/// Peak of the process's address space, which shows also what is allocated but never touched.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmPeak:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

fn refused(block: Bytes) -> String {
    Block::parse(block).unwrap().decode_run(0).unwrap_err().to_string()
}

fn stream_of(batch: &RecordBatch, options: IpcWriteOptions) -> Vec<u8> {
    let mut writer = StreamWriter::try_new_with_options(Vec::new(), &batch.schema(), options).unwrap();
    writer.write(batch).unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn mutated_blocks_are_refused() {
    let (block, ..) = sample();
    let mut random = Random(11);
    for _ in 0..50_000 {
        let mut bytes = block.bytes().to_vec();
        random.mutate(&mut bytes);
        if bytes != block.bytes()[..] {
            assert!(Block::parse(bytes.into()).is_err());
        }
    }
}

#[test]
fn mutated_headers_with_right_checksums_are_refused_or_make_sense() {
    let (block, ..) = sample();
    let end = PREFIX_BYTES + Prefix::parse(block.bytes()).unwrap().header_bytes();
    let (header, payload) = (&block.bytes()[PREFIX_BYTES..end], &block.bytes()[end..]);
    let mut random = Random(12);
    let mut parsed = 0;
    for _ in 0..50_000 {
        let mut hostile = header.to_vec();
        random.mutate(&mut hostile);
        let Ok(block) = Block::parse(sealed(&hostile, payload)) else { continue };
        parsed += 1;
        assert!(block.header().number > 0);
        assert!(block.header().first_record.checked_add(block.header().records()).is_some());
        for (index, run) in block.header().runs.iter().enumerate() {
            if let Ok(batch) = block.decode_run(index) {
                assert_eq!(batch.num_rows(), run.rows as usize);
            }
        }
    }
    assert!(parsed > 1000, "only {parsed} got as far as decoding");
}

#[test]
fn mutated_arrow_streams_decode_to_an_error_or_a_sound_batch() {
    std::panic::set_hook(Box::new(|_| {}));
    let (block, ..) = sample();
    let streams = raw_streams(&block);
    let before = peak_bytes();
    let mut random = Random(13);
    let mut decoded = 0;
    for round in 0..60_000 {
        let run = &block.header().runs[round % 2];
        let mut hostile = streams[round % 2].clone();
        random.mutate(&mut hostile);
        let bytes = with_stream(&hostile, run.rows, hostile.len() as u32);
        let Ok(batch) = Block::parse(bytes).unwrap().decode_run(0) else { continue };
        decoded += 1;
        assert_eq!(batch.num_rows(), run.rows as usize);
        for values in batch.columns() {
            values.to_data().validate_full().unwrap();
        }
    }
    let _ = std::panic::take_hook();
    assert!(decoded > 1000, "only {decoded} decoded at all");
    assert!(peak_bytes() - before < 2 << 30, "the address space grew by {}", peak_bytes() - before);
}

#[test]
fn announced_counts_cost_nothing() {
    let count = [u16::MAX.to_le_bytes()].concat();
    let front = [&[7; 16][..], &1u64.to_le_bytes(), &0u64.to_le_bytes(), b"\x01\0h"].concat();
    for header in [
        [&front[..], &count].concat(),
        [&front[..], b"\x01\0\x01\0c\x01\0s", &count].concat(),
        [&front[..], b"\0\0", &count].concat(),
        [&front[..], b"\0\0\x01\0", &count].concat(),
    ] {
        assert!(Block::parse(sealed(&header, b"")).is_err());
    }
}

#[test]
fn lengths_beyond_the_caps_are_refused_from_the_prefix_alone() {
    let (block, ..) = sample();
    for at in [8, 12] {
        let mut bytes = block.bytes()[..PREFIX_BYTES].to_vec();
        bytes[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(Prefix::parse(&bytes).is_err());
    }
}

#[test]
fn runs_that_promise_too_much_are_refused() {
    assert!(Block::parse(with_stream(b"x", 1, RUN_RAW_BYTES_MAX as u32 + 1)).is_err());
    assert!(Block::parse(with_stream(b"x", 0, 1)).is_err());
    assert!(Block::parse(with_stream(b"x", u32::MAX, 1)).is_err());
}

#[test]
fn a_decompression_bomb_stops_at_what_was_announced() {
    let bomb = vec![0; 60 << 20];
    let (block, ..) = sample();
    let stream = &raw_streams(&block)[1];
    for announced in [0, 1, stream.len() as u32, RUN_RAW_BYTES_MAX as u32] {
        refused(with_stream(&bomb, 5, announced));
    }
    // Without a content size in its frame, and several frames one after the other.
    let unsized_frame = zstd::stream::encode_all(&bomb[..], 1).unwrap();
    refused(with_compressed(&unsized_frame, 5, 1000));
    let two = zstd::bulk::compress(stream, 1).unwrap().repeat(2);
    refused(with_compressed(&two, 5, stream.len() as u32));
    for announced in [stream.len() - 1, stream.len() + 1] {
        refused(with_stream(stream, 5, announced as u32));
    }
    refused(with_compressed(b"no zstd at all", 5, 100));
    refused(with_compressed(b"", 5, 100));
}

#[test]
fn a_compressed_body_is_refused_before_its_lengths_are_believed() {
    let (block, ..) = sample();
    let batch = block.decode_run(1).unwrap();
    let options = IpcWriteOptions::default().try_with_compression(Some(CompressionType::LZ4_FRAME)).unwrap();
    let plain = stream_of(&batch, IpcWriteOptions::default());
    Block::parse(with_stream(&plain, 5, plain.len() as u32)).unwrap().decode_run(0).unwrap();
    let compressed = stream_of(&batch, options);
    let reason = refused(with_stream(&compressed, 5, compressed.len() as u32));
    assert!(reason.contains("compressed"), "{reason}");
}

#[test]
fn columns_that_are_not_ours_are_refused() {
    let times = || Arc::new(Int64Array::from(vec![1])) as arrow_array::ArrayRef;
    let text = || Arc::new(StringArray::from(vec!["x"])) as arrow_array::ArrayRef;
    let body = || Arc::new(arrow_array::BinaryArray::from(vec![&b"x"[..]])) as arrow_array::ArrayRef;
    let observed = (column::OBSERVED_TIMESTAMP, times());
    let wrong = [
        vec![("surprise", text()), observed.clone(), (column::BODY, body())],
        vec![observed.clone(), (column::BODY, text())],
        vec![observed.clone()],
        vec![(column::BODY, body())],
        vec![observed.clone(), observed.clone(), (column::BODY, body())],
        vec![(column::OBSERVED_TIMESTAMP, Arc::new(Int64Array::from(vec![None])) as _), (column::BODY, body())],
    ];
    for columns in wrong {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let raw = stream_of(&batch, IpcWriteOptions::default());
        refused(with_stream(&raw, 1, raw.len() as u32));
    }
    let batch = RecordBatch::try_from_iter(vec![observed, (column::BODY, body())]).unwrap();
    let raw = stream_of(&batch, IpcWriteOptions::default());
    Block::parse(with_stream(&raw, 1, raw.len() as u32)).unwrap().decode_run(0).unwrap();
    refused(with_stream(&raw, 2, raw.len() as u32));
}
