//! A sealed stream that is kept in memory, to be put on disk damaged again and again, and an account of what becomes of it.
//!
//! The account is the claim: what readers give is what was written; what they do not give is reported lost, to the
//! record, and nothing else is. One thing cannot be told from damage, a write that was never synced: so of the end of a
//! stream, what no sound header speaks of may be missing unreported.

use std::collections::BTreeMap;
use std::ops::Range;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::*;

/// Where it is put: in memory, if there is such a place.
pub(super) fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

/// A stream as it lies on disk.
pub(super) struct Image {
    settings: Settings,
    stream: StreamId,
    /// Names and contents of its segments, in order.
    pub(super) segments: Vec<(PathBuf, Vec<u8>)>,
    /// Its blocks by number: their bytes, and the sequence numbers of their records.
    blocks: BTreeMap<u64, (Vec<u8>, Range<u64>)>,
}

/// What came of a damaged image.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// Records that readers gave.
    pub(super) given: u64,
    /// Records that were reported lost.
    pub(super) reported: u64,
    /// Records that are neither, all at the end of the stream.
    pub(super) unreported: u64,
    /// Ends of segments that were taken for writes that were never synced.
    pub(super) torn: u64,
}

impl Image {
    /// A stream of segments with so many blocks each, whose blocks have 1, 2, … records with `body_bytes` of noise between
    /// them.
    pub(super) fn new(folder: &Path, segments: &[usize], body_bytes: usize) -> Self {
        let spool_settings = Settings { segment_size: 1 << 30, ..settings(folder) };
        let mut random = StdRng::seed_from_u64(5);
        let mut noise = |records: usize| {
            let bytes: Vec<u8> = (0..body_bytes / records).map(|_| random.random()).collect();
            bytes
        };
        let (spool, ..) = open(&spool_settings);
        let writing = Writing::start(&spool);
        let stream = writing.stream;
        let key = Arc::new(RunKey { category: "c".into(), source: "s".into(), attributes: vec![] });
        for n in 1..=segments.iter().sum::<usize>() {
            let records = 1 + n % 7;
            let mut chunk = Chunk::default();
            for at in 0..records {
                chunk.rows(&key).push_line(at as i64, &noise(records));
            }
            chunk.set_position(Position { key: "p".into(), value: n.to_string() });
            writing.put(chunk);
        }
        writing.close();
        drop(spool);
        // One segment was written; it is cut between blocks.
        let path = super::segments(&spool_settings, stream).remove(0);
        let whole = fs::read(&path).unwrap();
        let offsets: Vec<usize> = frame_offsets(&path).into_iter().map(|offset| offset as usize).collect();
        let mut blocks = BTreeMap::new();
        for (from, to) in offsets.iter().zip(&offsets[1..]) {
            let block = Block::parse(whole[*from..*to].to_vec().into()).unwrap();
            let header = block.header();
            let records = header.first_record..header.first_record + header.records();
            blocks.insert(header.number, (block.bytes().to_vec(), records));
        }
        fs::remove_file(&path).unwrap();
        let (mut first, mut files) = (0, Vec::new());
        for count in segments {
            let name = path.with_file_name(crate::spool::segment::file_name(first as u64 + 1, 0));
            let frames = &whole[offsets[first]..offsets[first + count]];
            files.push((name, [&whole[..offsets[0]], frames].concat()));
            first += count;
        }
        Self { settings: spool_settings, stream, segments: files, blocks }
    }

    /// Offset of the block that byte `at` of segment `segment` belongs to, if that is the segment's last.
    pub(super) fn is_in_last_block(&self, segment: usize, at: usize) -> bool {
        let bytes = &self.segments[segment].1;
        let last = self.blocks.values().rfind(|(block, _)| bytes.ends_with(block)).map_or(0, |(block, _)| block.len());
        at >= bytes.len() - last
    }

    /// Count of the records of the stream's last block.
    pub(super) fn last_records(&self) -> u64 {
        self.blocks.values().next_back().map_or(0, |(_, records)| records.end - records.start)
    }

    /// Puts the stream on disk with these contents, has the spool taken over and read, and says what came of it.
    pub(super) fn account(&self, contents: &[Option<Vec<u8>>]) -> Account {
        self.account_of(contents, true)
    }

    /// The same; unless `exact`, more may be reported lost than is: a block of which there are several copies, one of them
    /// damaged or in a wrong place, may be given and reported.
    pub(super) fn account_of(&self, contents: &[Option<Vec<u8>>], exact: bool) -> Account {
        let folder = self.settings.path.join(self.stream.to_string());
        let _ = fs::remove_file(self.settings.path.join("positions"));
        let _ = fs::remove_dir_all(self.settings.path.join("quarantine"));
        fs::create_dir_all(&folder).unwrap();
        for ((path, _), content) in self.segments.iter().zip(contents) {
            match content {
                Some(content) => fs::write(path, content).unwrap(),
                None => drop(fs::remove_file(path)),
            }
        }
        let (spool, _, counters) = open(&self.settings);
        let found = read_all(&spool);
        let mut is_given = vec![false; self.blocks.values().next_back().map_or(0, |(_, records)| records.end as usize)];
        for block in found.values().flatten() {
            let (bytes, records) = &self.blocks[&block.header().number];
            assert!(block.bytes()[..] == bytes[..], "block {} is not what was written", block.header().number);
            is_given[records.start as usize..records.end as usize].fill(true);
        }
        let mut is_known = is_given.clone();
        for loss in spool.owed_losses() {
            for seq in loss.first..=loss.last {
                let known = is_known.get_mut(seq as usize).expect("no record is lost that never was");
                assert!(
                    !std::mem::replace(known, true) || !exact,
                    "record {seq} is reported lost, and was given or lost before"
                );
            }
        }
        let count = |flags: &[bool]| flags.iter().filter(|flag| **flag).count() as u64;
        let (given, known) = (count(&is_given), count(&is_known));
        let reported = known - given;
        let counted = counters.records_quarantined.get();
        assert!(counted == reported || !exact, "{counted} counted, and {reported} owed");
        let end = is_known.iter().rposition(|known| *known).map_or(0, |at| at + 1);
        assert!(!is_known[..end].contains(&false), "lost without a report, with more behind it: {is_known:?}");
        // A second reader finds the same, and nothing is held up.
        for (generation, blocks) in &found {
            let Some(stream) = spool.streams().into_iter().find(|stream| stream.generation == *generation) else {
                assert!(blocks.is_empty(), "a stream is gone before it is committed");
                continue;
            };
            if let Some(last) = blocks.last() {
                spool.trim(&[(stream.id, last.header().number)].into()).unwrap();
            }
        }
        let _ = read_all(&spool);
        assert!(spool.is_drained(), "{:?}", spool.streams());
        assert_eq!(counters.records_quarantined.get(), counted, "it is counted once");
        let _ = fs::remove_dir_all(&folder);
        Account { given, reported, unreported: is_known.len() as u64 - known, torn: counters.frames_torn.get() }
    }
}
