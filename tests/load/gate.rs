//! A gate stands between adaptors and one collector. It passes bytes on as they are, and meanwhile notes whose blocks the
//! collector takes; it can go silent with its connections open, as a network does, and can be narrow.

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use logboom_wire::message::{CONTROL_BYTES_MAX, ToAdaptor, ToCollector};
use rustix::net::sockopt::set_socket_recv_buffer_size;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

/// What the kernel may hold for a gate that does not read: no more than a network would.
const BUFFER_BYTES: usize = 32 << 10;

/// Where every adaptor has its blocks taken now.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<BTreeMap<String, Served>>>);

/// A connection of which the collector has taken a block.
#[derive(Clone, Copy, Debug)]
pub struct Served {
    /// Index of the gate.
    pub gate: usize,
    /// When the first block was taken.
    pub since: Instant,
}

impl Board {
    /// The newest connection of each adaptor, by host.
    pub fn served(&self) -> BTreeMap<String, Served> {
        self.0.lock().unwrap().clone()
    }
}

/// See the module. It works until the test process ends.
pub struct Gate {
    silent: Arc<AtomicBool>,
}

/// What all connections through one gate share.
#[derive(Clone)]
struct Shared {
    index: usize,
    upstream: u16,
    board: Board,
    silent: Arc<AtomicBool>,
    /// Bytes a second towards the collector, and when the next may pass.
    narrow: Option<(u64, Arc<Mutex<Instant>>)>,
}

impl Gate {
    /// Opens gate `index` at `port`, before the collector at `upstream`. `bytes_per_second` is what it passes towards the
    /// collector.
    pub fn open(index: usize, port: u16, upstream: u16, board: &Board, bytes_per_second: Option<u64>) -> Self {
        let silent = Arc::new(AtomicBool::new(false));
        let narrow = bytes_per_second.map(|rate| (rate, Arc::new(Mutex::new(Instant::now()))));
        let shared = Shared { index, upstream, board: board.clone(), silent: silent.clone(), narrow };
        let listener = std::net::TcpListener::bind(("127.0.0.1", port)).unwrap();
        set_socket_recv_buffer_size(&listener, BUFFER_BYTES).unwrap();
        listener.set_nonblocking(true).unwrap();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { shared.serve(TcpListener::from_std(listener).unwrap()).await })
        });
        Self { silent }
    }

    /// From now on nothing passes, and nobody is told.
    pub fn fall_silent(&self) {
        self.silent.store(true, Ordering::SeqCst);
    }

    /// What waited passes, and so does what follows.
    pub fn speak(&self) {
        self.silent.store(false, Ordering::SeqCst);
    }
}

/// What one connection has shown so far.
#[derive(Default)]
struct Seen {
    host: Option<String>,
    block: bool,
    taken: bool,
}

impl Shared {
    async fn serve(self, listener: TcpListener) {
        loop {
            let Ok((socket, _)) = listener.accept().await else { continue };
            let shared = self.clone();
            tokio::spawn(async move {
                // As with a collector that is not there: the peer is hung up on.
                let Ok(upstream) = TcpStream::connect(("127.0.0.1", shared.upstream)).await else { return };
                let (from_adaptor, to_adaptor) = socket.into_split();
                let (from_collector, to_collector) = upstream.into_split();
                let seen = Mutex::new(Seen::default());
                // Whoever of the two ends ends the other.
                tokio::select! {
                    _ = shared.up(from_adaptor, to_collector, &seen) => {}
                    _ = shared.down(from_collector, to_adaptor, &seen) => {}
                }
            });
        }
    }

    async fn up(&self, from: OwnedReadHalf, to: OwnedWriteHalf, seen: &Mutex<Seen>) -> io::Result<()> {
        self.relay(from, to, true, |kind, content| {
            let mut seen = seen.lock().unwrap();
            if kind == b'B' {
                seen.block = true;
            } else if let Ok(ToCollector::Hello { host, .. }) = serde_json::from_slice(content) {
                seen.host = Some(host);
            }
        })
        .await
    }

    async fn down(&self, from: OwnedReadHalf, to: OwnedWriteHalf, seen: &Mutex<Seen>) -> io::Result<()> {
        self.relay(from, to, false, |_, content| {
            let mut seen = seen.lock().unwrap();
            // Credit after a block says that it is in.
            let credit = matches!(serde_json::from_slice(content), Ok(ToAdaptor::Credit { .. }));
            if credit && seen.block && !seen.taken {
                seen.taken = true;
                let served = Served { gate: self.index, since: Instant::now() };
                self.board.0.lock().unwrap().insert(seen.host.clone().unwrap(), served);
            }
        })
        .await
    }

    /// Passes on what comes, and shows the frames in it.
    async fn relay(
        &self,
        mut from: OwnedReadHalf,
        mut to: OwnedWriteHalf,
        up: bool,
        mut show: impl FnMut(u8, &[u8]),
    ) -> io::Result<()> {
        let mut frames = Frames::default();
        let mut buffer = vec![0; 64 << 10];
        loop {
            let read = from.read(&mut buffer).await?;
            self.pass(read, up).await;
            frames.feed(&buffer[..read], &mut show);
            match read {
                0 => return Ok(()),
                _ => to.write_all(&buffer[..read]).await?,
            }
        }
    }

    /// Returns when `bytes` may pass.
    async fn pass(&self, bytes: usize, up: bool) {
        if let Some((rate, next)) = self.narrow.as_ref().filter(|_| up) {
            let at = {
                let mut next = next.lock().unwrap();
                let at = (*next).max(Instant::now());
                *next = at + Duration::from_secs_f64(bytes as f64 / *rate as f64);
                at
            };
            tokio::time::sleep_until(at.into()).await;
        }
        while self.silent.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

/// Finds the frames in what passes; keeps the content of those that are no blocks.
#[derive(Default)]
struct Frames {
    head: Vec<u8>,
    content: Vec<u8>,
    left: usize,
}

impl Frames {
    fn feed(&mut self, mut bytes: &[u8], mut frame: impl FnMut(u8, &[u8])) {
        while !bytes.is_empty() {
            if self.head.len() < 5 {
                let (head, rest) = bytes.split_at(bytes.len().min(5 - self.head.len()));
                self.head.extend_from_slice(head);
                bytes = rest;
                if self.head.len() < 5 {
                    return;
                }
                self.left = u32::from_be_bytes(self.head[..4].try_into().unwrap()) as usize - 1;
            }
            let (content, rest) = bytes.split_at(bytes.len().min(self.left));
            if self.head[4] != b'B' && self.content.len() < CONTROL_BYTES_MAX {
                self.content.extend_from_slice(content);
            }
            self.left -= content.len();
            bytes = rest;
            if self.left == 0 {
                frame(self.head[4], &self.content);
                self.head.clear();
                self.content.clear();
            }
        }
    }
}
