//! Real sockets, against a writer that can be held back.

use std::io::Write;
use std::net::SocketAddr;

use flate2::write::ZlibEncoder;
use logboom_config::{GelfSource, Source, SourceKind, TcpSource, Transport, UdpSource};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::source::testing::{PATIENCE, Rig, Seen, context, every_split, free_address, fuzz, gzip, taken};

use super::*;

impl Rig {
    async fn udp_gelf(&self, max_frame: usize) -> (UdpSocket, JoinHandle<()>) {
        let address = free_address();
        let settings = GelfSource { transport: Transport::Udp(UdpSource::at(address)), max_frame, max_ratio: 500 };
        let running = self.open(Source::new("in", SourceKind::Gelf(settings))).await;
        let client = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        client.connect(address).await.unwrap();
        (client, running)
    }

    async fn tcp_gelf(&self, max_frame: usize) -> (SocketAddr, JoinHandle<()>) {
        let address = free_address();
        let settings = GelfSource { transport: Transport::Tcp(TcpSource::at(address)), max_frame, max_ratio: 500 };
        (address, self.open(Source::new("in", SourceKind::Gelf(settings))).await)
    }
}

fn zlib(bytes: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), flate2::Compression::new(level));
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

fn message(body: &str) -> String {
    serde_json::json!({"version": "1.1", "host": "h", "short_message": body, "_n": 1}).to_string()
}

fn seen(body: &str) -> Seen {
    Seen::new("in", body).with("gelf.version", "1.1").with("gelf.host", "h").with("n", "1")
}

/// `bytes` in chunks, the last first.
fn chunked(bytes: &[u8], id: u8, size: usize) -> Vec<Vec<u8>> {
    let count = bytes.len().div_ceil(size);
    let chunk = |(at, piece): (usize, &[u8])| [&[0x1e, 0x0f], &[id; 8][..], &[at as u8, count as u8], piece].concat();
    bytes.chunks(size).enumerate().map(chunk).rev().collect()
}

const MAX_FRAME: usize = 16 << 20;

#[tokio::test]
async fn datagrams_are_messages_plain_compressed_and_in_chunks() {
    let rig = Rig::new();
    let (client, running) = rig.udp_gelf(MAX_FRAME).await;
    // Text that does not compress to nothing.
    let large: String = (0..100_000u64).map(|n| char::from(b'!' + (n * n * 7919 % 89) as u8)).collect();
    let small = message("two\nlines \0 é");
    let mut sent = vec![small.clone().into_bytes(), format!("{small}\0").into_bytes(), gzip(small.as_bytes())];
    sent.extend((0..10).map(|level| zlib(small.as_bytes(), level)));
    sent.extend(chunked(message(&large).as_bytes(), 1, 8000));
    sent.extend(chunked(&gzip(message(&large).as_bytes()), 2, 1420));
    sent.extend(chunked(&zlib(message("").as_bytes(), 6), 3, 10));
    for datagram in &sent {
        client.send(datagram).await.unwrap();
    }
    let records = rig.records(16).await;
    assert!(records[..13].iter().all(|record| *record == seen("two\nlines \0 é")), "{records:?}");
    assert!(records[13] == seen(&large) && records[14] == seen(&large));
    assert_eq!(records[15], seen(""));
    rig.stop(running).await;
    assert_eq!(rig.context.counters.report(), "records_in=16 bytes_in=200182");
}

#[tokio::test]
async fn what_cannot_be_read_is_kept_and_what_is_too_large_is_refused() {
    let rig = Rig::new();
    let (client, running) = rig.udp_gelf(64 << 10).await;
    let mut damaged = gzip(message("x").as_bytes());
    damaged.truncate(30);
    for datagram in [b"no JSON".to_vec(), b"\xff{}".to_vec(), damaged, b"{}".to_vec()] {
        client.send(&datagram).await.unwrap();
    }
    let records = rig.records(4).await;
    for (record, reason) in records.iter().zip(["expected", "UTF-8", "decompressed", "neither"]) {
        assert!(record.attributes["logboom.parse_error"].contains(reason), "{record:?}");
    }
    assert_eq!(records[0].body, "no JSON");
    let bomb = gzip(&vec![b' '; 1 << 20]);
    let refused = [bomb, b"\x1e\x0f".to_vec(), [&b"\x1e\x0f12345678\x05\x05"[..], b"x"].concat()];
    for datagram in &refused {
        client.send(datagram).await.unwrap();
    }
    for chunk in &chunked(&[b'x'; 100_000], 1, 8000)[..9] {
        client.send(chunk).await.unwrap();
    }
    client.send(b"\x1e\x0f87654321\x00\x02lost").await.unwrap();
    client.send(message("last").as_bytes()).await.unwrap();
    assert_eq!(rig.records(5).await[4], seen("last"));
    rig.stop(running).await;
    let counters = &rig.context.counters;
    assert_eq!((counters.lines_unparsed.get(), counters.messages_refused.get()), (4, 4));
    assert_eq!(counters.messages_incomplete.get(), 1);
}

#[tokio::test]
async fn messages_on_tcp_end_with_a_nul_and_the_last_with_the_connection() {
    let rig = Rig::new();
    let (address, running) = rig.tcp_gelf(MAX_FRAME).await;
    let mut client = TcpStream::connect(address).await.unwrap();
    let large = "é\n".repeat(300_000);
    for body in ["", "two\nlines \0", &large] {
        client.write_all(format!("{}\0", message(body)).as_bytes()).await.unwrap();
    }
    client.write_all(format!("\0\0{}", message("last")).as_bytes()).await.unwrap();
    drop(client);
    let records = rig.records(4).await;
    assert!(records == [seen(""), seen("two\nlines \0"), seen(&large), seen("last")]);
    rig.stop(running).await;
}

#[tokio::test]
async fn a_message_on_tcp_beyond_the_limit_ends_its_connection_and_no_other() {
    let rig = Rig::new();
    let (address, running) = rig.tcp_gelf(64 << 10).await;
    let mut honest = TcpStream::connect(address).await.unwrap();
    let text = message("honest");
    let (first, second) = text.split_at(9);
    honest.write_all(first.as_bytes()).await.unwrap();
    let mut client = TcpStream::connect(address).await.unwrap();
    let _ = client.write_all(&[b' '; 70 << 10]).await;
    let end = timeout(PATIENCE, client.read(&mut [0; 1])).await.unwrap();
    assert!(matches!(end, Ok(0) | Err(_)));
    honest.write_all(second.as_bytes()).await.unwrap();
    honest.write_all(b"\0").await.unwrap();
    assert_eq!(rig.records(1).await, [seen("honest")]);
    assert_eq!(rig.context.counters.messages_refused.get(), 1);
    rig.stop(running).await;
}

#[tokio::test]
async fn a_full_spool_refuses_and_counts() {
    let rig = Rig::new();
    let (client, running) = rig.udp_gelf(MAX_FRAME).await;
    rig.context.intake.refuse_all(true);
    client.send(message("x").as_bytes()).await.unwrap();
    rig.stop(running).await;
    assert_eq!(rig.context.counters.records_refused_full.get(), 1);
}

/// The records of a connection that brings `pieces`, and whether it was refused at last.
fn decoded(inlet: &Arc<Inlet>, pieces: &[&[u8]]) -> (Vec<Seen>, bool) {
    let (mut flow, mut chunk) = (Flow::new(inlet, 1000), Chunk::default());
    let refused = pieces.iter().any(|piece| flow.push(piece, 7, &mut chunk).is_err());
    if !refused {
        flow.finish(7, &mut chunk);
    }
    let seen = if chunk.is_empty() { Vec::new() } else { taken(&inlet.context().intake, chunk) };
    (seen, refused)
}

fn inlet() -> Arc<Inlet> {
    Inlet::new(Source::new("in", SourceKind::Gelf(GelfSource::default())), context())
}

#[test]
fn any_split_of_the_bytes_of_a_connection_gives_the_same_records() {
    let inlet = inlet();
    let bytes = [message("a").as_bytes(), b"\0\0plain\0", message("é\n").as_bytes(), b"\0{\"half"].concat();
    let whole = decoded(&inlet, &[&bytes]);
    assert_eq!((whole.0.len(), whole.1), (4, false));
    every_split(&bytes, |pieces| assert_eq!(decoded(&inlet, pieces), whole));
}

#[test]
fn no_datagrams_and_no_bytes_of_a_connection_make_it_panic() {
    let inlet = inlet();
    let counters = inlet.context().counters.clone();
    let bounds = Bounds { bytes_max: 1000, ratio_max: 500 };
    let mut packets = Packets { messages: Messages::new(&inlet), chunks: Chunks::default(), bounds, counters };
    let text = message("a");
    let (zipped, deflated) = (gzip(text.as_bytes()), zlib(text.as_bytes(), 6));
    let chunks = chunked(&zipped, 1, 40);
    let mut corpus: Vec<&[u8]> = vec![text.as_bytes(), &zipped, &deflated, b"\0{}\0\0x"];
    corpus.extend(chunks.iter().map(Vec::as_slice));
    let now = Instant::now();
    fuzz(&corpus, |bytes| {
        let mut chunk = Chunk::default();
        packets.take(&Datagram { bytes, peer: None, observed: 7 }, now, &mut chunk);
        assert!(chunk.records() <= 1);
        let (a, b) = bytes.split_at(bytes.len() / 2);
        assert_eq!(decoded(&inlet, &[a, b]), decoded(&inlet, &[bytes]));
    });
}
