//! One connection to a collector, from its hello to its end.
//!
//! Owns what is sent when, and what is done about what is heard. All that has come is heard before anything is done, so
//! that the marks of many streams cost the spool one pass.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, SinkExt, StreamExt};
use logboom_config::planted;
use logboom_security::explain;
use logboom_wire::message::{AdaptorCodec, Codec, Frame, FrameError, ToAdaptor, ToCollector};
use logboom_wire::{Block, StreamId};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::codec::{FramedRead, FramedWrite};
use tracing::{debug, info, warn};

use super::protocol::{Effect, Ended, Protocol};
use super::refused::Allowed;
use super::{BACKOFF_MIN, ConnectionError, Peer, Sender};
use crate::spool::{Reader, StreamStatus};

/// How often it is asked whether the certificate of a collector still holds.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// How often an early commit is asked for again.
const FLUSH_INTERVAL: Duration = Duration::from_secs(1);
/// Bytes read from the spool at once.
const READ_BYTES: usize = 4 << 20;
/// Bytes of blocks that wait to be written to a connection.
const QUEUE_BYTES: usize = 2 * READ_BYTES;
/// Streams that are sent at the same time; the rest follow as these are through.
const OPEN_STREAMS_MAX: usize = 64;
/// Messages heard before what they say is done.
const HEARD_MAX: usize = 1024;

type Incoming<R> = FramedRead<R, Codec<ToCollector, ToAdaptor>>;

struct Connection<'a> {
    sender: &'a mut Sender,
    peer: &'a Peer,
    protocol: Protocol,
    /// By the generation of their stream.
    readers: BTreeMap<u64, Reader>,
    outgoing: mpsc::UnboundedSender<Outgoing>,
    /// Bytes that may still wait to be written.
    room: Arc<Semaphore>,
}

enum Outgoing {
    Control(ToCollector),
    /// With its share of what may wait.
    Block(Block, OwnedSemaphorePermit),
}

/// Talks to `peer` until the connection ends. `Ok` only when drained.
pub(super) async fn run(
    sender: &mut Sender,
    peer: &Peer,
    read: impl AsyncRead + Send + Unpin,
    write: impl AsyncWrite + Send + Unpin + 'static,
) -> Result<(), ConnectionError> {
    let mut incoming = FramedRead::new(read, AdaptorCodec::adaptor());
    // Writing has a task of its own, so that a collector that takes no more blocks is still listened to. What waits for
    // it is bounded by permits, and nobody here ever waits for the queue: a silent peer would not be found out.
    let (outgoing, queue) = mpsc::unbounded_channel();
    let writing = tokio::spawn(write_frames(FramedWrite::new(write, AdaptorCodec::adaptor()), queue));
    sender.refused.reconnected(peer.address);
    let token = sender.settings.token.as_ref().map(|token| token.current());
    let token = token.as_ref().map_or("", |token| token.expose());
    let (protocol, hello) = Protocol::new(Instant::now(), token, &sender.settings.host);
    let room = Arc::new(Semaphore::new(QUEUE_BYTES));
    let mut connection = Connection { sender, peer, protocol, readers: BTreeMap::new(), outgoing, room };
    let result = match connection.send(hello) {
        Ok(()) => connection.converse(&mut incoming).await,
        Err(error) => Err(error),
    };
    drop(connection);
    writing.abort();
    let _ = writing.await;
    result.map_err(|error| match error {
        // What the collector has said by TLS.
        ConnectionError::Frame(FrameError::Io(error)) if peer.certificate.is_some() => {
            ConnectionError::Tls(explain(&error))
        }
        error => error,
    })
}

impl Connection<'_> {
    async fn converse(
        &mut self,
        incoming: &mut Incoming<impl AsyncRead + Send + Unpin>,
    ) -> Result<(), ConnectionError> {
        let mut changes = self.sender.spool.changes();
        let mut ticks = tokio::time::interval(Duration::from_millis(500));
        let drain = self.sender.drain.clone();
        let (mut flush_asked, mut checked) = (None, Instant::now());
        let (room, outgoing) = (self.room.clone(), self.outgoing.clone());
        loop {
            let full = self.room.available_permits() < READ_BYTES;
            let more = !full && self.send_blocks().await?;
            if drain.is_cancelled() {
                if self.sender.nothing_left() {
                    return Ok(());
                }
                let due = flush_asked.is_none_or(|at: Instant| at.elapsed() > FLUSH_INTERVAL);
                if !more && !full && due && self.protocol.credit() > 0 {
                    flush_asked = Some(Instant::now());
                    self.send(ToCollector::Flush)?;
                }
            }
            let frame = tokio::select! {
                biased;
                frame = incoming.next() => Some(frame),
                () = outgoing.closed() => return Err(ConnectionError::Closed),
                _ = ticks.tick() => {
                    self.sender.delete_leftovers().await;
                    self.sender.settings.look();
                    if checked.elapsed() >= CHECK_INTERVAL {
                        checked = Instant::now();
                        self.check()?;
                    }
                    None
                }
                changed = changes.changed() => { changed.map_err(|_| ConnectionError::Closed)?; None }
                () = drain.cancelled(), if flush_asked.is_none() && !drain.is_cancelled() => None,
                () = std::future::ready(()), if more => None,
                _ = room.acquire_many(READ_BYTES as u32), if full => None,
            };
            match frame {
                Some(frame) => self.hear(frame, incoming).await?,
                None => {
                    let effects = self.protocol.tick(Instant::now());
                    self.obey(effects.into_iter().collect()).await?;
                }
            }
        }
    }

    /// Does what `frame` says, and those after it that have come too. What ends the connection comes last.
    async fn hear(
        &mut self,
        frame: Option<Result<Frame<ToAdaptor>, FrameError>>,
        incoming: &mut Incoming<impl AsyncRead + Send + Unpin>,
    ) -> Result<(), ConnectionError> {
        let now = Instant::now();
        let (mut next, mut heard, mut effects) = (Some(frame), 0, Vec::new());
        let mut end = Ok(());
        while let Some(frame) = next {
            match frame {
                Some(Ok(Frame::Control(message))) => effects.extend(self.protocol.heard(now, message)),
                Some(Ok(Frame::Block(_))) => effects.push(Effect::Close(Ended::Protocol("it sent a block".into()))),
                Some(Err(error)) => end = Err(error.into()),
                None => end = Err(ConnectionError::Closed),
            }
            heard += 1;
            if end.is_err() || heard >= HEARD_MAX || matches!(effects.last(), Some(Effect::Close(_))) {
                break;
            }
            next = incoming.next().now_or_never();
        }
        self.obey(effects).await?;
        end
    }

    async fn obey(&mut self, effects: Vec<Effect>) -> Result<(), ConnectionError> {
        let mut marks = BTreeMap::new();
        for effect in &effects {
            if let Effect::Trim(stream, mark) = effect {
                debug!(%stream, mark, "committed");
                let newest: &mut u64 = marks.entry(*stream).or_default();
                *newest = (*newest).max(*mark);
            }
        }
        if !marks.is_empty() {
            self.sender.trim(marks).await?;
        }
        for effect in effects {
            match effect {
                Effect::Send(message) => self.send(message)?,
                Effect::Trim(stream, mark) => self.sender.refused.committed(stream, mark),
                Effect::Refused(stream, message) => self.take_refusal(stream, &message)?,
                Effect::Welcomed => {
                    info!(collector = %self.peer.name, tls = self.peer.certificate.is_some(), "connected");
                    self.sender.backoff = BACKOFF_MIN;
                }
                Effect::Close(reason) => {
                    if let Ended::Refused { retry_after, .. } = &reason {
                        tokio::time::sleep(*retry_after).await;
                    }
                    return Err(reason.into());
                }
            }
        }
        Ok(())
    }

    /// The collector does not take `stream`, which stays in the spool.
    fn take_refusal(&mut self, stream: StreamId, message: &str) -> Result<(), ConnectionError> {
        let (now, peer) = (Instant::now(), self.peer);
        let streams = self.sender.spool.streams();
        let status = streams.iter().find(|status| status.id == stream);
        self.readers.retain(|generation, _| status.is_none_or(|status| status.generation != *generation));
        self.sender.refused.retain(|stream| streams.iter().any(|status| status.id == stream));
        let mark = status.map_or(0, |status| status.mark);
        let wait = self.sender.refused.refused(now, peer.address, stream, mark);
        self.sender.settings.counters.collector_refusals.add(1);
        warn!(collector = %peer.name, %stream, reason = message, ?wait,
            "the collector does not take a stream; its records stay in the spool");
        if peer.others && self.all_refused(now) {
            return Err(ConnectionError::AllRefused);
        }
        Ok(())
    }

    /// Whether there is something to send, and the collector takes nothing of it.
    fn all_refused(&self, now: Instant) -> bool {
        let Sender { spool, settings, refused, .. } = &*self.sender;
        let (streams, date) = (spool.streams(), spool.disk().date());
        let waiting = |stream: &&StreamStatus| stream.last > stream.mark && settings.may_send(stream, date);
        let mut waiting = streams.iter().filter(waiting).peekable();
        waiting.peek().is_some() && waiting.all(|it| refused.allowed(now, self.peer.address, it.id) == Allowed::Nothing)
    }

    /// Ends the connection to a collector that would not be spoken to any more.
    fn check(&self) -> Result<(), ConnectionError> {
        let (Some(tls), Some((certificate, name))) = (&self.sender.settings.tls, &self.peer.certificate) else {
            return Ok(());
        };
        tls.check(certificate, name).map_err(ConnectionError::Tls)
    }

    /// Announces streams and sends what may be sent, a bounded amount; whether there is more.
    async fn send_blocks(&mut self) -> Result<bool, ConnectionError> {
        let spool = self.sender.spool.clone();
        let streams = spool.streams();
        self.readers.retain(|generation, _| streams.iter().any(|stream| stream.generation == *generation));
        let (now, address) = (Instant::now(), self.peer.address);
        for (stream, allowed) in self.sendable(&streams, now)? {
            if let Some(open) = self.protocol.open(Instant::now(), stream.id, stream.first) {
                self.send(open)?;
                continue;
            }
            let Some(after) = self.protocol.next_after(stream.id).filter(|after| *after < stream.last) else {
                continue;
            };
            if allowed == Allowed::Wait {
                continue;
            }
            let reader = self.readers.remove(&stream.generation);
            let mut reader = reader.unwrap_or_else(|| Reader::new(spool.clone(), stream.generation, stream.id, after));
            let bytes = if allowed == Allowed::One { 1 } else { READ_BYTES.min(self.protocol.credit()) };
            let read = spool.disk().run(move || {
                let blocks = reader.read(bytes);
                (reader, blocks)
            });
            let (reader, blocks) = read.await.expect("reading does not panic");
            self.readers.insert(stream.generation, reader);
            let blocks = blocks?;
            if blocks.is_empty() {
                continue;
            }
            for block in blocks {
                self.send_block(stream.id, block).await?;
            }
            if allowed == Allowed::One {
                self.sender.refused.sent(now, address, stream.id);
            }
            return Ok(true);
        }
        Ok(false)
    }

    /// The streams to send of, a bounded count, the oldest first, and how much of each.
    fn sendable<'s>(
        &self,
        streams: &'s [StreamStatus],
        now: Instant,
    ) -> Result<Vec<(&'s StreamStatus, Allowed)>, ConnectionError> {
        let Sender { spool, settings, refused, .. } = &*self.sender;
        let date = spool.disk().date();
        let waits = |stream: &StreamStatus| stream.last > stream.mark && settings.may_send(stream, date);
        // Streams of which all is sent wait for a commit, and nobody waits for them.
        let sent = |stream: &StreamStatus| self.protocol.sent_up_to(stream.id).is_some_and(|sent| sent >= stream.last);
        let unsent = streams.iter().filter(|stream| waits(stream) && !sent(stream));
        let unsent = unsent.map(|stream| (stream, refused.allowed(now, self.peer.address, stream.id)));
        let mut unsent: Vec<_> = unsent.filter(|(_, allowed)| *allowed != Allowed::Nothing).collect();
        if self.protocol.is_used_up() && !unsent.is_empty() {
            unsent.retain(|(stream, _)| self.protocol.knows(stream.id));
            if unsent.is_empty() {
                return Err(ConnectionError::UsedUp);
            }
        }
        if unsent.len() > OPEN_STREAMS_MAX {
            // The newest is one of them: what is written now need not wait until all earlier runs are through.
            let newest = unsent.pop();
            unsent.truncate(OPEN_STREAMS_MAX - 1);
            unsent.extend(newest);
        }
        Ok(unsent)
    }

    async fn send_block(&mut self, stream: StreamId, block: Block) -> Result<(), ConnectionError> {
        let (number, length) = (block.header().number, block.bytes().len());
        // A mark may have moved past it meanwhile.
        if self.protocol.sent_up_to(stream).is_none_or(|sent| number <= sent) {
            return Ok(());
        }
        self.protocol.sent(Instant::now(), stream, number, length);
        let bytes = length.min(self.room.available_permits()) as u32;
        let permit = self.room.clone().try_acquire_many_owned(bytes).expect("nobody else takes of it");
        self.outgoing.send(Outgoing::Block(block, permit)).map_err(|_| ConnectionError::Closed)?;
        if planted::bug("trim_when_sent") {
            self.sender.trim(BTreeMap::from([(stream, number)])).await?;
        }
        Ok(())
    }

    fn send(&self, message: ToCollector) -> Result<(), ConnectionError> {
        self.outgoing.send(Outgoing::Control(message)).map_err(|_| ConnectionError::Closed)
    }
}

async fn write_frames(
    mut frames: FramedWrite<impl AsyncWrite + Unpin, Codec<ToCollector, ToAdaptor>>,
    mut queue: mpsc::UnboundedReceiver<Outgoing>,
) -> Result<(), FrameError> {
    while let Some(next) = queue.recv().await {
        match next {
            Outgoing::Control(message) => frames.feed(message).await?,
            Outgoing::Block(block, _permit) => frames.feed(block).await?,
        }
        if queue.is_empty() {
            SinkExt::<ToCollector>::flush(&mut frames).await?;
        }
    }
    Ok(())
}
