//! As much of HTTP/2 and gRPC as it takes to be honest or hostile in them, made by hand: RFC 9113, RFC 7541.

use std::io::{Read, Write};
use std::net::TcpStream;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// How a connection begins: with room for all that will ever be answered.
fn preface() -> Vec<u8> {
    let room = frame(WINDOW_UPDATE, 0, 0, &0x7fff_0000u32.to_be_bytes());
    [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(SETTINGS, 0, 0, &[]), &room].concat()
}

/// The headers of a call, no name or value longer than 126 bytes.
fn headers(encoding: &str) -> Vec<u8> {
    // `:method: POST` and `:scheme: http` are in the static table; then names in it, and names that are not.
    let mut block = vec![0x83, 0x86];
    let mut text = |name: &[u8], value: &str| {
        block.extend_from_slice(name);
        block.push(value.len() as u8);
        block.extend_from_slice(value.as_bytes());
    };
    text(&[0x04], "/opentelemetry.proto.collector.logs.v1.LogsService/Export");
    text(&[0x01], "localhost");
    text(&[0x0f, 0x10], "application/grpc");
    text(b"\0\x02te", "trailers");
    text(b"\0\x0dgrpc-encoding", encoding);
    block
}

fn call_with(stream: u32, encoding: &str, body: &[u8]) -> Vec<u8> {
    let mut call = frame(HEADERS, END_HEADERS, stream, &headers(encoding));
    let pieces: Vec<&[u8]> = body.chunks(16 << 10).collect();
    for (at, piece) in pieces.iter().enumerate() {
        call.extend(frame(DATA, if at + 1 == pieces.len() { END_STREAM } else { 0 }, stream, piece));
    }
    call
}

fn message(compressed: u8, length: u32, bytes: &[u8]) -> Vec<u8> {
    [&[compressed][..], &length.to_be_bytes(), bytes].concat()
}

/// Call number `n` of a connection, from 0: the first begins it.
pub fn call(n: u32, request: &[u8]) -> Vec<u8> {
    let call = call_with(2 * n + 1, "identity", &message(0, request.len() as u32, request));
    if n == 0 { [preface(), call].concat() } else { call }
}

/// Reads to the end of the answer to call `n`, which is a success.
pub fn read_answer(socket: &mut TcpStream, n: u32) {
    let mut answered = false;
    loop {
        let mut head = [0; 9];
        socket.read_exact(&mut head).unwrap();
        let [a, b, c, kind, flags, stream @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        socket.read_exact(&mut payload).unwrap();
        match kind {
            SETTINGS | PING if flags & ACK == 0 => {
                let acknowledged = if kind == PING { &payload[..] } else { &[] };
                socket.write_all(&frame(kind, ACK, 0, acknowledged)).unwrap();
            }
            GOAWAY | RST_STREAM => panic!("the honest client is sent away: {}", payload.escape_ascii()),
            // What is refused has no message.
            DATA => answered = true,
            HEADERS if flags & END_STREAM != 0 && u32::from_be_bytes(stream) == 2 * n + 1 => {
                assert!(answered, "the honest client is refused");
                return;
            }
            _ => {}
        }
    }
}

/// What is hostile to a listener for gRPC, the bombs being so many bytes of gzip and of Zstandard.
pub fn hostile(gzip_bomb: &[u8], zstd_bomb: &[u8]) -> Vec<Vec<u8>> {
    let begun = |rest: Vec<u8>| [preface(), rest].concat();
    let streams = |count: u32| (0..count).map(|n| 2 * n + 1);
    let open = |stream| frame(HEADERS, END_HEADERS, stream, &headers("identity"));
    let block = headers("identity");
    vec![
        // Lengths that are lies.
        begun(call_with(1, "identity", &message(0, u32::MAX, b"x"))),
        begun(vec![0xff, 0xff, 0xff, DATA, 0, 0, 0, 0, 1]),
        // Bombs.
        begun(call_with(1, "gzip", &message(1, gzip_bomb.len() as u32, gzip_bomb))),
        begun(call_with(1, "zstd", &message(1, zstd_bomb.len() as u32, zstd_bomb))),
        // Streams that are reset at once: CVE-2023-44487.
        begun(streams(5000).flat_map(|n| [open(n), frame(RST_STREAM, 0, n, &[0, 0, 0, 8])].concat()).collect()),
        // A head without an end: CVE-2024-27316.
        begun(
            [
                frame(HEADERS, 0, 1, &block),
                frame(CONTINUATION, 0, 1, &[0x40, 1, b'x', 1, b'y'].repeat(3000)).repeat(64),
            ]
            .concat(),
        ),
        // Frames that ask for answers which nobody reads.
        begun(frame(SETTINGS, 0, 0, &[]).repeat(5000)),
        begun(frame(PING, 0, 0, &[7; 8]).repeat(5000)),
        // As many streams as there may be, on which nothing comes.
        begun(streams(64).flat_map(open).collect()),
        // Small names that stand for much, again and again.
        begun([&[0x40, 1, b'x', 126][..], &[b'y'; 126], &[0xbe].repeat(16_000)].concat()),
    ]
}
