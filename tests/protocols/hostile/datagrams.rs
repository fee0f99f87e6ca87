//! Hostile datagrams: nobody can be shut out, and what the kernel has no room for is lost. So the honest client sends at a
//! steady pace, the attackers send what costs much for its size, and most of what is honest must come through.

use std::net::UdpSocket;
use std::time::Duration;

use logboom_bench::encode;

use super::attack::Attack;
use super::{LINE, MEMORY_BYTES_MAX, gzip_bomb, kept_at_least, memory_peak};
use crate::harness::{PATIENCE, Pipeline, Plan, wait_until};

/// What the honest client sends: so many at a time, so often, so many times.
const BATCH: usize = 10;
const PAUSE: Duration = Duration::from_millis(20);
const BATCHES: usize = 300;
/// How often each attacker sends.
const ATTACK_PAUSE: Duration = Duration::from_millis(50);

/// `hostile` makes datagram N of each attacker.
type Hostile = fn(u64) -> Vec<u8>;

fn check(source: &str, honest: Vec<u8>, hostile: &[Hostile]) {
    let mut pipeline = Pipeline::with_source(Plan::default(), source);
    pipeline.start_collectors();
    pipeline.start_adaptors();
    let address = pipeline.address_of("127.0.0.1:{port}");
    let mut attack = Attack::new();
    for &datagram in hostile {
        let (socket, address) = (UdpSocket::bind("127.0.0.1:0").unwrap(), address.clone());
        let mut sent = 0;
        attack.add(move |switch| {
            while switch.rest(ATTACK_PAUSE) {
                let _ = socket.send_to(&datagram(sent), &address);
                sent += 1;
            }
        });
    }
    attack.turn(true);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..BATCHES {
        for _ in 0..BATCH {
            socket.send_to(&honest, &address).unwrap();
        }
        std::thread::sleep(PAUSE);
    }
    attack.end();
    let memory = memory_peak(pipeline.adaptors[0].node.pid());
    let mut arrived = 0;
    let mut before = usize::MAX;
    wait_until("nothing more arrives", PATIENCE, || {
        std::thread::sleep(Duration::from_secs(1));
        arrived = pipeline.rows().iter().filter(|row| *row == LINE).count();
        std::mem::replace(&mut before, arrived) == arrived
    });
    let kept = 100 * arrived / (BATCH * BATCHES);
    println!("{kept} % of the honest datagrams arrive under attack; {} MiB of memory at most", memory >> 20);
    assert!(memory < MEMORY_BYTES_MAX, "{memory} bytes of memory");
    assert!(kept as u64 >= kept_at_least(), "{kept} % of the honest datagrams arrived");
}

fn gelf_chunk(id: u64, at: u8, count: u8, piece: &[u8]) -> Vec<u8> {
    [&[0x1e, 0x0f], &id.to_be_bytes()[..], &[at, count], piece].concat()
}

#[test]
fn gelf_over_udp() {
    let honest = encode::gelf(LINE);
    check(
        "type = \"gelf\"\nlisten = \"127.0.0.1:{port}\"",
        honest.strip_suffix(b"\0").unwrap_or(&honest).to_vec(),
        &[
            // Messages that never end: 1024 of them are held at most, and 32 MiB.
            |n| gelf_chunk(n, 0, 128, &[b'x'; 8000]),
            |n| gelf_chunk(n, 127, 128, b""),
            |n| gelf_chunk(n / 127, (n % 127) as u8, 128, &[b'y'; 8000]),
            |n| gelf_chunk(n, n as u8, (n >> 8) as u8, b"{}"),
            |_| gzip_bomb()[..60_000].to_vec(),
            |_| [b"{\"a\":".repeat(10_000), vec![0]].concat(),
            |_| vec![b'['; 60_000],
        ],
    );
}

#[test]
fn syslog_over_udp() {
    check(
        "type = \"syslog\"\nlisten = \"127.0.0.1:{port}\"",
        [b"<14>1 - - - - - - ", LINE].concat(),
        &[
            |_| b"<".repeat(60_000),
            |_| b"<99999999999999999999>1 - - - - - - x".to_vec(),
            |_| [b"<14>1 - - - - - [".to_vec(), b"a".repeat(60_000)].concat(),
            |_| [b"<14>1 - - - - - [a".to_vec(), b" b=\"\\\\\"".repeat(7_000)].concat(),
            |_| [b"<14>1 - - - - - ".to_vec(), b"[a b=\"c\"]".repeat(6_000)].concat(),
            |n| n.to_be_bytes().repeat(7_000),
            |_| Vec::new(),
        ],
    );
}
