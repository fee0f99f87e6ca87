//! Peers that speak something else, nothing at all, or the wrong token again and again.

use std::io::{self, Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use serde_json::json;

use super::Secured;
use crate::harness::{PATIENCE, Pipeline, Plan};

/// What a collector gives a peer for its handshake, and a little.
const HANDSHAKE_MAX: Duration = Duration::from_secs(14);

#[test]
fn who_speaks_in_the_clear_where_tls_is_spoken_is_told_so() {
    let mut secured = Secured::new(Plan::default());
    secured.edit("adaptor", super::ADAPTOR, "");
    secured.start();
    secured.pipeline.adaptors[0].node.wait_for("refused (Tls): this port speaks TLS; see `tls_ca_file`", PATIENCE);
    let collector = &secured.pipeline.collectors[0].node;
    collector.wait_for("reason=\"handshake\" refused=1 why=\"it speaks in the clear, where TLS is spoken\"", PATIENCE);
}

#[test]
fn who_speaks_tls_where_it_is_not_spoken_is_told_so() {
    let mut secured = Secured::new(Plan::default());
    let settings = std::fs::read_to_string(secured.file("collector-0.toml")).unwrap();
    let (head, tail) = (settings.split_once("tls_cert_file").unwrap().0, settings.rsplit_once("[sink]\n").unwrap().1);
    std::fs::write(secured.file("collector-0.toml"), format!("{head}[sink]\n{tail}")).unwrap();
    secured.start();
    secured.pipeline.adaptors[0].node.wait_for("no TLS with the collector: the peer does not speak TLS", PATIENCE);
    let said = "reason=\"handshake\" refused=1 why=\"it speaks TLS, which needs `collector.tls_cert_file` here\"";
    secured.pipeline.collectors[0].node.wait_for(said, PATIENCE);
}

#[test]
fn who_never_gets_done_with_its_handshake_is_hung_up_on() {
    let mut secured = Secured::new(Plan::default());
    secured.pipeline.start_collectors();
    let address = format!("127.0.0.1:{}", secured.pipeline.collectors[0].port);
    // Nothing at all; the first byte of a handshake; and the head of a message that does not come.
    let begun = Instant::now();
    let mut sockets = [&b""[..], b"\x16", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"].map(|bytes| {
        let mut socket = TcpStream::connect(&address).unwrap();
        socket.write_all(bytes).unwrap();
        socket.set_read_timeout(Some(HANDSHAKE_MAX)).unwrap();
        socket
    });
    for socket in &mut sockets {
        let ended = socket.read(&mut [0; 100]);
        let is_timeout = ended.as_ref().is_err_and(|error| matches!(error.kind(), io::ErrorKind::WouldBlock));
        assert!(!is_timeout && begun.elapsed() < HANDSHAKE_MAX, "{ended:?} after {:?}", begun.elapsed());
    }
    let collector = &secured.pipeline.collectors[0].node;
    collector.wait_for("refused=3 why=\"it does not say hello in time\"", PATIENCE);
}

/// Says hello with `token` from an address of this machine. The answer; an error if there is none.
fn hello(from: [u8; 4], port: u16, token: &str) -> io::Result<String> {
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    bind(&socket, &SocketAddrV4::new(from.into(), 0))?;
    connect(&socket, &SocketAddrV4::new([127, 0, 0, 1].into(), port))?;
    let mut stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let hello = json!({ "type": "hello", "version": 1, "token": token, "host": "h", "agent": "test" }).to_string();
    stream.write_all(&(hello.len() as u32 + 1).to_be_bytes())?;
    stream.write_all(format!("C{hello}").as_bytes())?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[test]
fn who_shows_a_wrong_token_again_and_again_has_to_wait_and_nobody_else_does() {
    let mut pipeline = Pipeline::new(Plan {
        collector: "flush_interval = \"200ms\"\nhttp = \"\"\n[[collector.client]]\nname = \"a\"\ntoken_hash = \
                    \"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"\n",
        ..Plan::default()
    });
    pipeline.start_collectors();
    let port = pipeline.collectors[0].port;
    let (bad, good) = ([127, 0, 0, 2], [127, 0, 0, 3]);
    for attempt in 0..8 {
        let answer = hello(bad, port, "abcd").unwrap();
        assert!(answer.contains("refused") && answer.contains("nobody is known"), "{attempt}: {answer}");
        if attempt >= 5 {
            assert!(hello(bad, port, "abc").is_err(), "even with the right token");
            assert!(hello(good, port, "abc").unwrap().contains("welcome"), "another peer does not wait");
            // 1 s, 2 s, 4 s.
            std::thread::sleep(Duration::from_millis(1050) * (1 << (attempt - 5)));
        }
    }
    assert!(hello(bad, port, "abc").unwrap().contains("welcome"));
    // That is forgiven, so it may fail some more.
    assert!(hello(bad, port, "").unwrap().contains("it shows no token"));
    assert!(hello(bad, port, "abc").unwrap().contains("welcome"));
    assert!(pipeline.collectors[0].node.log().contains("reason=\"token\" refused=8"));
}
