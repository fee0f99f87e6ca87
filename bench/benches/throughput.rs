//! What a gigabyte costs in CPU, beside the floor: the least that any program must do with the bare libraries.
//!
//! `cargo bench -p logboom-bench` (or `just bench`) prints, for each path, seconds of CPU per GB of log lines, for the floor and for
//! Logboom, measured in turn in one run, and the median of their ratios. `LOGBOOM_BENCH_MB` sets the volume (256),
//! `LOGBOOM_BENCH_ROUNDS` the rounds (3).
//!
//! - adaptor: a file, or a unix socket, to a synced spool. Floor: read the input from
//!   there, encode it once with zstd level 1.
//! - protocols: records of 200 bytes over one connection to a synced spool, each protocol beside plain `tcp` lines.
//! - sink: blocks of sixteen hosts and twelve categories, half of them with attributes, severity and trace ids, to
//!   Parquet on a local folder. Floor: the same rows, decoded and sorted already, encoded by the bare Parquet writer
//!   with the same properties.
//! - memory: what a merge of a large batch takes, with small and with large files.
//! - collector: blocks of eight streams to Parquet on a local folder. Floor: decode them once with zstd, encode their
//!   columns once as Parquet with zstd level 1.
//! - collector: the same blocks to gzipped JSON. Floor: gzip the same lines with `flate2` at the same level.
//! - gzip: those lines at every level of the `flate2` that is built in.

mod sink;

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow_array::RecordBatch;
use arrow_cast::cast;
use arrow_schema::{DataType, Field, Schema};
use logboom_adaptor::Adaptor;
use logboom_bench::encode;
use logboom_config::{
    Adaptor as Settings, FileFormat, FileSource, Format, ForwardSource, GelfSource, HttpSource, OtlpSource,
    ScribeSource, Sink, Source, SourceKind, Spool, SyslogSource, TcpSource, Transport, UnixSource,
};
use logboom_sink::{FileSettings, Store, merge};
use logboom_wire::block::{BlockPlace, Encoder};
use logboom_wire::{Block, Rows, RunKey, StreamId};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tikv_jemallocator::Jemalloc;

/// That of `logboom`.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// Measures the floor and Logboom once each, in seconds of CPU.
type Measure<'a> = dyn Fn() -> (f64, f64) + 'a;

const BLOCK_BYTES: usize = 2 << 20;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let [_, command, file, socket] = &args[..]
        && command == "feed"
    {
        return feed(Path::new(file), Path::new(socket));
    }
    if let [_, command, file, mebibytes] = &args[..]
        && command == "memory"
    {
        let text = std::fs::read(file).expect("the file of the process that started this one");
        return sink::memory(text, mebibytes.parse::<u64>().expect("a number") << 20);
    }
    let setting = |name: &str, default: usize| {
        std::env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name}={value}")))
    };
    let (megabytes, rounds) = (setting("LOGBOOM_BENCH_MB", 256), setting("LOGBOOM_BENCH_ROUNDS", 3));
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let input = folder.path().join("input.log");
    let lines = generate(&input, megabytes * 1_000_000);
    let bytes = std::fs::metadata(&input).expect("just written").len();
    let compressed = compress(&input);
    let ratio = bytes as f64 / compressed as f64;
    println!("{lines} lines, {} bytes each, zstd-1 {ratio:.1}:1", bytes / lines);
    let wanted = |name: &str| args.iter().skip(1).all(|arg| arg.starts_with('-') || name.contains(arg.as_str()));
    let load = std::cell::OnceCell::new();
    let plain = std::cell::OnceCell::new();
    let paths: [(&str, Box<Measure<'_>>); 5] = [
        ("adaptor, file to spool", Box::new(|| (cpu(|| compress(&input)), adaptor_file(&input, lines)))),
        ("adaptor, unix socket to spool", Box::new(|| (socket_floor(&input), adaptor_socket(&input, lines)))),
        (
            "sink, blocks to Parquet",
            Box::new(|| load.get_or_init(|| sink::Load::new(&std::fs::read(&input).expect("it exists"))).measure()),
        ),
        (
            "collector, plain blocks to Parquet",
            Box::new(|| {
                let blocks = plain.get_or_init(|| blocks(&input));
                (cpu(|| collector_floor(blocks)), collector(blocks, lines, FileFormat::Parquet))
            }),
        ),
        (
            "collector, plain blocks to gzipped JSON",
            Box::new(|| {
                let blocks = plain.get_or_init(|| blocks(&input));
                let json = json_lines(blocks);
                let level = FileFormat::Json.default_level() as u32;
                (cpu(|| gzip(&json, level)), collector(blocks, lines, FileFormat::Json))
            }),
        ),
    ];
    for (name, path) in paths.iter().filter(|(name, _)| wanted(name)) {
        let mut runs: Vec<(f64, f64)> = (0..rounds.max(1)).map(|_| path()).collect();
        runs.sort_by(|a, b| (a.1 / a.0).total_cmp(&(b.1 / b.0)));
        let (floor, ours) = runs[runs.len() / 2];
        let gigabytes = bytes as f64 / 1e9;
        println!(
            "{name}: floor {:.2} s/GB, logboom {:.2} s/GB ({:.0} MB per CPU second), ratio {:.2}",
            floor / gigabytes,
            ours / gigabytes,
            bytes as f64 / 1e6 / ours,
            ours / floor
        );
    }
    if wanted("sink sizes") {
        load.get_or_init(|| sink::Load::new(&std::fs::read(&input).expect("it exists"))).sizes();
    }
    if wanted("memory") {
        for mebibytes in ["64", "1024"] {
            let done = this_program().arg("memory").arg(&input).arg(mebibytes).status().expect("it starts");
            assert!(done.success(), "{done}");
        }
    }
    if wanted("gzip levels") {
        let json = json_lines(&blocks(&input));
        let megabytes = json.len() as f64 / 1e6;
        println!("gzip of {megabytes:.0} MB of JSON lines:");
        for level in 1..=9 {
            let mut size = 0;
            let used = cpu(|| size = gzip(&json, level));
            println!("  level {level}: {:.0} MB/s, {:.2}:1", megabytes / used, megabytes * 1e6 / size as f64);
        }
    }
    if wanted("protocols") {
        protocols(folder.path(), megabytes * 1_000_000 / 4, rounds);
    }
}

/// A protocol: its name, its source at an address, and its bytes for some lines.
type Protocol = (&'static str, fn(SocketAddr) -> Source, fn(&[&[u8]]) -> Vec<u8>);

/// Lines of one message, where a message has more than one.
const LINES_PER_MESSAGE: usize = 500;

const PROTOCOLS: [Protocol; 8] = [
    ("tcp lines", |address| tcp_source(address, Format::Lines), |lines| joined(lines, |line| [line, b"\n"].concat())),
    (
        "tcp json",
        |address| tcp_source(address, Format::Json),
        |lines| joined(lines, |line| [b"{\"body\":\"", line, b"\"}\n"].concat()),
    ),
    (
        "scribe",
        |address| {
            Source::new(
                "bench",
                SourceKind::Scribe(ScribeSource { tcp: TcpSource::at(address), ..ScribeSource::default() }),
            )
        },
        |lines| lines.chunks(LINES_PER_MESSAGE).flat_map(|lines| encode::scribe(1, "bench", lines)).collect(),
    ),
    (
        "forward",
        |address| {
            let transport = Transport::Tcp(TcpSource::at(address));
            Source::new("bench", SourceKind::Forward(ForwardSource { transport, ..ForwardSource::default() }))
        },
        |lines| lines.chunks(LINES_PER_MESSAGE).flat_map(|lines| encode::forward("bench", Some("c"), lines)).collect(),
    ),
    (
        "otlp, HTTP",
        |address| {
            let otlp = OtlpSource { grpc: None, http: Some(TcpSource::at(address)), ..OtlpSource::default() };
            Source::new("bench", SourceKind::Otlp(otlp))
        },
        |lines| {
            let requests = lines
                .chunks(LINES_PER_MESSAGE)
                .flat_map(|lines| encode::http("/v1/logs", "application/x-protobuf", &encode::otlp("bench", lines)));
            requests.collect()
        },
    ),
    (
        "http, NDJSON",
        |address| {
            Source::new("bench", SourceKind::Http(HttpSource { tcp: TcpSource::at(address), ..HttpSource::default() }))
        },
        |lines| {
            let requests = lines.chunks(LINES_PER_MESSAGE).flat_map(|lines| {
                let body = joined(lines, |line| [b"{\"body\":\"", line, b"\"}\n"].concat());
                encode::http("/v1/logs/bench", "application/x-ndjson", &body)
            });
            requests.collect()
        },
    ),
    (
        "syslog, TCP",
        |address| {
            Source::new("bench", SourceKind::Syslog(SyslogSource { transport: Transport::Tcp(TcpSource::at(address)) }))
        },
        |lines| joined(lines, encode::syslog),
    ),
    (
        "gelf, TCP",
        |address| {
            let transport = Transport::Tcp(TcpSource::at(address));
            Source::new("bench", SourceKind::Gelf(GelfSource { transport, ..GelfSource::default() }))
        },
        |lines| joined(lines, encode::gelf),
    ),
];

fn tcp_source(address: SocketAddr, format: Format) -> Source {
    Source { format, ..Source::new("bench", SourceKind::Tcp(TcpSource::at(address))) }
}

fn joined(lines: &[&[u8]], each: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    lines.iter().flat_map(|line| each(line)).collect()
}

/// Prints what each protocol takes beside plain lines: `bytes` of lines of 200 bytes over one connection.
fn protocols(folder: &Path, bytes: usize, rounds: usize) {
    let input = folder.join("protocols.log");
    generate(&input, bytes);
    let text = std::fs::read(&input).expect("just written");
    let lines: Vec<&[u8]> = text.chunks_exact(200).collect();
    let lines: Vec<Vec<u8>> =
        lines.iter().map(|line| line.iter().map(|byte| if *byte == b'\n' { b' ' } else { *byte }).collect()).collect();
    let lines: Vec<&[u8]> = lines.iter().map(Vec::as_slice).collect();
    let mut plain = None;
    for (name, source, encoded) in PROTOCOLS {
        let file = folder.join("messages");
        std::fs::write(&file, encoded(&lines)).expect("room on the disk");
        let mut runs: Vec<f64> =
            (0..rounds.max(1)).map(|_| adaptor_protocol(source, &file, lines.len() as u64)).collect();
        runs.sort_by(f64::total_cmp);
        let rate = lines.len() as f64 / runs[runs.len() / 2];
        let plain = *plain.get_or_insert(rate);
        println!("{name}: {rate:.0} records per CPU second, {:.2} of plain lines", rate / plain);
    }
}

fn adaptor_protocol(source: fn(SocketAddr) -> Source, messages: &Path, lines: u64) -> f64 {
    let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("bound");
    drop(listener);
    run_adaptor(source(address), lines, || {
        Some(this_program().arg("feed").arg(messages).arg(address.to_string()).spawn().expect("this program again"))
    })
}

/// Seconds of CPU that this process spends in `work`, all threads, user and system.
fn cpu<T>(work: impl FnOnce() -> T) -> f64 {
    let used = || {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
        time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
    };
    let before = used();
    std::hint::black_box(work());
    used() - before
}

/// Log lines of about 150 bytes whose digits vary, so that they compress about as real ones do. Returns their count.
fn generate(path: &Path, bytes: usize) -> u64 {
    const SHAPES: [&str; 6] = [
        "2026-03-## 1#:##:##,### INFO [worker-#] store.BlockManager: received block blk_###################-#### of size ######## from /10.2#.1##.##:50010, # replicas in ### ms",
        "2026-03-## 1#:##:##,### DEBUG [http-8080-exec-##] web.Access: GET /api/v2/customers/######/orders?page=## 200 ##### bytes in ### ms, request=####################",
        "2026-03-## 1#:##:##,### WARN [scheduler] jobs.Retry: job invoice-export-########### failed after 3#### ms, attempt # of 5, next in ## s, token ################",
        "2026-03-## 1#:##:##,### INFO [kafka-consumer-##] events.Consumer: partition orders-## offset 48######### lag #### committed in ### ms by group billing-####",
        "2026-03-## 1#:##:##,### ERROR [worker-##] store.Replica: connection to datanode 10.2#.1##.## lost: java.io.IOException: reset by peer (code ###, request ##########)",
        "2026-03-## 1#:##:##,### INFO [main] cache.Stats: hits=####### misses=###### evictions=#### size=####### ratio=0.9###### elapsed=####ms region=####",
    ];
    let mut random = StdRng::seed_from_u64(7);
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path).expect("a file in a fresh folder"));
    let (mut written, mut lines) = (0, 0);
    let mut line = Vec::new();
    while written < bytes {
        line.clear();
        let shape = SHAPES[random.random_range(0..SHAPES.len())];
        line.extend(shape.bytes().map(|byte| if byte == b'#' { random.random_range(b'0'..=b'9') } else { byte }));
        line.push(b'\n');
        out.write_all(&line).expect("room on the disk");
        written += line.len();
        lines += 1;
    }
    out.flush().expect("room on the disk");
    lines
}

/// The adaptor's floor: reads the file and encodes it once.
fn compress(path: &Path) -> usize {
    compress_from(File::open(path).expect("it exists"))
}

/// The same, from a socket that another process writes to.
fn socket_floor(input: &Path) -> f64 {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).expect("a fresh folder");
    let mut child = start_feed(input, &path);
    let (socket, _) = listener.accept().expect("the other process connects");
    let used = cpu(|| compress_from(socket));
    child.wait().expect("it ends");
    used
}

fn compress_from(mut input: impl Read) -> usize {
    let mut compressor = zstd::bulk::Compressor::new(1).expect("level 1 exists");
    let mut raw = vec![0; BLOCK_BYTES];
    let mut out = vec![0; zstd::zstd_safe::compress_bound(BLOCK_BYTES)];
    let mut compressed = 0;
    loop {
        let mut have = 0;
        while have < raw.len() {
            match input.read(&mut raw[have..]).expect("it can be read") {
                0 => break,
                read => have += read,
            }
        }
        if have == 0 {
            return compressed;
        }
        compressed += compressor.compress_to_buffer(&raw[..have], &mut out[..]).expect("the buffer is large enough");
    }
}

fn adaptor_file(input: &Path, lines: u64) -> f64 {
    let include = [input.to_str().expect("a plain path")];
    let source = Source::new("bench", SourceKind::File(FileSource::at(include)));
    run_adaptor(source, lines, || None)
}

fn adaptor_socket(input: &Path, lines: u64) -> f64 {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let socket = folder.path().join("socket");
    let source = Source::new("bench", SourceKind::Unix(UnixSource::at(&socket)));
    run_adaptor(source, lines, || Some(start_feed(input, &socket)))
}

fn this_program() -> Command {
    Command::new(std::env::current_exe().expect("this program"))
}

/// Another process writes, so that its CPU is not counted.
fn start_feed(input: &Path, socket: &Path) -> std::process::Child {
    this_program().arg("feed").arg(input).arg(socket).spawn().expect("this program again")
}

fn feed(file: &Path, to: &Path) {
    let mut file = File::open(file).expect("it exists");
    if let Ok(address) = to.to_str().expect("a plain path").parse::<SocketAddr>() {
        let mut socket = TcpStream::connect(address).expect("the benchmark listens");
        let mut answers = socket.try_clone().expect("a socket can be cloned");
        let reading = std::thread::spawn(move || std::io::copy(&mut answers, &mut std::io::sink()));
        std::io::copy(&mut file, &mut socket).expect("the benchmark reads");
        socket.shutdown(std::net::Shutdown::Write).expect("connected");
        let _ = reading.join();
        return;
    }
    let mut socket = UnixStream::connect(to).expect("the benchmark listens");
    std::io::copy(&mut file, &mut socket).expect("the benchmark reads");
}

/// CPU from the start of an adaptor until all lines are synced to its spool.
fn run_adaptor(source: Source, lines: u64, start: impl FnOnce() -> Option<std::process::Child>) -> f64 {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let settings = Settings {
        spool: Spool::at(folder.path()),
        sources: vec![source],
        // Nobody listens there: this is about the way to the spool.
        collectors: vec!["127.0.0.1:9".into()],
        drain_timeout: Duration::from_secs(2),
        control: None,
        ..Settings::default()
    };
    let runtime = runtime();
    cpu(|| {
        runtime.block_on(async {
            let adaptor = Adaptor::start(settings).await.expect("a fresh folder");
            let child = start();
            let began = Instant::now();
            while adaptor.counters().records_in.get() < lines {
                assert!(began.elapsed() < Duration::from_secs(120), "{}", adaptor.counters().report());
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            adaptor.drain().await;
            child.map(|mut child| child.wait())
        })
    })
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("threads")
}

/// The input as blocks of eight streams.
fn blocks(input: &Path) -> Vec<Block> {
    let text = std::fs::read(input).expect("it exists");
    let streams: Vec<StreamId> = (0..8).map(|_| StreamId::random()).collect();
    let key = Arc::new(RunKey { category: "bench".into(), source: "bench".into(), attributes: vec![] });
    let mut encoder = Encoder::default();
    let (mut blocks, mut rows, mut now) = (Vec::new(), Rows::default(), 1_700_000_000_000_000_000i64);
    let mut ends = text.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at).peekable();
    let mut start = 0;
    while let Some(end) = ends.next() {
        // A source stamps what it reads at once with one time.
        now += if rows.len() % 500 == 0 { 1_000_000 } else { 0 };
        rows.push_line(now, &text[start..end]);
        start = end + 1;
        if rows.raw_bytes() >= BLOCK_BYTES || ends.peek().is_none() {
            let number = (blocks.len() / streams.len()) as u64 + 1;
            let place = BlockPlace {
                stream: streams[blocks.len() % streams.len()],
                number,
                first_record: number * 1_000_000,
                host: "bench",
            };
            let rows = std::mem::take(&mut rows);
            blocks.push(encoder.encode(place, [(key.clone(), rows)], vec![]).expect("plain rows"));
        }
    }
    blocks
}

/// The collector's floor: decodes every block and encodes its columns as Parquet.
fn collector_floor(blocks: &[Block]) -> usize {
    let fields =
        vec![Field::new("observed_timestamp", DataType::Int64, false), Field::new("body", DataType::Utf8, false)];
    let schema = Arc::new(Schema::new(fields));
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).expect("level 1 exists")))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(parquet::file::properties::EnabledStatistics::None)
        .build();
    let mut out = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut out, schema.clone(), Some(properties)).expect("a plain schema");
    for block in blocks {
        let batch = block.decode_run(0).expect("our own block");
        let body = cast(&batch["body"], &DataType::Utf8).expect("it is text");
        let batch = RecordBatch::try_new(schema.clone(), vec![batch["observed_timestamp"].clone(), body]);
        writer.write(&batch.expect("the columns fit")).expect("memory");
    }
    writer.close().expect("memory");
    out.len()
}

/// The lines that a sink in JSON makes of the blocks.
#[expect(clippy::disallowed_types, reason = "it unpacks what it has packed itself")]
fn json_lines(blocks: &[Block]) -> Vec<u8> {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let (store, settings) = sink(folder.path(), FileFormat::Json);
    runtime().block_on(merge(&store, blocks, jiff::civil::date(2026, 1, 1), &settings)).expect("a fresh folder");
    let mut lines = Vec::new();
    let days = std::fs::read_dir(folder.path().join("_json/date=2026-01-01")).expect("the sink made it");
    for file in days {
        let file = File::open(file.expect("it can be listed").path()).expect("just written");
        flate2::read::MultiGzDecoder::new(file).read_to_end(&mut lines).expect("it is gzip");
    }
    lines
}

/// The floor of JSON: compresses its lines. Returns how many bytes they become.
fn gzip(lines: &[u8], level: u32) -> usize {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level));
    gzip.write_all(lines).expect("memory");
    gzip.finish().expect("memory").len()
}

fn sink(folder: &Path, format: FileFormat) -> (Store, FileSettings) {
    let url = folder.to_str().expect("a plain path").to_owned();
    let store = Store::open(&url, &Default::default()).expect("a fresh folder");
    let compression_level = format.default_level();
    (store, FileSettings::from(&Sink { format, compression_level, ..Sink::at(url) }))
}

fn collector(blocks: &[Block], lines: u64, format: FileFormat) -> f64 {
    let folder = tempfile::tempdir().expect("a folder for temporary files");
    let (store, settings) = sink(folder.path(), format);
    let bytes: Vec<_> = blocks.iter().map(|block| block.bytes().clone()).collect();
    let runtime = runtime();
    cpu(|| {
        let blocks: Vec<Block> = bytes.into_iter().map(|bytes| Block::parse(bytes).expect("our own block")).collect();
        let date = jiff::civil::date(2026, 1, 1);
        let files = runtime.block_on(merge(&store, &blocks, date, &settings)).expect("a fresh folder");
        assert_eq!(files.iter().map(|file| file.stats.records).sum::<u64>(), lines);
    })
}
