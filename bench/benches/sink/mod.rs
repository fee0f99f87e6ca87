//! The sink path: blocks in memory to committed-ready Parquet on a local folder, beside the bare Parquet writer.
//!
//! The floor is given all that the sink path has to work for: the rows decoded, sorted and gathered, as Arrow columns of the
//! very schema, cut in the same row groups. It only encodes them, with the same properties, to memory.

use std::sync::Arc;

use arrow_array::RecordBatch;
use bytes::Bytes;
use logboom_config::Sink;
use logboom_sink::schema::file_schema;
use logboom_sink::table::DataFile;
use logboom_sink::{FileSettings, Store, merge};
use logboom_wire::block::{BlockPlace, Encoder};
use logboom_wire::{Block, Record, Rows, RunKey, StreamId};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{BLOCK_BYTES, cpu, runtime};

const STREAMS: usize = 16;
const CATEGORIES: usize = 12;
/// Rows of a batch that the floor encodes at once.
const ROWS_PER_WRITE: usize = 16 << 10;

/// What a batch of a collector is made of.
pub struct Load {
    blocks: Vec<Bytes>,
    lines: u64,
    settings: FileSettings,
    /// The row groups that the sink path makes of them, file by file.
    encoded: Vec<Vec<Vec<RecordBatch>>>,
    encoded_bytes: u64,
}

/// A figure of this process's memory, in KiB.
fn resident(name: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("Linux gives it");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

impl Load {
    /// `text`, line by line, as blocks of 16 hosts with 12 categories: the first half of them plain lines, the others
    /// with severity, attributes and, every third one, ids of traces.
    pub fn new(text: &[u8]) -> Self {
        let blocks = blocks(text, 0);
        let lines = blocks.iter().map(|block| block.header().records()).sum();
        let bytes = blocks.iter().map(|block| block.bytes().clone()).collect();
        let mut load = Self { blocks: bytes, lines, settings: settings(), encoded: Vec::new(), encoded_bytes: 0 };
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let files = load.merge(folder.path().to_str().expect("a plain path"));
        load.encoded =
            files.iter().map(|file| read(&std::fs::read(folder.path().join(&file.path)).expect("written"))).collect();
        let sizes: Vec<String> = files.iter().map(|file| format!("{:.1}", file.size as f64 / 1e6)).collect();
        let size: u64 = files.iter().map(|file| file.size).sum();
        load.encoded_bytes = size;
        let held: usize = load.blocks.iter().map(Bytes::len).sum();
        println!(
            "sink: {lines} records, {} blocks, {:.1} MB; Parquet {:.3} of that, files of {} MB, {} row groups",
            load.blocks.len(),
            held as f64 / 1e6,
            size as f64 / held as f64,
            sizes.join(", "),
            load.encoded.iter().map(Vec::len).sum::<usize>(),
        );
        load
    }

    /// Seconds of CPU of the floor and of the sink path.
    pub fn measure(&self) -> (f64, f64) {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        (cpu(|| self.floor()), cpu(|| self.merge(folder.path().to_str().expect("a plain path"))))
    }

    /// Prints what files come to at several target sizes: all but the last ought to be within 5 %.
    pub fn sizes(&self) {
        for target in [4 << 20, 16 << 20] {
            let folder = tempfile::tempdir().expect("a folder for temporary files");
            let settings = FileSettings { target_file_size: target, ..settings() };
            let files = self.merge_as(folder.path().to_str().expect("a plain path"), &settings);
            let sizes: Vec<String> =
                files.iter().map(|file| format!("{:.3}", file.size as f64 / target as f64)).collect();
            println!("sink: target {} MiB, files of {} of it", target >> 20, sizes.join(", "));
        }
    }

    fn floor(&self) -> usize {
        let properties = self.settings.writer_properties();
        let file = |row_groups: &Vec<Vec<RecordBatch>>| {
            let mut out = Vec::new();
            let mut writer =
                ArrowWriter::try_new(&mut out, file_schema(), Some(properties.clone())).expect("a plain schema");
            for rows in row_groups {
                for rows in rows {
                    writer.write(rows).expect("memory");
                }
                writer.flush().expect("memory");
            }
            writer.close().expect("memory");
            out.len()
        };
        self.encoded.iter().map(file).sum()
    }

    fn merge(&self, url: &str) -> Vec<DataFile> {
        self.merge_as(url, &self.settings)
    }

    fn merge_as(&self, url: &str, settings: &FileSettings) -> Vec<DataFile> {
        let blocks: Vec<Block> =
            self.blocks.iter().map(|bytes| Block::parse(bytes.clone()).expect("our own block")).collect();
        let files = merge_to(url, &blocks, settings);
        assert_eq!(files.iter().map(|file| file.stats.records).sum::<u64>(), self.lines);
        files
    }
}

fn merge_to(url: &str, blocks: &[Block], settings: &FileSettings) -> Vec<DataFile> {
    let store = Store::open(url, &Default::default()).expect("a fresh folder");
    let date = jiff::civil::date(2026, 1, 1);
    runtime().block_on(merge(&store, blocks, date, settings)).expect("a fresh folder")
}

/// Prints what a merge of about a GiB of Parquet takes of memory beside the blocks, with files of so many bytes. In a process of
/// its own: the peak is that of the process, and so is what its allocator keeps.
pub fn memory(text: Vec<u8>, target_file_size: u64) {
    // A fourth of a text's bytes are left in Parquet.
    let parts = (4 << 30) / text.len().max(1) as u64 + 1;
    let blocks: Vec<Block> = (0..parts).flat_map(|part| blocks(&text, part)).collect();
    drop(text);
    let settings = FileSettings { target_file_size, merge_memory: 128 << 20, ..settings() };
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    // Sets the peak back to what is there now.
    std::fs::write("/proc/self/clear_refs", "5").expect("Linux");
    let before = resident("VmRSS:");
    let files = merge_to(folder.path().to_str().expect("a plain path"), &blocks, &settings);
    println!(
        "memory of a merge of {} blocks to files of {} MiB: {} of them, the first of {:.0} MiB, {:.0} MiB beside the blocks' {:.0}",
        blocks.len(),
        target_file_size >> 20,
        files.len(),
        files[0].size as f64 / (1u64 << 20) as f64,
        (resident("VmHWM:") - before) / 1024.0,
        before / 1024.0,
    );
}

fn settings() -> FileSettings {
    FileSettings::from(&Sink::at("memory://"))
}

/// The row groups of a Parquet file.
fn read(file: &[u8]) -> Vec<Vec<RecordBatch>> {
    let bytes = Bytes::copy_from_slice(file);
    let count = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).expect("Parquet").metadata().num_row_groups();
    let row_group = |index| {
        let builder = ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).expect("Parquet");
        let reader = builder.with_row_groups(vec![index]).with_batch_size(ROWS_PER_WRITE).build().expect("Parquet");
        reader.map(|rows| rows.expect("Parquet").with_schema(file_schema()).expect("the same columns")).collect()
    };
    (0..count).map(row_group).collect()
}

/// Those of part `part` are of other streams and of another hour than those of other parts.
fn blocks(text: &[u8], part: u64) -> Vec<Block> {
    let mut random = StdRng::seed_from_u64(11 + part);
    let streams: Vec<StreamId> = (0..STREAMS).map(|_| StreamId::random()).collect();
    let keys: Vec<Arc<RunKey>> = (0..CATEGORIES)
        .map(|index| {
            let path = ("path".to_owned(), format!("/var/log/service-{index}/current.log"));
            Arc::new(RunKey {
                category: format!("service-{index}.log"),
                source: "files".into(),
                attributes: vec![path],
            })
        })
        .collect();
    let mut encoder = Encoder::default();
    let mut runs: Vec<Rows> = vec![Rows::default(); CATEGORIES];
    let (mut blocks, mut now, mut raw, mut in_block) =
        (Vec::new(), 1_700_000_000_000_000_000 + part as i64 * 3_600_000_000_000, 0, 0u32);
    let mut lines = text.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).peekable();
    while let Some(line) = lines.next() {
        // A few categories have most of the records.
        let category = random.random_range(0..CATEGORIES).min(random.random_range(0..CATEGORIES));
        now += if in_block % 100 == 0 { 1_000_000 } else { 0 };
        push(&mut runs[category], category, now + i64::from(in_block % 100) * 10_000, line, &mut random);
        raw += line.len() + 12;
        in_block += 1;
        if raw >= BLOCK_BYTES || lines.peek().is_none() {
            let number = (blocks.len() / STREAMS) as u64 + 1;
            let at = blocks.len() % STREAMS;
            let host = format!("host-{at}.example.com");
            let place = BlockPlace { stream: streams[at], number, first_record: number * 1_000_000, host: &host };
            let mut sorted: Vec<(Arc<RunKey>, Rows)> = keys.iter().cloned().zip(runs.drain(..)).collect();
            sorted.sort_by(|a, b| a.0.cmp(&b.0));
            blocks.push(encoder.encode(place, sorted, vec![]).expect("plain rows"));
            runs = vec![Rows::default(); CATEGORIES];
            (raw, in_block) = (0, 0);
            if at + 1 < STREAMS {
                // The hosts write at the same time.
                now -= 150_000_000;
            }
        }
    }
    blocks
}

fn push(rows: &mut Rows, category: usize, now: i64, line: &[u8], random: &mut StdRng) {
    if category < CATEGORIES / 2 {
        return rows.push(&Record {
            timestamp: Some(now / 1000 * 1000),
            observed: now + 5_000_000,
            body: line,
            ..Record::default()
        });
    }
    let user = random.random_range(0..5000u32).to_string();
    let status = ["200", "200", "200", "204", "404", "500"][random.random_range(0..6)];
    let attributes = [("http.method", "GET"), ("http.status", status), ("user", user.as_str())];
    let severe = random.random_range(0..50) == 0;
    let traced = random.random_range(0..3) == 0;
    rows.push(&Record {
        timestamp: Some(now),
        observed: now + 5_000_000,
        severity_number: if severe { 17 } else { 9 },
        severity_text: if severe { "ERROR" } else { "INFO" },
        body: line,
        attributes: &attributes,
        trace_id: traced.then(|| random.random()),
        span_id: traced.then(|| random.random()),
    });
}
