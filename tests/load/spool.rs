//! Spools of any size, made in about the time that it takes to write them: blocks come from the encoder, and each is the
//! one before it under the next number.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use logboom_wire::block::{BlockPlace, Encoder};
use logboom_wire::{Block, Position, Rows, RunKey, StreamId};
use rustix::fs::Advice;

use crate::oracle::Record;

/// What a spool is to be like.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Bytes of all segments together, about.
    pub bytes: u64,
    pub streams: u64,
    pub segment_bytes: u64,
    /// Records of a block, of about 200 bytes each.
    pub block_records: u64,
}

/// What was made.
#[derive(Clone, Debug, Default)]
pub struct Built {
    pub segments: Vec<PathBuf>,
    pub blocks: u64,
    pub records: u64,
    pub bytes: u64,
}

impl Shape {
    /// Fills the spool in `folder`, which is empty. It is on disk when this returns, and not in the cache.
    pub fn build(self, folder: &Path) -> Built {
        let mut built = Built::default();
        for generation in 1..=self.streams {
            self.build_stream(folder, generation, &mut built);
        }
        rustix::fs::syncfs(File::open(folder).unwrap()).unwrap();
        for segment in &built.segments {
            rustix::fs::fadvise(File::open(segment).unwrap(), 0, None, Advice::DontNeed).unwrap();
        }
        built
    }

    fn build_stream(self, root: &Path, generation: u64, built: &mut Built) {
        let stream = StreamId::random();
        let folder = root.join(stream.to_string());
        fs::create_dir_all(&folder).unwrap();
        let mut block = self.block(stream);
        let (mut bytes, mut segment): (u64, Option<(BufWriter<File>, u64)>) = (0, None);
        while bytes < self.bytes.div_ceil(self.streams) {
            let (number, record) = (block.header().number, block.header().first_record);
            let (file, length) = segment.get_or_insert_with(|| {
                let path = folder.join(format!("{number:020}.seg"));
                let mut file = BufWriter::with_capacity(1 << 20, File::create_new(&path).unwrap());
                file.write_all(&segment_header(stream, generation)).unwrap();
                built.segments.push(path);
                (file, 44)
            });
            file.write_all(block.bytes()).unwrap();
            *length += block.bytes().len() as u64;
            bytes += block.bytes().len() as u64;
            built.blocks += 1;
            built.records += block.header().records();
            block = block.renumbered(number + 1, record + block.header().records());
            if *length >= self.segment_bytes {
                segment.take().unwrap().0.flush().unwrap();
            }
        }
        if let Some((mut file, _)) = segment {
            file.flush().unwrap();
        }
        built.bytes += bytes;
    }

    fn block(self, stream: StreamId) -> Block {
        let key = RunKey {
            category: "app".into(),
            source: "file".into(),
            attributes: vec![("log.file.path".into(), "/var/log/app/current.log".into())],
        };
        let mut rows = Rows::default();
        let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as i64;
        for n in 1..=self.block_records {
            rows.push_line(now, Record::new("spooled", n, 180).to_string().as_bytes());
        }
        let position = Position {
            key: "file/earlier/2049/1234567".into(),
            value: r#"{"offset":123456789,"head":{"len":256,"crc32c":123456789}}"#.into(),
        };
        let place = BlockPlace { stream, number: 1, first_record: 0, host: "host-1" };
        Encoder::default().encode(place, [(Arc::new(key), rows)], vec![position]).unwrap()
    }
}

/// As `adaptor/src/spool/segment.rs` specifies it.
fn segment_header(stream: StreamId, generation: u64) -> Vec<u8> {
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis() as u64;
    let mut header = b"LSEG\x01\0\0\0".to_vec();
    header.extend_from_slice(&stream.to_bytes());
    header.extend_from_slice(&generation.to_le_bytes());
    header.extend_from_slice(&now.to_le_bytes());
    let crc = crc32c::crc32c(&header);
    header.extend_from_slice(&crc.to_le_bytes());
    header
}
