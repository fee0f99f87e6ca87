//! Connections of protocols that carry messages one way: nobody is answered, so the sockets wait when the spool is full, or
//! records are refused and counted.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use super::{Connection, DRAIN_QUIET, DRAIN_TIME};
use crate::intake::{Chunk, Refused};
use crate::source::{Inlet, Malformed, observed_now};

/// A message that has begun must go on: within this time it ends, or another [`PROGRESS_BYTES`] of it arrive.
const MESSAGE_TIMEOUT: Duration = Duration::from_secs(60);
const PROGRESS_BYTES: usize = 64 << 10;
/// Bytes that a connection is read with at first: many connections are quiet.
const READ_BYTES_FIRST: usize = 8 << 10;
/// Bytes that a busy one is read with.
const READ_BYTES_MAX: usize = 64 << 10;

/// Makes records of the bytes of one connection. What it makes does not depend on how the bytes were cut.
pub(in crate::source) trait Decoder: Send {
    /// Takes `bytes`, received at `observed` (ns since 1970), and adds the record of every message that ends in them.
    ///
    /// # Errors
    /// Says why these are not messages. What was added before stays; the connection ends.
    fn push(&mut self, bytes: &[u8], observed: i64, chunk: &mut Chunk) -> Result<(), Malformed>;

    /// Nothing follows: adds the record of what has not ended, if there is anything.
    fn finish(&mut self, observed: i64, chunk: &mut Chunk);

    /// Whether a message has begun that has not ended.
    fn is_amid(&self) -> bool;
}

/// Serves a connection to its end: its peer closes it, it is idle or amid a message for too long, it is malformed, or it is
/// told to stop.
pub(in crate::source) async fn take_messages(connection: Connection, inlet: Arc<Inlet>, decoder: impl Decoder) {
    take_messages_within(MESSAGE_TIMEOUT, connection, inlet, decoder).await;
}

/// The same with another time-out of messages.
pub(in crate::source) async fn take_messages_within(
    message_timeout: Duration,
    connection: Connection,
    inlet: Arc<Inlet>,
    decoder: impl Decoder,
) {
    let Connection { mut stream, idle, stop, .. } = connection;
    let mut taker = Taker { inlet, decoder };
    let mut patience = Patience { message_timeout, idle, message_end: None, progress: 0 };
    let mut buffer = vec![0; READ_BYTES_FIRST];
    loop {
        let end = patience.end();
        let read = tokio::select! {
            biased;
            () = stop.cancelled() => {
                if taker.drain(&mut stream, &mut buffer).await.is_err() {
                    return;
                }
                break;
            }
            read = read_until(&mut stream, &mut buffer, end) => read,
        };
        let name = taker.inlet.name();
        match read {
            None => {
                taker.inlet.counters().connections_idle.add(1);
                debug!(source = name, "a connection was silent, or amid a message, for too long");
                break;
            }
            Some(Ok(0)) => break,
            Some(Ok(bytes)) => {
                match taker.take(&buffer[..bytes]).await {
                    Ok(records) => patience.read(bytes, records > 0, taker.decoder.is_amid()),
                    Err(Ended) => return,
                }
                if bytes == buffer.len() && bytes < READ_BYTES_MAX {
                    buffer.resize(READ_BYTES_MAX, 0);
                }
            }
            Some(Err(error)) => {
                debug!(source = name, %error, "a connection ends");
                break;
            }
        }
    }
    // What has no end is kept: nothing says that it is not whole.
    let mut chunk = Chunk::default();
    taker.decoder.finish(observed_now(), &mut chunk);
    let _ = taker.hand_over(chunk).await;
}

/// When to give a peer up.
struct Patience {
    message_timeout: Duration,
    /// Zero: never.
    idle: Duration,
    message_end: Option<Instant>,
    /// Bytes of the message since `message_end` was set.
    progress: usize,
}

impl Patience {
    fn end(&self) -> Option<Instant> {
        let idle_end = (!self.idle.is_zero()).then(|| Instant::now() + self.idle);
        self.message_end.into_iter().chain(idle_end).min()
    }

    fn read(&mut self, bytes: usize, ended: bool, amid: bool) {
        self.progress += bytes;
        if !amid {
            self.message_end = None;
        } else if ended || self.message_end.is_none() || self.progress >= PROGRESS_BYTES {
            self.message_end = Some(Instant::now() + self.message_timeout);
            self.progress = 0;
        }
    }
}

/// `None` when it is too late.
async fn read_until(
    reader: &mut (impl AsyncRead + Unpin),
    buffer: &mut [u8],
    end: Option<Instant>,
) -> Option<std::io::Result<usize>> {
    match end {
        None => Some(reader.read(buffer).await),
        Some(end) => timeout_at(end, reader.read(buffer)).await.ok(),
    }
}

/// There is no use in reading on.
struct Ended;

struct Taker<D> {
    inlet: Arc<Inlet>,
    decoder: D,
}

impl<D: Decoder> Taker<D> {
    /// Takes what was sent before the source was stopped.
    async fn drain(&mut self, reader: &mut (impl AsyncRead + Unpin), buffer: &mut [u8]) -> Result<(), Ended> {
        let end = Instant::now() + DRAIN_TIME;
        while Instant::now() < end {
            match timeout_at(end.min(Instant::now() + DRAIN_QUIET), reader.read(buffer)).await {
                Ok(Ok(bytes @ 1..)) => self.take(&buffer[..bytes]).await?,
                _ => break,
            };
        }
        Ok(())
    }

    /// Returns how many records the bytes brought.
    async fn take(&mut self, bytes: &[u8]) -> Result<usize, Ended> {
        let mut chunk = Chunk::default();
        let decoded = self.decoder.push(bytes, observed_now(), &mut chunk);
        let records = chunk.records();
        self.hand_over(chunk).await?;
        decoded.map_err(|error| {
            self.inlet.counters().messages_refused.add(1);
            debug!(source = self.inlet.name(), %error, "a message is refused, and its connection closed");
            Ended
        })?;
        Ok(records)
    }

    async fn hand_over(&self, chunk: Chunk) -> Result<(), Ended> {
        if chunk.is_empty() {
            return Ok(());
        }
        match self.inlet.append(chunk).await {
            Err(Refused::Closed) => Err(Ended),
            // Nobody waits for the receipt, and the refusal is counted: there is no answer to give.
            Ok(_) | Err(Refused::Full) => Ok(()),
        }
    }
}
