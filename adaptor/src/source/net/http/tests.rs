//! The bounds and deadlines that every HTTP listener has.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use logboom_config::Tokens;
use logboom_security::Live;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::testing::Client;
use super::*;
use crate::source::testing::{A_WHILE, PATIENCE, any_port};

/// A listener that answers with what it was sent.
struct Echo {
    address: SocketAddr,
    door: Arc<Door>,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

const QUICK: Limits = Limits {
    ratio_max: 500,
    body_max: 100_000,
    head: Duration::from_millis(200),
    body: Duration::from_millis(300),
    write: Duration::from_millis(300),
};

impl Echo {
    async fn with(limits: Limits, idle: Duration) -> Self {
        let listener = TcpListener::bind(any_port()).await.unwrap();
        let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
        let door = Door::new("echo", Arc::default(), limits);
        let allowed = Allowed { connections: 10, idle };
        let handler = |mut ask: Ask| async move {
            match ask.head.uri.path() {
                "/large" => return text(StatusCode::OK, "text/plain", vec![b'x'; 64 << 20]),
                "/slow" => sleep(A_WHILE).await,
                _ => {}
            }
            match ask.body().await {
                Ok(body) => text(StatusCode::OK, "text/plain", body),
                Err(refusal) => {
                    ask.discard().await;
                    refusal.response()
                }
            }
        };
        let listener = Listener::Tcp(listener, None);
        let running = tokio::spawn(serve_http(listener, allowed, door.clone(), stop.clone(), handler));
        Self { address, door, stop, running }
    }

    async fn new(limits: Limits) -> Self {
        Self::with(limits, Duration::ZERO).await
    }

    async fn raw(&self, bytes: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    }

    async fn both(&self) -> [Client; 2] {
        [Client::http1(self.address).await, Client::http2(self.address).await]
    }
}

/// What comes until the end of the connection.
async fn rest(mut stream: TcpStream) -> String {
    let mut bytes = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await.expect("an end in time");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn both_versions_are_served_on_one_port_whatever_the_pieces_that_requests_come_in() {
    let echo = Echo::new(Limits::default()).await;
    for mut client in echo.both().await {
        for body in ["one".to_owned(), String::new(), "long".repeat(200_000)] {
            let reply = client.post("/", "text/plain", body.clone()).await;
            assert_eq!((reply.status, reply.text() == body), (StatusCode::OK, true));
        }
    }
    let mut stream = echo.raw(b"").await;
    for byte in
        b"POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::consume_budget().await;
    }
    let reply = rest(stream).await;
    assert!(reply.starts_with("HTTP/1.1 200 OK") && reply.ends_with("\r\n\r\nabc"), "{reply}");
}

#[tokio::test]
async fn a_body_is_decompressed_and_never_beyond_the_limit() {
    let echo = Echo::new(QUICK).await;
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
    for mut client in echo.both().await {
        let reply = client.ask("POST", "/", &[("content-encoding", "zstd")], zstd(b"text")).await.unwrap();
        assert_eq!(reply.text(), "text");
        let reply = client.ask("POST", "/", &[("content-encoding", "zstd")], zstd(&[0; 100_001])).await.unwrap();
        assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
        let reply = client.ask("POST", "/", &[("content-encoding", "gzip")], "no gzip").await.unwrap();
        assert_eq!(reply.status, StatusCode::BAD_REQUEST);
        for encoding in ["br", "gzip, zstd"] {
            let reply = client.ask("POST", "/", &[("content-encoding", encoding)], "x").await.unwrap();
            assert_eq!(reply.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        }
        assert_eq!(client.post("/", "", vec![0; 100_000]).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_in_words_that_its_sender_gets_to_read() {
    let echo = Echo::new(QUICK).await;
    for mut client in echo.both().await {
        let reply = client.post("/", "", vec![0; 5_000_000]).await;
        assert_eq!(reply.status, StatusCode::PAYLOAD_TOO_LARGE);
        assert!(reply.text().contains("more than 100000 bytes"), "{}", reply.text());
    }
    let declared = b"POST / HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 99999999999\r\n\r\n";
    assert!(rest(echo.raw(declared).await).await.starts_with("HTTP/1.1 413"));
    let mut chunked = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    for _ in 0..20 {
        chunked.extend_from_slice(b"2000\r\n");
        chunked.extend_from_slice(&[b'x'; 0x2000]);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    let mut stream = echo.raw(&chunked).await;
    let mut begun = [0; 12];
    stream.read_exact(&mut begun).await.unwrap();
    assert_eq!(&begun, b"HTTP/1.1 413");
    assert_eq!(echo.door.room.available_permits(), BODIES_BYTES, "memory is given back");
}

#[tokio::test]
async fn a_client_that_dawdles_is_sent_away() {
    let echo = Echo::new(QUICK).await;
    let head = async {
        let mut stream = echo.raw(b"POST /").await;
        for _ in 0..100 {
            if stream.write_all(b"x").await.is_err() {
                break;
            }
            sleep(Duration::from_millis(20)).await;
        }
        rest(stream).await
    };
    let body = async { rest(echo.raw(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc").await).await };
    let reader = async {
        let mut stream = echo.raw(b"POST /large HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n\r\n").await;
        sleep(Duration::from_secs(1)).await;
        let mut bytes = Vec::new();
        let _ = stream.read_to_end(&mut bytes).await;
        bytes.len()
    };
    let started = Instant::now();
    let (head, body, read) = tokio::join!(head, body, reader);
    assert_eq!(head, "");
    assert!(body.starts_with("HTTP/1.1 408"), "{body}");
    assert!(read < 64 << 20, "{read}");
    assert!(started.elapsed() < PATIENCE / 2);
    assert_eq!(echo.door.counters.messages_refused.get(), 2);
}

#[tokio::test]
async fn a_connection_may_be_idle_as_long_as_it_may_and_no_longer() {
    let echo = Echo::new(QUICK).await;
    let patient = Echo::with(QUICK, Duration::from_millis(300)).await;
    for mut client in echo.both().await {
        client.get("/").await;
        sleep(QUICK.head * 2).await;
        assert_eq!(client.get("/").await.status, StatusCode::OK);
    }
    let mut clients = patient.both().await;
    for client in &mut clients {
        client.get("/slow").await;
    }
    sleep(Duration::from_millis(800)).await;
    for client in &mut clients {
        assert!(client.ask("GET", "/", &[], "").await.is_err());
    }
    assert_eq!(patient.door.counters.connections_idle.get(), 2);
}

#[tokio::test]
async fn a_stopped_listener_answers_what_was_asked_and_ends() {
    let echo = Echo::new(Limits::default()).await;
    let [mut one, mut two] = echo.both().await;
    let idle = echo.raw(b"").await;
    let (one, two, ()) = tokio::join!(one.get("/slow"), two.get("/slow"), async {
        sleep(A_WHILE / 3).await;
        echo.stop.cancel();
    });
    assert_eq!([one.status, two.status], [StatusCode::OK; 2]);
    timeout(PATIENCE / 4, echo.running).await.unwrap().unwrap();
    assert_eq!(rest(idle).await, "");
}

#[tokio::test]
async fn a_stopped_listener_reads_what_was_sent() {
    let echo = Echo::new(Limits::default()).await;
    let stream = echo.raw(b"").await;
    sleep(A_WHILE).await;
    stream.try_write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    echo.stop.cancel();
    assert!(rest(stream).await.starts_with("HTTP/1.1 200"));
    timeout(PATIENCE / 4, echo.running).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_stopped_listener_does_not_wait_for_a_body_that_does_not_come() {
    let echo = Echo::new(Limits::default()).await;
    let stream = echo.raw(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc").await;
    sleep(A_WHILE).await;
    echo.stop.cancel();
    timeout(PATIENCE / 4, echo.running).await.unwrap().unwrap();
    assert!(rest(stream).await.starts_with("HTTP/1.1 408"));
}

#[tokio::test]
async fn bodies_share_a_memory_that_is_bounded() {
    let echo = Echo::new(Limits { body: PATIENCE, ..QUICK }).await;
    let all = echo.door.room.clone().acquire_many_owned(BODIES_BYTES as u32 - (8 << 10)).await.unwrap();
    let slow = echo.raw(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 10000\r\n\r\nabc").await;
    sleep(A_WHILE).await;
    assert_eq!(echo.door.room.available_permits(), 4 << 10, "what is declared takes no memory");
    let mut client = Client::http1(echo.address).await;
    let reply = client.post("/", "", vec![0; 50_000]).await;
    assert_eq!((reply.status, reply.header("retry-after")), (StatusCode::SERVICE_UNAVAILABLE, "1"));
    drop((all, slow));
    let mut client = Client::http1(echo.address).await;
    assert_eq!(client.post("/", "", vec![0; 50_000]).await.status, StatusCode::OK);
}

#[tokio::test]
async fn what_is_no_http_ends_its_connection_and_no_other() {
    let echo = Echo::new(QUICK).await;
    let mut client = Client::http1(echo.address).await;
    client.get("/").await;
    let mut preface = PREFACE.to_vec();
    preface.extend_from_slice(&[0xff; 100]);
    for bytes in
        [&b"\x16\x03\x01\x02\x00\x01\x00\x01"[..], b"{\"a\":1}\n", b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", &preface]
    {
        rest(echo.raw(bytes).await).await;
    }
    let mut long = b"GET / HTTP/1.1\r\nx: ".to_vec();
    long.extend_from_slice(&vec![b'y'; 200_000]);
    rest(echo.raw(&long).await).await;
    assert_eq!(client.get("/").await.status, StatusCode::OK);
}

#[test]
fn a_token_may_be_shown_in_every_way_that_clients_have() {
    let token = Live::fixed(Tokens::of("swordfish"));
    let shows = |value: &str| {
        let mut headers = hyper::HeaderMap::new();
        headers.insert("authorization", value.parse().unwrap());
        authorized(&headers, Some(&token))
    };
    // "anyone:swordfish", "swordfish", "anyone:sword".
    for value in [
        "Bearer swordfish",
        "bearer  swordfish",
        "Splunk swordfish",
        "ApiKey swordfish",
        "Basic YW55b25lOnN3b3JkZmlzaA==",
    ] {
        assert!(shows(value), "{value}");
    }
    for value in
        ["swordfish", "Bearer", "Bearer swordfis", "Digest swordfish", "Basic c3dvcmRmaXNo", "Basic YW55b25lOnN3b3Jk"]
    {
        assert!(!shows(value), "{value}");
    }
    assert!(!authorized(&hyper::HeaderMap::new(), Some(&token)));
    assert!(authorized(&hyper::HeaderMap::new(), None));
}
