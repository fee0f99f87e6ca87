//! Receives datagrams, of UDP and of Unix sockets.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::{UdpSocket, UnixDatagram};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::seldom::Seldom;
use super::unix::SocketFile;
use super::{DRAIN_QUIET, DRAIN_TIME, ERROR_PAUSE};
use crate::intake::{Chunk, Refused};
use crate::source::{Inlet, observed_now};

/// Longest datagram that is taken as it is, in bytes. UDP has no longer ones.
const DATAGRAM_BYTES_MAX: usize = 64 << 10;
/// Datagrams that wait are handed over together, up to this many bytes…
const BATCH_BYTES: usize = 256 << 10;
/// …and this many datagrams, for they may be empty.
const BATCH_DATAGRAMS: usize = 4096;

/// A bound datagram socket.
pub(in crate::source) enum DatagramSocket {
    Udp(UdpSocket),
    Unix(UnixDatagram, SocketFile),
}

/// One datagram.
pub(in crate::source) struct Datagram<'a> {
    pub(in crate::source) bytes: &'a [u8],
    /// Who sent it, where that has an address.
    pub(in crate::source) peer: Option<SocketAddr>,
    /// When it was received, ns since 1970.
    pub(in crate::source) observed: i64,
}

impl DatagramSocket {
    async fn readable(&self) -> io::Result<()> {
        match self {
            Self::Udp(socket) => socket.readable().await,
            Self::Unix(socket, _) => socket.readable().await,
        }
    }

    fn try_recv(&self, buffer: &mut [u8]) -> io::Result<(usize, Option<SocketAddr>)> {
        match self {
            Self::Udp(socket) => socket.try_recv_from(buffer).map(|(bytes, peer)| (bytes, Some(peer))),
            Self::Unix(socket, _) => socket.try_recv(buffer).map(|bytes| (bytes, None)),
        }
    }
}

/// Has `each` make records of every datagram until `stop`, then of what waits in the socket.
pub(in crate::source) async fn receive(
    socket: DatagramSocket,
    inlet: Arc<Inlet>,
    stop: CancellationToken,
    each: impl FnMut(Datagram<'_>, &mut Chunk) + Send,
) {
    // One byte more than is taken: that is how a longer datagram shows.
    let mut receiver = Receiver { inlet, each, buffer: vec![0; DATAGRAM_BYTES_MAX + 1], errors: Seldom::default() };
    while let Some(readable) = stop.run_until_cancelled(socket.readable()).await {
        match readable.and_then(|()| receiver.receive(&socket)) {
            Ok(chunk) => {
                if receiver.hand_over(chunk).await.is_err() {
                    return;
                }
            }
            Err(error) => {
                if receiver.errors.now() {
                    warn!(source = receiver.inlet.name(), %error, "cannot receive; trying again");
                }
                stop.run_until_cancelled(tokio::time::sleep(ERROR_PAUSE)).await;
            }
        }
    }
    // First nobody can send any more, then what was sent is taken.
    if let DatagramSocket::Unix(_, file) = &socket {
        file.remove();
    }
    let end = Instant::now() + DRAIN_TIME;
    while Instant::now() < end
        && let Ok(Ok(())) = timeout_at(end.min(Instant::now() + DRAIN_QUIET), socket.readable()).await
        && let Ok(chunk) = receiver.receive(&socket)
        && receiver.hand_over(chunk).await.is_ok()
    {}
}

struct Receiver<E> {
    inlet: Arc<Inlet>,
    each: E,
    buffer: Vec<u8>,
    errors: Seldom,
}

impl<E: FnMut(Datagram<'_>, &mut Chunk)> Receiver<E> {
    /// Takes the datagrams that wait, without waiting for more.
    fn receive(&mut self, socket: &DatagramSocket) -> io::Result<Chunk> {
        let (mut chunk, mut batch_bytes) = (Chunk::default(), 0);
        let observed = observed_now();
        for _ in 0..BATCH_DATAGRAMS {
            let (bytes, peer) = match socket.try_recv(&mut self.buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                // What is here already goes first; an error that lasts comes again.
                Err(_) if batch_bytes > 0 => break,
                Err(error) => return Err(error),
            };
            if bytes > DATAGRAM_BYTES_MAX {
                self.inlet.counters().datagrams_truncated.add(1);
            }
            let datagram = Datagram { bytes: &self.buffer[..bytes.min(DATAGRAM_BYTES_MAX)], peer, observed };
            (self.each)(datagram, &mut chunk);
            batch_bytes += bytes;
            if batch_bytes >= BATCH_BYTES {
                break;
            }
        }
        Ok(chunk)
    }

    /// Hands the records over. Fails when the adaptor takes no more.
    async fn hand_over(&mut self, chunk: Chunk) -> Result<(), Refused> {
        if chunk.is_empty() {
            return Ok(());
        }
        match self.inlet.append(chunk).await {
            Err(Refused::Closed) => Err(Refused::Closed),
            // Nobody waits for the receipt, and the refusal is counted: a datagram cannot be answered.
            Ok(_) | Err(Refused::Full) => Ok(()),
        }
    }
}
