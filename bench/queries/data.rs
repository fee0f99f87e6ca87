//! A day of logs of forty hosts, as a table and as gzipped NDJSON: made by rule, the same in every run.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use jiff::civil::Date;
use logboom_sink::table::{Batch, Outcome, TableOptions, View, commit};
use logboom_sink::{FileSettings, Store, merge};
use logboom_wire::block::{BlockPlace, Encoder};
use logboom_wire::{Block, Record, Rows, RunKey, StreamId};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// The day, in UTC.
pub const DAY: &str = "2026-03-01";
/// Stands in five records.
pub const RARE: &str = "reason=ledger_rollback_7f3a";
/// Their category.
pub const RARE_CATEGORY: &str = "shop.checkout";

/// Commits of the day; each has all categories and three hours.
const COMMITS: usize = 8;
const HOSTS: usize = 40;
const BLOCK_BYTES: usize = 2 << 20;

/// Categories with their share of the records, in per mille.
const CATEGORIES: [(&str, u32); 20] = [
    ("nginx.access", 340),
    ("shop.frontend", 160),
    ("shop.cart", 110),
    (RARE_CATEGORY, 80),
    ("shop.search", 70),
    ("k8s.events", 50),
    ("postgres", 40),
    ("sshd", 30),
    ("kernel", 25),
    ("redis", 20),
    ("nginx.error", 15),
    ("cron", 12),
    ("shop.mail", 10),
    ("shop.stock", 10),
    ("dns", 8),
    ("ntp", 6),
    ("audit", 5),
    ("backup", 4),
    ("vpn", 3),
    ("shop.admin", 2),
];

/// Makes table and NDJSON in `folder` unless they are there. Returns what there is in words.
pub fn make(folder: &Path, megabytes: usize) -> String {
    let done = folder.join("done.txt");
    if let Ok(text) = fs::read_to_string(&done) {
        return text;
    }
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).expect("the target folder is ours");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("threads");
    let text = runtime.block_on(write(folder, megabytes * 1_000_000));
    fs::write(done, &text).expect("the target folder is ours");
    text
}

async fn write(folder: &Path, bytes: usize) -> String {
    let url = folder.join("store").display().to_string();
    let store = Store::open(&url, &Default::default()).expect("a fresh folder");
    let mut view = View::open_or_create(&store, &TableOptions::default()).await.expect("a fresh folder");
    let settings = FileSettings::from(&logboom_config::Sink::at(url));
    let ndjson = File::create(folder.join("logs.ndjson.gz")).expect("the target folder is ours");
    let mut ndjson = BufWriter::new(GzEncoder::new(ndjson, Compression::default()));
    let date: Date = DAY.parse().expect("a date");
    let mut day = Day::new(bytes);
    let (mut records, mut body_bytes, mut files, mut file_bytes) = (0, 0, 0, 0);
    let mut blocks = Vec::new();
    while let Some(record) = day.next_record() {
        record.write_json(&mut ndjson);
        records += 1;
        body_bytes += record.body.len();
        let commit_ends = body_bytes * COMMITS / bytes > day.commits;
        day.keep(record, &mut blocks);
        if commit_ends || body_bytes >= bytes {
            day.commits += 1;
            let marks = day.flush(&mut blocks);
            let begun = view.begin_files();
            let written = merge(&store, &blocks, date, &settings).await.expect("a fresh folder");
            files += written.len();
            file_bytes += written.iter().map(|file| file.size).sum::<u64>();
            let outcome =
                commit(&mut view, Batch { files: &written, marks: &marks, begun }).await.expect("a fresh folder");
            assert!(matches!(outcome, Outcome::Committed { .. }));
            blocks.clear();
            eprintln!("{} of {} MB", body_bytes / 1_000_000, bytes / 1_000_000);
        }
    }
    ndjson.into_inner().map_err(|error| error.into_error()).and_then(GzEncoder::finish).expect("the disk takes it");
    let gz = fs::metadata(folder.join("logs.ndjson.gz")).expect("just written").len();
    format!(
        "{records} records with {} MB of lines: {files} files of {} MB together, NDJSON.gz of {} MB",
        body_bytes / 1_000_000,
        file_bytes / 1_000_000,
        gz / 1_000_000
    )
}

struct OneRecord {
    host: usize,
    category: usize,
    us: i64,
    severity: (u8, &'static str),
    body: String,
    trace: Option<([u8; 16], [u8; 8])>,
}

impl OneRecord {
    fn write_json(&self, out: &mut impl Write) {
        let time = Timestamp::from_microsecond(self.us).expect("in 2026");
        let category = CATEGORIES[self.category].0;
        let (number, text) = self.severity;
        let body = serde_json::Value::from(self.body.as_str());
        writeln!(
            out,
            r#"{{"timestamp":"{time}","category":"{category}","host":"web-{:02}","severity_number":{number},"severity_text":"{text}","body":{body}}}"#,
            self.host
        )
        .expect("the disk takes it");
    }
}

/// The records of the day, and the blocks that they fill.
struct Day {
    random: StdRng,
    start_us: i64,
    bytes: usize,
    made: usize,
    rare: usize,
    commits: usize,
    hosts: Vec<Host>,
    keys: Vec<Arc<RunKey>>,
    encoder: Encoder,
}

struct Host {
    stream: StreamId,
    blocks: u64,
    records: u64,
    bytes: usize,
    rows: Vec<Rows>,
}

impl Day {
    fn new(bytes: usize) -> Self {
        let host = |_| Host {
            stream: StreamId::random(),
            blocks: 0,
            records: 0,
            bytes: 0,
            rows: vec![Rows::default(); CATEGORIES.len()],
        };
        let key = |(category, _): &(&str, u32)| {
            Arc::new(RunKey { category: (*category).into(), source: "bench".into(), attributes: vec![] })
        };
        let start: Timestamp = format!("{DAY}T00:00:00Z").parse().expect("an instant");
        Self {
            random: StdRng::seed_from_u64(1),
            start_us: start.as_microsecond(),
            bytes,
            made: 0,
            rare: 0,
            commits: 0,
            hosts: (0..HOSTS).map(host).collect(),
            keys: CATEGORIES.iter().map(key).collect(),
            encoder: Encoder::default(),
        }
    }

    fn next_record(&mut self) -> Option<OneRecord> {
        if self.made >= self.bytes {
            return None;
        }
        let day_us = 86_400_000_000i128;
        let us = self.start_us + (self.made as i128 * day_us / self.bytes as i128) as i64;
        let mut share = self.random.random_range(0..1000);
        let category = CATEGORIES.iter().position(|(_, permille)| {
            let here = share < *permille;
            share = share.saturating_sub(*permille);
            here
        });
        let category = category.expect("the shares are all there is");
        let severity = match self.random.random_range(0..1000) {
            0..10 => (17, "ERROR"),
            10..50 => (13, "WARN"),
            _ => (9, "INFO"),
        };
        let mut body = self.line(CATEGORIES[category].0, severity.1);
        if CATEGORIES[category].0 == RARE_CATEGORY && self.made * 5 / self.bytes >= self.rare {
            self.rare += 1;
            body.push(' ');
            body.push_str(RARE);
        }
        let trace = CATEGORIES[category].0.starts_with("shop.") && self.random.random_ratio(1, 4);
        let trace = trace.then(|| (self.random.random(), self.random.random()));
        self.made += body.len();
        Some(OneRecord { host: self.random.random_range(0..HOSTS), category, us, severity, body, trace })
    }

    fn line(&mut self, category: &str, severity: &str) -> String {
        const PATHS: [&str; 8] =
            ["/", "/cart", "/search?q=shoes", "/api/v1/items", "/static/app.js", "/login", "/healthz", "/img/logo.png"];
        const WORDS: [&str; 8] = ["timeout", "retry", "accepted", "closed", "opened", "queued", "flushed", "expired"];
        let random = &mut self.random;
        let (a, b, c): (u32, u32, u64) = (random.random(), random.random_range(0..100_000), random.random());
        let (path, word) = (PATHS[random.random_range(0..8)], WORDS[random.random_range(0..8)]);
        let mut line = String::with_capacity(200);
        let ip = format!("10.{}.{}.{}", a >> 24, a >> 16 & 255, a >> 8 & 255);
        let written = match category {
            "nginx.access" => {
                let status = if severity == "ERROR" { 502 } else { 200 };
                write!(
                    line,
                    "{ip} - - \"GET {path} HTTP/1.1\" {status} {b} \"-\" \"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/1{}.0 Safari/537.36\" 0.{:03}",
                    a % 40,
                    b % 1000
                )
            }
            "sshd" => write!(
                line,
                "sshd[{b}]: Failed password for invalid user admin{} from {ip} port {} ssh2",
                a % 100,
                1024 + a % 60000
            ),
            "kernel" => write!(
                line,
                "[{b}.{:06}] usb 1-{}: new high-speed USB device number {} using xhci_hcd",
                a % 1_000_000,
                a % 9,
                a % 127
            ),
            "postgres" => write!(
                line,
                "LOG:  duration: {}.{:03} ms  statement: SELECT id, name, price FROM items WHERE id = {a} ORDER BY price LIMIT {}",
                b % 900,
                b % 1000,
                b % 50
            ),
            _ if category.starts_with("shop.") => write!(
                line,
                r#"{{"level":"{severity}","msg":"request {word}","request_id":"{c:016x}","user":{b},"path":"{path}","ms":{},"client":"{ip}"}}"#,
                a % 3000
            ),
            _ => write!(line, "{category}[{}]: connection from {ip} {word} after {b} ms, id {c:012x}", a % 30000),
        };
        written.expect("memory");
        line
    }

    fn keep(&mut self, record: OneRecord, blocks: &mut Vec<Block>) {
        let host = &mut self.hosts[record.host];
        host.bytes += record.body.len();
        host.rows[record.category].push(&Record {
            timestamp: Some(record.us * 1000),
            observed: record.us * 1000,
            severity_number: record.severity.0,
            severity_text: record.severity.1,
            body: record.body.as_bytes(),
            trace_id: record.trace.map(|ids| ids.0),
            span_id: record.trace.map(|ids| ids.1),
            ..Record::default()
        });
        if host.bytes >= BLOCK_BYTES {
            self.close(record.host, blocks);
        }
    }

    fn close(&mut self, index: usize, blocks: &mut Vec<Block>) {
        let host = &mut self.hosts[index];
        let name = format!("web-{index:02}");
        let records: usize = host.rows.iter().map(Rows::len).sum();
        if records == 0 {
            return;
        }
        host.blocks += 1;
        let place = BlockPlace { stream: host.stream, number: host.blocks, first_record: host.records, host: &name };
        host.records += records as u64;
        host.bytes = 0;
        let runs = self.keys.iter().cloned().zip(host.rows.iter_mut().map(std::mem::take));
        blocks.push(self.encoder.encode(place, runs, vec![]).expect("plain rows"));
    }

    /// Closes the blocks of all hosts and says how far each stream has come.
    fn flush(&mut self, blocks: &mut Vec<Block>) -> Vec<(StreamId, u64)> {
        (0..HOSTS).for_each(|host| self.close(host, blocks));
        let moved = self.hosts.iter().filter(|host| host.blocks > 0);
        moved.map(|host| (host.stream, host.blocks)).collect()
    }
}
