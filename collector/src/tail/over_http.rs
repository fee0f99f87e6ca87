//! The HTTP port, asked over a socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use logboom_config::{Collector as Settings, Tokens};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::tests::block;
use super::{Tail, bind};
use crate::door::Door;

struct Port {
    address: SocketAddr,
    tail: Tail,
    stop: CancellationToken,
    serving: JoinHandle<()>,
}

async fn open(token: Option<&str>) -> Port {
    let settings = Settings { http: Some(([127, 0, 0, 1], 0).into()), ..Settings::default() };
    let bound = bind(&settings).await.unwrap().unwrap();
    let (address, tail, stop) = (bound.address, Tail::default(), CancellationToken::new());
    let door = Door::open(&Settings { token: token.map(Tokens::of), ..settings }).unwrap();
    let serving = tokio::spawn(bound.serve(tail.clone(), Arc::new(door), stop.clone()));
    Port { address, tail, stop, serving }
}

impl Port {
    async fn ask(&self, head: &str) -> TcpStream {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        socket.write_all(head.replace('\n', "\r\n").as_bytes()).await.unwrap();
        socket
    }

    /// The whole of an answer that ends.
    async fn answer(&self, head: &str) -> String {
        let mut text = String::new();
        self.ask(head).await.read_to_string(&mut text).await.unwrap();
        text
    }
}

async fn read_until(socket: &mut TcpStream, what: &str) -> String {
    let mut seen = Vec::new();
    let read = async {
        let mut looked = 0;
        while !String::from_utf8_lossy(&seen[looked..]).contains(what) {
            looked = seen.len().saturating_sub(what.len());
            assert!(socket.read_buf(&mut seen).await.unwrap() > 0, "it ended: {:?}", String::from_utf8_lossy(&seen));
        }
    };
    tokio::time::timeout(Duration::from_secs(60), read).await.unwrap_or_else(|_| panic!("no {what}"));
    // A body may have been read halfway into a character.
    String::from_utf8_lossy(&seen).into_owned()
}

#[tokio::test]
async fn a_follower_sees_what_was_there_and_what_comes_until_the_collector_ends() {
    let port = open(None).await;
    for number in 1..=3 {
        port.tail.show(&block(number, &["a", "b"], 0));
    }
    let mut socket = port.ask("GET /tail?category=a&last=2 HTTP/1.1\nHost: localhost\n\n").await;
    let seen = read_until(&mut socket, "a 3").await;
    assert!(seen.starts_with("HTTP/1.1 200") && seen.contains("a 2") && !seen.contains("a 1"), "{seen}");
    port.tail.show(&block(4, &["b"], 0));
    port.tail.show(&block(5, &["a"], 0));
    let seen = read_until(&mut socket, "a 5").await;
    assert!(!seen.contains("b 4"), "{seen}");
    port.stop.cancel();
    let mut rest = String::new();
    socket.read_to_string(&mut rest).await.unwrap();
    assert!(rest.ends_with("0\r\n\r\n"), "the answer is whole: {rest}");
    port.serving.await.unwrap();
}

#[tokio::test]
async fn who_may_not_or_asks_wrongly_is_told() {
    let port = open(None).await;
    for (head, status) in [
        ("GET /health HTTP/1.1\nHost: 127.0.0.1:1\nConnection: close\n\n", "200"),
        ("GET / HTTP/1.1\nHost: [::1]:1\nConnection: close\n\n", "200"),
        ("GET /x HTTP/1.1\nHost: localhost\nConnection: close\n\n", "404"),
        ("POST /tail HTTP/1.1\nHost: localhost\nConnection: close\nContent-Length: 0\n\n", "405"),
        ("GET /tail?color=red HTTP/1.1\nHost: localhost\nConnection: close\n\n", "400"),
        ("GET /tail HTTP/1.1\nHost: evil.example\nConnection: close\n\n", "403"),
        ("GET /health HTTP/1.1\nHost: localhost\nOrigin: http://evil.example\nConnection: close\n\n", "403"),
    ] {
        let answer = port.answer(head).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{head}: {answer}");
    }
}

#[tokio::test]
async fn with_a_token_only_health_is_open() {
    let port = open(Some("open sesame")).await;
    let head = |path: &str, token: &str| {
        format!("GET {path} HTTP/1.1\nHost: logs.example.com\nConnection: close\nAuthorization: {token}\n\n")
    };
    for (path, token, status) in [
        ("/health", "none", "200"),
        ("/", "Bearer open sesame", "200"),
        ("/", "Bearer open", "401"),
        ("/tail", "Basic open sesame", "401"),
    ] {
        let answer = port.answer(&head(path, token)).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path} {token}: {answer}");
    }
}

#[tokio::test]
async fn a_follower_that_does_not_read_misses_records_and_is_told() {
    let port = open(None).await;
    let mut socket = port.ask("GET /tail HTTP/1.1\nHost: localhost\n\n").await;
    read_until(&mut socket, "200 OK").await;
    let large = block(1, &["a"], 1 << 20);
    for _ in 0..40 {
        port.tail.show(&large);
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let seen = read_until(&mut socket, "{\"missed\":").await;
    assert!(seen.len() > 1 << 20);
    port.stop.cancel();
}
