//! A client that keeps one connection and sends one message after the other.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::http2;

/// What the client waits for before it sends the next message.
#[derive(Clone, Copy)]
pub enum Answer {
    /// Nothing.
    None,
    /// An answer that begins so.
    Begins(&'static [u8]),
    /// The end of a successful call of gRPC. The messages are those of [`http2::call`].
    Grpc,
}

pub struct Honest {
    sent: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Honest {
    /// `message` makes message N, from 0.
    pub fn start(address: &str, message: impl Fn(u32) -> Vec<u8> + Send + 'static, answer: Answer) -> Self {
        let mut socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let (sent, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let thread = std::thread::spawn({
            let (sent, over) = (sent.clone(), over.clone());
            let mut received = vec![0; 64 << 10];
            move || {
                for n in 0.. {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    socket.write_all(&message(n)).unwrap();
                    match answer {
                        Answer::None => {}
                        Answer::Begins(answer) => {
                            let length = socket.read(&mut received).unwrap();
                            let received = &received[..length];
                            assert!(received.starts_with(answer), "answered {}", received.escape_ascii());
                        }
                        Answer::Grpc => http2::read_answer(&mut socket, n),
                    }
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            }
        });
        Self { sent, over, thread }
    }

    /// Messages that are sent within about `time` from now on, and how long it was.
    pub fn measure(&self, time: Duration) -> (u64, Duration) {
        assert!(!self.thread.is_finished(), "the honest client failed");
        let (before, begun) = (self.sent.load(Ordering::Relaxed), Instant::now());
        std::thread::sleep(time);
        (self.sent.load(Ordering::Relaxed) - before, begun.elapsed())
    }

    pub fn stop(self) {
        self.over.store(true, Ordering::Relaxed);
        self.thread.join().unwrap();
    }
}
