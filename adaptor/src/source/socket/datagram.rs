//! Receives datagrams, of UDP and of Unix sockets. Each holds one line or more; a line does not go on in the next.

use std::io;

use tokio::net::{UdpSocket, UnixDatagram};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::seldom::Seldom;
use super::unix::SocketFile;
use super::{DRAIN_QUIET, DRAIN_TIME, ERROR_PAUSE, Shared};
use crate::intake::{Chunk, Refused};
use crate::source::line::{LineSplitter, Parser, observed_now};

/// Longest datagram that is taken as it is, in bytes. UDP has no longer ones.
const DATAGRAM_BYTES_MAX: usize = 64 << 10;
/// Datagrams that wait are handed over together, up to this many bytes…
const BATCH_BYTES: usize = 256 << 10;
/// …and this many datagrams, for they may be empty.
const BATCH_DATAGRAMS: usize = 4096;

/// A bound datagram socket.
pub(super) enum Socket {
    Udp(UdpSocket),
    Unix(UnixDatagram, SocketFile),
}

impl Socket {
    async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.readable().await,
            Self::Unix(socket, _) => socket.readable().await,
        }
    }

    fn try_recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Udp(socket) => socket.try_recv(buffer),
            Self::Unix(socket, _) => socket.try_recv(buffer),
        }
    }
}

/// Receives until `stop`, then what waits in the socket.
pub(super) async fn run(socket: Socket, shared: Shared, stop: CancellationToken) {
    let mut receiver = Receiver {
        parser: shared.parser.clone(),
        splitter: shared.splitter(),
        // One byte more than is taken: that is how a longer datagram shows.
        buffer: vec![0; DATAGRAM_BYTES_MAX + 1],
        errors: Seldom::default(),
        shared,
    };
    while let Some(readable) = stop.run_until_cancelled(socket.readable()).await {
        match readable.and_then(|()| receiver.receive(&socket)) {
            Ok((chunk, bytes)) => {
                if receiver.hand_over(chunk, bytes).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                if receiver.errors.now() {
                    warn!(source = receiver.shared.name, %error, "cannot receive; trying again");
                }
                stop.run_until_cancelled(tokio::time::sleep(ERROR_PAUSE)).await;
            }
        }
    }
    // First nobody can send any more, then what was sent is taken.
    if let Socket::Unix(_, file) = &socket {
        file.remove();
    }
    let end = Instant::now() + DRAIN_TIME;
    while Instant::now() < end
        && let Ok(Ok(())) = timeout_at(end.min(Instant::now() + DRAIN_QUIET), socket.readable()).await
        && let Ok((chunk, bytes)) = receiver.receive(&socket)
        && receiver.hand_over(chunk, bytes).await.is_ok()
    {}
}

struct Receiver {
    shared: Shared,
    parser: Parser,
    splitter: LineSplitter,
    buffer: Vec<u8>,
    errors: Seldom,
}

impl Receiver {
    /// Takes the datagrams that wait, without waiting for more: their records, and the bytes of these.
    fn receive(&mut self, socket: &Socket) -> io::Result<(Chunk, u64)> {
        let (mut chunk, mut line_bytes, mut batch_bytes) = (Chunk::default(), 0, 0);
        let now = observed_now();
        for _ in 0..BATCH_DATAGRAMS {
            let bytes = match socket.try_recv(&mut self.buffer) {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // What is here already goes first; an error that lasts comes again.
                Err(_) if batch_bytes > 0 => break,
                Err(error) => return Err(error),
            };
            if bytes > DATAGRAM_BYTES_MAX {
                self.shared.context.counters.datagrams_truncated.add(1);
            }
            let mut each = |line: &[u8]| {
                self.parser.parse(now, line, &mut chunk);
                line_bytes += line.len() as u64;
            };
            self.splitter.push(&self.buffer[..bytes.min(DATAGRAM_BYTES_MAX)], &mut each);
            self.splitter.finish(&mut each);
            batch_bytes += bytes;
            if batch_bytes >= BATCH_BYTES {
                break;
            }
        }
        Ok((chunk, line_bytes))
    }

    /// Hands the records over. Fails when the adaptor takes no more.
    async fn hand_over(&mut self, chunk: Chunk, bytes: u64) -> Result<(), Refused> {
        if chunk.is_empty() {
            return Ok(());
        }
        match self.shared.hand_over(chunk, bytes).await {
            Err(Refused::Closed) => Err(Refused::Closed),
            // Nobody waits for the receipt, and the refusal is counted: a datagram cannot be answered.
            Ok(_) | Err(Refused::Full) => Ok(()),
        }
    }
}
