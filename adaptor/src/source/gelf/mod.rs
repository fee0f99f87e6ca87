//! Sources of type `gelf`: Graylog's messages over UDP (in chunks, compressed or not) and TCP (each ended by a NUL).
//!
//! Owns the putting together of chunks ([`chunks`]) and what a message says ([`message`]). GELF answers nobody: when the
//! spool is full, the sockets wait, or records are refused and counted, as `when_full` says. A datagram that the kernel has
//! no room for is lost before anybody sees it.

mod chunks;
mod message;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt;
use logboom_config::{GelfSource, Source, Transport};
use logboom_wire::decompress::{Bounds, Compression, DecompressError, decompress};
use memchr::memchr;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::net::{self, Datagram, DatagramSocket, Decoder};
use super::{Context, Inlet, Malformed, Running};
use crate::counters::Counters;
use crate::intake::Chunk;

use chunks::{Assembled, Chunks};
use message::Messages;

/// A carried message that needed more than this, in bytes, gives its memory back.
const CARRY_BYTES_KEPT: usize = 64 << 10;

/// Opens the source.
///
/// # Errors
/// Says what is wrong with the socket and how to mend it.
pub(super) fn open(
    source: Source,
    settings: GelfSource,
    context: Context,
    stop: CancellationToken,
) -> Result<Running, String> {
    let name = source.name.clone();
    let bounds = Bounds { bytes_max: settings.max_frame, ratio_max: settings.max_ratio };
    match &settings.transport {
        Transport::Tcp(tcp) => {
            let (listener, allowed) = net::bind_tcp(&name, tcp, &[])?;
            let inlet = Inlet::new(source, context);
            let serve = {
                let inlet = inlet.clone();
                move |connection| net::take_messages(connection, inlet.clone(), Flow::new(&inlet, bounds.bytes_max))
            };
            Ok(net::serve(listener, allowed, inlet, stop, serve).boxed())
        }
        Transport::Udp(udp) => {
            let socket = net::bind_udp(&name, udp)?;
            Ok(datagrams(socket, Inlet::new(source, context), bounds, stop).boxed())
        }
        Transport::Unix(_) => Err("`transport = \"unix\"` is not for GELF: set \"udp\" or \"tcp\"".to_owned()),
    }
}

async fn datagrams(socket: DatagramSocket, inlet: Arc<Inlet>, bounds: Bounds, stop: CancellationToken) {
    let counters = inlet.context().counters.clone();
    let mut packets = Packets { messages: Messages::new(&inlet), chunks: Chunks::default(), bounds, counters };
    net::receive(socket, inlet, stop, move |datagram, chunk| packets.take(&datagram, Instant::now(), chunk)).await;
}

/// What comes over UDP.
struct Packets {
    messages: Messages,
    chunks: Chunks,
    bounds: Bounds,
    counters: Arc<Counters>,
}

impl Packets {
    fn take(&mut self, datagram: &Datagram<'_>, now: Instant, chunk: &mut Chunk) {
        if !chunks::is_chunk(datagram.bytes) {
            return self.message(datagram.bytes, datagram.observed, chunk);
        }
        let assembled = self.chunks.take(datagram.peer, datagram.bytes, self.bounds.bytes_max, now);
        self.counters.messages_incomplete.add(self.chunks.given_up());
        match assembled {
            Ok(Assembled::Waiting) => {}
            Ok(Assembled::Whole(message)) => self.message(&message, datagram.observed, chunk),
            Err(reason) => self.refuse(&reason),
        }
    }

    /// Takes a whole message, compressed or not.
    fn message(&mut self, bytes: &[u8], observed: i64, chunk: &mut Chunk) {
        let compression = match bytes {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            // RFC 1950: deflate, and a check of the two bytes.
            &[first, second, ..] if first & 0xf == 8 && (u32::from(first) * 256 + u32::from(second)) % 31 == 0 => {
                Compression::Zlib
            }
            _ => return self.messages.take(without_end(bytes), observed, chunk),
        };
        match decompress(compression, bytes, self.bounds) {
            Ok(text) => self.messages.take(without_end(&text), observed, chunk),
            Err(error @ (DecompressError::TooLarge(_) | DecompressError::TooDense(_))) => {
                self.refuse(&error.to_string())
            }
            Err(error) => self.messages.take_plain(bytes, &error.to_string(), observed, chunk),
        }
    }

    fn refuse(&self, reason: &str) {
        self.counters.messages_refused.add(1);
        debug!(reason, "a GELF message is refused");
    }
}

impl Drop for Packets {
    /// What has not ended when the source does never will.
    fn drop(&mut self) {
        self.counters.messages_incomplete.add(self.chunks.waiting() as u64);
    }
}

/// Some senders end a datagram as they would end a message on TCP.
fn without_end(message: &[u8]) -> &[u8] {
    message.strip_suffix(b"\0").unwrap_or(message)
}

/// The messages of a TCP connection, each ended by a NUL.
struct Flow {
    messages: Messages,
    max_frame: usize,
    /// What came of the message that has not ended.
    carry: Vec<u8>,
}

impl Flow {
    fn new(inlet: &Inlet, max_frame: usize) -> Self {
        Self { messages: Messages::new(inlet), max_frame, carry: Vec::new() }
    }
}

impl Decoder for Flow {
    fn push(&mut self, mut bytes: &[u8], observed: i64, chunk: &mut Chunk) -> Result<(), Malformed> {
        while !bytes.is_empty() {
            let end = memchr(0, bytes);
            let now = &bytes[..end.unwrap_or(bytes.len())];
            if self.carry.len() + now.len() > self.max_frame {
                return Err(Malformed::fixed("a message has more than `max_frame` bytes"));
            }
            let message = match self.carry.is_empty() {
                true if end.is_some() => now,
                _ => {
                    self.carry.extend_from_slice(now);
                    &self.carry
                }
            };
            let Some(end) = end else { return Ok(()) };
            if !message.is_empty() {
                self.messages.take(message, observed, chunk);
            }
            self.carry.clear();
            self.carry.shrink_to(CARRY_BYTES_KEPT);
            bytes = &bytes[end + 1..];
        }
        Ok(())
    }

    fn finish(&mut self, observed: i64, chunk: &mut Chunk) {
        if !self.carry.is_empty() {
            self.messages.take(&self.carry, observed, chunk);
            self.carry.clear();
        }
    }

    fn is_amid(&self) -> bool {
        !self.carry.is_empty()
    }
}
