//! Hostile clients at every listener: lengths that are lies, compression bombs, senders of a byte a second, and ten times
//! the connections that are allowed. Honest clients, who were there first, keep their throughput, and memory is bounded.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use logboom_bench::encode;

use crate::harness::{Pipeline, Plan, env_number};

/// The most memory that the adaptor may ever have needed.
const MEMORY_BYTES_MAX: u64 = 256 << 20;
const MAX_CONNECTIONS: usize = 20;
/// How long throughput is measured.
const MEASURED: Duration = Duration::from_secs(2);
/// Percent of its throughput that an honest client keeps: as a claim in a run on an idle machine, and in one where other
/// tests run beside it.
const KEPT_ALONE: u64 = 90;
const KEPT_IN_COMPANY: u64 = 30;
/// Throughput is measured so often at most: what else the machine does takes from it, too.
const MEASUREMENTS: usize = 3;

/// A message and how its answer begins; no answer where the protocol has none.
type Honesty = (fn() -> Vec<u8>, Option<&'static [u8]>);

struct Listener {
    source: &'static str,
    honest: Honesty,
    hostile: fn() -> Vec<Vec<u8>>,
}

/// 64 MiB of zeros, small when compressed.
fn gzip_bomb() -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for _ in 0..1024 {
        encoder.write_all(&[0; 64 << 10]).unwrap();
    }
    encoder.finish().unwrap()
}

fn compressed(path: &str, encoding: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\nContent-Encoding: {encoding}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// What is hostile to every listener for HTTP.
fn hostile_http(path: &str) -> Vec<Vec<u8>> {
    let zstd_bomb = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
    vec![
        format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999\r\n\r\n").into_bytes(),
        format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n")
            .into_bytes(),
        compressed(path, "gzip", &gzip_bomb()),
        compressed(path, "zstd", &zstd_bomb),
        [b"GET / HTTP/1.1\r\n".to_vec(), b"X-Header: y\r\n".repeat(100_000)].concat(),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\xff\xff\xff\x04\x00\x00\x00\x00\x00".to_vec(),
    ]
}

fn msgpack_bomb() -> Vec<u8> {
    let packed = gzip_bomb();
    let length = (packed.len() as u32).to_be_bytes();
    [&[0x93, 0xa1, b't', 0xc6], &length[..], &packed, &[0x81, 0xaa], b"compressed", &[0xa4], b"gzip"].concat()
}

const LINE: &[u8] = b"an honest line that is about as long as most lines are in the logs of honest programs";

fn check(listener: &Listener) {
    let source = format!("{}\nmax_connections = {MAX_CONNECTIONS}", listener.source);
    let mut pipeline = Pipeline::with_source(Plan::default(), &source);
    pipeline.start_collectors();
    pipeline.start_adaptors();
    let address = pipeline.address_of("127.0.0.1:{port}");
    let (message, answer) = listener.honest;
    let honest = Honest::start(&address, message(), answer);
    let before = honest.rate();

    let over = Arc::new(AtomicBool::new(false));
    let mut attacks = Vec::new();
    for bytes in (listener.hostile)() {
        attacks.push(attack(&address, &over, move |socket, over| {
            let _ = socket.write_all(&bytes);
            let _ = socket.shutdown(Shutdown::Write);
            while !over.load(Ordering::Relaxed) && matches!(socket.read(&mut [0; 4096]), Ok(1..)) {}
        }));
    }
    // A byte a second, and as many connections as there are, ten times over.
    let slow = message();
    for _ in 0..MAX_CONNECTIONS * 10 {
        let slow = slow.clone();
        attacks.push(attack(&address, &over, move |socket, over| {
            for byte in slow.iter().take(20) {
                if over.load(Ordering::Relaxed) || socket.write_all(&[*byte]).is_err() {
                    return;
                }
                std::thread::sleep(Duration::from_secs(1));
            }
        }));
    }
    std::thread::sleep(Duration::from_millis(300));
    let kept = if env_number("LOGBOOM_ALONE", 0) == 1 { KEPT_ALONE } else { KEPT_IN_COMPANY };
    let keeps = |during: u64| during * 100 >= before * kept;
    let mut during = 0;
    for _ in 0..MEASUREMENTS {
        during = during.max(honest.rate());
        if keeps(during) {
            break;
        }
    }
    over.store(true, Ordering::Relaxed);
    honest.stop();
    let memory = memory_peak(pipeline.adaptors[0].node.pid());
    attacks.into_iter().for_each(|attack| attack.join().unwrap());
    println!("{before} messages a second, {during} under attack; {} MiB of memory at most", memory >> 20);
    assert!(memory < MEMORY_BYTES_MAX, "{memory} bytes of memory");
    assert!(keeps(during), "{before} messages a second became {during}");
}

fn attack(
    address: &str,
    over: &Arc<AtomicBool>,
    conduct: impl Fn(&mut TcpStream, &AtomicBool) + Send + 'static,
) -> std::thread::JoinHandle<()> {
    let (address, over) = (address.to_owned(), over.clone());
    std::thread::spawn(move || {
        while !over.load(Ordering::Relaxed) {
            let Ok(mut socket) = TcpStream::connect(&address) else { break };
            let _ = socket.set_read_timeout(Some(Duration::from_millis(500)));
            conduct(&mut socket, &over);
            std::thread::sleep(Duration::from_millis(200));
        }
    })
}

/// A client that keeps one connection and sends one message after the other.
struct Honest {
    sent: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<()>,
}

impl Honest {
    fn start(address: &str, message: Vec<u8>, answer: Option<&'static [u8]>) -> Self {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let (sent, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let thread = std::thread::spawn({
            let (sent, over) = (sent.clone(), over.clone());
            let mut received = vec![0; 64 << 10];
            move || {
                while !over.load(Ordering::Relaxed) {
                    socket.write_all(&message).unwrap();
                    if let Some(answer) = answer {
                        let length = socket.read(&mut received).unwrap();
                        let received = &received[..length];
                        assert!(received.starts_with(answer), "answered {}", received.escape_ascii());
                    }
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { sent, over, thread }
    }

    /// Messages a second from now on.
    fn rate(&self) -> u64 {
        assert!(!self.thread.is_finished(), "the honest client failed");
        let (before, begun) = (self.sent.load(Ordering::Relaxed), Instant::now());
        std::thread::sleep(MEASURED);
        let sent = self.sent.load(Ordering::Relaxed) - before;
        (sent as f64 / begun.elapsed().as_secs_f64()) as u64
    }

    fn stop(self) {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}

/// The most resident memory that the process has had, in bytes.
fn memory_peak(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    let kib: u64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib << 10
}

#[test]
fn lines_over_tcp() {
    check(&Listener {
        source: "type = \"tcp\"\nlisten = \"127.0.0.1:{port}\"\nformat = \"json\"",
        honest: (|| [LINE, b"\n{\"$ack\":1}\n"].concat(), Some(b"{\"$ack\":1,\"status\":\"ok\"")),
        hostile: || vec![vec![b'x'; 32 << 20], vec![b'\n'; 1 << 20], [b"[".repeat(1 << 20), b"\n".to_vec()].concat()],
    });
}

#[test]
fn scribe() {
    check(&Listener {
        source: "type = \"scribe\"\nlisten = \"127.0.0.1:{port}\"",
        honest: (|| encode::scribe(1, "honest", &[LINE]), Some(b"\0\0\0\x17\x80\x01\0\x02\0\0\0\x03Log")),
        hostile: || {
            let many = [
                &[0, 0, 0, 30, 0x80, 1, 0, 1, 0, 0, 0, 3][..],
                b"Log",
                &[0, 0, 0, 1, 15, 0, 1, 12, 0x7f, 0xff, 0xff, 0xff],
            ];
            vec![vec![0xff; 8], b"\x7f\xff\xff\xff".to_vec(), many.concat(), vec![0; 1 << 20]]
        },
    });
}

#[test]
fn forward() {
    check(&Listener {
        source: "type = \"forward\"\nlisten = \"127.0.0.1:{port}\"",
        honest: (|| encode::forward("honest", Some("c"), &[LINE]), Some(b"\x81\xa3ack\xa1c")),
        hostile: || {
            vec![
                b"\x93\xa1t\xdd\xff\xff\xff\xff".to_vec(),
                b"\xc6\xff\xff\xff\xff".to_vec(),
                b"\x91".repeat(1 << 20),
                msgpack_bomb(),
            ]
        },
    });
}

#[test]
fn http() {
    check(&Listener {
        source: "type = \"http\"\nlisten = \"127.0.0.1:{port}\"",
        honest: (|| encode::http("/v1/logs/honest", "text/plain", LINE), Some(b"HTTP/1.1 200 ")),
        hostile: || hostile_http("/v1/logs/hostile"),
    });
}

#[test]
fn otlp() {
    check(&Listener {
        source: "type = \"otlp\"\ngrpc_listen = \"\"\nhttp_listen = \"127.0.0.1:{port}\"",
        honest: (
            || encode::http("/v1/logs", "application/x-protobuf", &encode::otlp("honest", &[LINE])),
            Some(b"HTTP/1.1 200 "),
        ),
        hostile: || hostile_http("/v1/logs"),
    });
}

#[test]
fn syslog() {
    check(&Listener {
        source: "type = \"syslog\"\ntransport = \"tcp\"\nlisten = \"127.0.0.1:{port}\"",
        honest: (|| encode::syslog(LINE), None),
        hostile: || vec![b"9".repeat(1 << 20), b"99999999999999999999 <14>".to_vec(), vec![b'x'; 32 << 20]],
    });
}

#[test]
fn gelf() {
    check(&Listener {
        source: "type = \"gelf\"\ntransport = \"tcp\"\nlisten = \"127.0.0.1:{port}\"",
        honest: (|| encode::gelf(LINE), None),
        hostile: || vec![vec![b'x'; 32 << 20], [b"{\"a\":".repeat(1 << 18), vec![0]].concat()],
    });
}
