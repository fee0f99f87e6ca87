//! The sender: brings the spool's blocks to a collector and hears how far they are committed.
//!
//! Owns the choice of a collector, the connection and its pace. What may be said when is in [`protocol`]; what is read
//! and deleted is the spool's; what becomes of streams that a collector refuses is in [`refused`].

mod protocol;
mod refused;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use logboom_config::{Secret, planted, random};
use logboom_security::{Certificate, ClientTls, HANDSHAKE_TIMEOUT, Live, ServerName, Stream, explain};
use logboom_wire::message::{AdaptorCodec, Codec, Frame, FrameError, ToAdaptor, ToCollector};
use logboom_wire::{Block, StreamId};
use rand::Rng;
use rand::seq::SliceRandom;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::codec::{FramedRead, FramedWrite};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::counters::Counters;
use crate::spool::{Reader, Spool, SpoolError, StreamStatus};
use protocol::{Effect, Ended, Protocol};
use refused::{Allowed, Refused};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// How often it is asked whether the certificate of a collector still holds.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// Bytes read from the spool at once.
const READ_BYTES: usize = 4 << 20;
/// Bytes of blocks that wait to be written to a connection.
const QUEUE_BYTES: usize = 2 * READ_BYTES;
/// Streams that are sent at the same time; the rest follow as these are through.
const OPEN_STREAMS_MAX: usize = 64;

/// What a sender needs to know.
pub struct Settings {
    /// `host:port` of each collector; a name may stand for many addresses.
    pub collectors: Vec<String>,
    /// How to encrypt, if at all.
    pub tls: Option<ClientTls>,
    /// What to prove ourselves with.
    pub token: Option<Live<Secret>>,
    /// Name of this host.
    pub host: Arc<str>,
    /// Streams older than this are not sent: their marks may be forgotten.
    pub max_age: Duration,
    /// Send them all the same.
    pub send_expired: bool,
    /// Where refusals are counted.
    pub counters: Arc<Counters>,
    /// Where the collectors are in a simulation.
    #[cfg(feature = "simulation")]
    pub network: Option<Arc<dyn crate::simulation::Network>>,
}

impl Settings {
    /// Looks whether files have changed, so that what is wrong with them is said before they are needed.
    fn look(&self) {
        self.token.iter().for_each(|token| drop(token.current()));
        self.tls.iter().for_each(ClientTls::look);
    }

    /// Whether `stream` is young enough on this `date` to be sent: the table forgets marks after 30 days, and a block that
    /// is sent again after that would be there twice.
    pub fn may_send(&self, stream: &StreamStatus, date: Duration) -> bool {
        let age = date.saturating_sub(Duration::from_millis(stream.opened_ms));
        self.send_expired || !stream.sealed || age <= self.max_age
    }
}

/// How a connection ended.
#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error("{0}")]
    Ended(#[from] Ended),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("the connection was closed")]
    Closed,
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    #[error("cannot connect: no answer within {} s", CONNECT_TIMEOUT.as_secs())]
    ConnectTimeout,
    #[error("no TLS with the collector: {0}")]
    Tls(String),
    #[error("TLS does not get done within {} s", HANDSHAKE_TIMEOUT.as_secs())]
    TlsTimeout,
    #[error("all that waits is refused here; trying another collector")]
    AllRefused,
    #[error("{0}")]
    Spool(#[from] SpoolError),
    #[error("it carried as many streams as a connection may; the rest go over the next one")]
    UsedUp,
}

/// Sends until `stop`. Once `drain` is cancelled, asks the collector for an early commit and returns as soon as
/// everything in the spool is committed.
pub async fn run(settings: Settings, spool: Arc<Spool>, drain: CancellationToken, stop: CancellationToken) {
    let mut sender = Sender { settings, spool, drain, backoff: BACKOFF_MIN, left: None, refused: Refused::default() };
    stop.run_until_cancelled(sender.run()).await;
}

struct Sender {
    settings: Settings,
    spool: Arc<Spool>,
    drain: CancellationToken,
    backoff: Duration,
    /// The collector of the last connection.
    left: Option<SocketAddr>,
    refused: Refused,
}

/// One of the collectors.
struct Peer {
    /// As the settings have it.
    name: String,
    address: SocketAddr,
    /// Whether there are others.
    others: bool,
    /// What it has shown, and for which name.
    certificate: Option<(Certificate, ServerName<'static>)>,
}

impl Sender {
    async fn run(&mut self) {
        loop {
            if self.drained() {
                return;
            }
            let addresses = self.addresses().await;
            let others = addresses.len() > 1;
            for (name, address) in addresses {
                if self.drained() {
                    return;
                }
                self.left = Some(address);
                let peer = Peer { name: name.clone(), address, others, certificate: None };
                match self.connect(peer).await {
                    Ok(()) => return self.delete_leftovers().await,
                    Err(ConnectionError::Ended(Ended::Draining)) => {
                        info!(collector = %name, "it is leaving; moving on")
                    }
                    Err(error) => {
                        if let ConnectionError::Ended(Ended::Refused { .. }) = error {
                            self.settings.counters.collector_refusals.add(1);
                        }
                        warn!(collector = %name, %address, %error, "connection ended");
                    }
                }
                self.pause().await;
            }
        }
    }

    fn drained(&self) -> bool {
        self.drain.is_cancelled() && self.nothing_left()
    }

    /// Whether all that may be sent is committed.
    fn nothing_left(&self) -> bool {
        let date = self.spool.disk().date();
        let done = |stream: &StreamStatus| stream.last <= stream.mark || !self.settings.may_send(stream, date);
        self.spool.streams().iter().all(done)
    }

    /// Full jitter: everyone who lost a collector at the same moment comes back at another.
    async fn pause(&mut self) {
        let wait = random::rng().random_range(Duration::ZERO..=self.backoff);
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
        tokio::time::sleep(wait).await;
    }

    /// All addresses of all collectors, shuffled; that of the last connection comes last.
    async fn addresses(&mut self) -> Vec<(String, SocketAddr)> {
        let mut addresses = Vec::new();
        #[cfg(feature = "simulation")]
        if self.settings.network.is_some() {
            let nowhere = SocketAddr::from(([0; 4], 0));
            addresses.extend(self.settings.collectors.iter().map(|name| (name.clone(), nowhere)));
            addresses.shuffle(&mut random::rng());
            return addresses;
        }
        for name in &self.settings.collectors {
            match tokio::net::lookup_host(name).await {
                Ok(found) => addresses.extend(found.map(|address| (name.clone(), address))),
                Err(error) => warn!(collector = %name, %error, "cannot resolve the name"),
            }
        }
        addresses.shuffle(&mut random::rng());
        addresses.sort_by_key(|(_, address)| Some(*address) == self.left);
        if addresses.is_empty() {
            self.pause().await;
        }
        addresses
    }

    /// One connection, from beginning to end. `Ok` only when drained.
    async fn connect(&mut self, mut peer: Peer) -> Result<(), ConnectionError> {
        #[cfg(feature = "simulation")]
        if let Some(network) = self.settings.network.clone() {
            let connected = tokio::time::timeout(CONNECT_TIMEOUT, network.connect(&peer.name)).await;
            let stream = connected.map_err(|_| ConnectionError::ConnectTimeout)?.map_err(ConnectionError::Connect)?;
            let (read, write) = tokio::io::split(stream);
            return self.converse_on(&peer, read, write).await;
        }
        let socket = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(peer.address)).await;
        let socket = socket.map_err(|_| ConnectionError::ConnectTimeout)?.map_err(ConnectionError::Connect)?;
        let _ = socket.set_nodelay(true);
        let Some(tls) = &self.settings.tls else {
            let (read, write) = socket.into_split();
            return self.converse_on(&peer, read, write).await;
        };
        let name = tls.server_name(&peer.name).map_err(ConnectionError::Tls)?;
        let connecting = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.connector().connect(name.clone(), socket));
        let connected = connecting.await.map_err(|_| ConnectionError::TlsTimeout)?;
        let stream = connected.map_err(|error| ConnectionError::Tls(explain(&error)))?;
        let stream = Stream::Tls(Box::new(stream.into()));
        peer.certificate = stream.certificate().map(|certificate| (certificate, name));
        let (read, write) = tokio::io::split(stream);
        self.converse_on(&peer, read, write).await
    }

    async fn converse_on(
        &mut self,
        peer: &Peer,
        read: impl AsyncRead + Send + Unpin,
        write: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Result<(), ConnectionError> {
        let mut incoming = FramedRead::new(read, AdaptorCodec::adaptor());
        // Writing has a task of its own, so that a collector that takes no more blocks is still listened to. What waits for
        // it is bounded by permits, and nobody here ever waits for the queue: a silent peer would not be found out.
        let (outgoing, queue) = mpsc::unbounded_channel();
        let writing = tokio::spawn(write_frames(FramedWrite::new(write, AdaptorCodec::adaptor()), queue));
        self.refused.reconnected(peer.address);
        let result = self.converse(peer, &mut incoming, &outgoing).await;
        drop(outgoing);
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

    async fn converse(
        &mut self,
        peer: &Peer,
        incoming: &mut FramedRead<impl AsyncRead + Send + Unpin, Codec<ToCollector, ToAdaptor>>,
        outgoing: &mpsc::UnboundedSender<Outgoing>,
    ) -> Result<(), ConnectionError> {
        let token = self.settings.token.as_ref().map(|token| token.current());
        let token = token.as_ref().map_or("", |token| token.expose());
        let (mut protocol, hello) = Protocol::new(Instant::now(), token, &self.settings.host);
        let mut readers = BTreeMap::new();
        send(outgoing, hello)?;
        let mut changes = self.spool.changes();
        let mut ticks = tokio::time::interval(Duration::from_millis(500));
        let drain = self.drain.clone();
        let (mut flush_asked, mut checked) = (None, Instant::now());
        let room = Arc::new(Semaphore::new(QUEUE_BYTES));
        loop {
            let full = room.available_permits() < READ_BYTES;
            let more = !full && self.send_blocks(peer, &mut protocol, &mut readers, outgoing, &room).await?;
            if drain.is_cancelled() {
                if self.nothing_left() {
                    return Ok(());
                }
                let due = flush_asked.is_none_or(|at: Instant| at.elapsed() > Duration::from_secs(1));
                if !more && !full && due && protocol.credit() > 0 {
                    flush_asked = Some(Instant::now());
                    send(outgoing, ToCollector::Flush)?;
                }
            }
            let frame = tokio::select! {
                biased;
                frame = incoming.next() => Some(frame.ok_or(ConnectionError::Closed)??),
                () = outgoing.closed() => return Err(ConnectionError::Closed),
                _ = ticks.tick() => {
                    self.delete_leftovers().await;
                    self.settings.look();
                    if checked.elapsed() >= CHECK_INTERVAL {
                        checked = Instant::now();
                        self.check(peer)?;
                    }
                    None
                }
                changed = changes.changed() => { changed.map_err(|_| ConnectionError::Closed)?; None }
                () = drain.cancelled(), if flush_asked.is_none() && !drain.is_cancelled() => None,
                () = std::future::ready(()), if more => None,
                _ = room.acquire_many(READ_BYTES as u32), if full => None,
            };
            let now = Instant::now();
            let effects = match frame {
                Some(Frame::Control(message)) => protocol.heard(now, message),
                Some(Frame::Block(_)) => return Err(Ended::Protocol("it sent a block".into()).into()),
                None => protocol.tick(now).into_iter().collect(),
            };
            for effect in effects {
                match effect {
                    Effect::Send(message) => send(outgoing, message)?,
                    Effect::Trim(stream, mark) => {
                        debug!(%stream, mark, "committed");
                        self.refused.committed(stream, mark);
                        self.trim(stream, mark).await?;
                    }
                    Effect::Refused(stream, message) => {
                        let streams = self.spool.streams();
                        let status = streams.iter().find(|status| status.id == stream);
                        readers.retain(|generation, _| status.is_none_or(|status| status.generation != *generation));
                        self.refused.retain(|stream| streams.iter().any(|status| status.id == stream));
                        let mark = status.map_or(0, |status| status.mark);
                        let wait = self.refused.refused(now, peer.address, stream, mark);
                        self.settings.counters.collector_refusals.add(1);
                        warn!(collector = %peer.name, %stream, reason = message, ?wait,
                            "the collector does not take a stream; its records stay in the spool");
                        if peer.others && self.all_refused(now, peer.address) {
                            return Err(ConnectionError::AllRefused);
                        }
                    }
                    Effect::Welcomed => {
                        info!(collector = %peer.name, tls = peer.certificate.is_some(), "connected");
                        self.backoff = BACKOFF_MIN;
                    }
                    Effect::Close(reason) => {
                        if let Ended::Refused { retry_after, .. } = &reason {
                            tokio::time::sleep(*retry_after).await;
                        }
                        return Err(reason.into());
                    }
                }
            }
        }
    }

    /// Ends the connection to a collector that would not be spoken to any more.
    fn check(&self, peer: &Peer) -> Result<(), ConnectionError> {
        let (Some(tls), Some((certificate, name))) = (&self.settings.tls, &peer.certificate) else { return Ok(()) };
        tls.check(certificate, name).map_err(ConnectionError::Tls)
    }

    /// Whether there is something to send, and the collector at `address` takes nothing of it.
    fn all_refused(&self, now: Instant, address: SocketAddr) -> bool {
        let (streams, date) = (self.spool.streams(), self.spool.disk().date());
        let waiting = |stream: &&StreamStatus| stream.last > stream.mark && self.settings.may_send(stream, date);
        let mut waiting = streams.iter().filter(waiting).peekable();
        waiting.peek().is_some() && waiting.all(|it| self.refused.allowed(now, address, it.id) == Allowed::Nothing)
    }

    async fn delete_leftovers(&self) {
        if self.spool.has_leftovers() {
            let spool = self.spool.clone();
            if let Ok(Err(error)) = self.spool.disk().run(move || spool.delete_leftovers()).await {
                warn!(%error, "cannot delete what is committed; trying again");
            }
        }
    }

    async fn trim(&self, stream: StreamId, mark: u64) -> Result<(), ConnectionError> {
        let spool = self.spool.clone();
        let trimmed = self.spool.disk().run(move || spool.trim(stream, mark)).await;
        match trimmed {
            Ok(Ok(())) => {}
            // A collector that says such things is not to be trusted with the rest either.
            Ok(Err(error @ SpoolError::Ahead { .. })) => return Err(error.into()),
            Ok(Err(error)) => error!(%error, "cannot delete what is committed; trying again with the next mark"),
            Err(error) => error!(%error, "cannot delete what is committed"),
        }
        Ok(())
    }

    /// Announces streams and sends what may be sent, a bounded amount; whether there is more.
    async fn send_blocks(
        &mut self,
        peer: &Peer,
        protocol: &mut Protocol,
        readers: &mut BTreeMap<u64, Reader>,
        outgoing: &mpsc::UnboundedSender<Outgoing>,
        room: &Arc<Semaphore>,
    ) -> Result<bool, ConnectionError> {
        let streams = self.spool.streams();
        readers.retain(|generation, _| streams.iter().any(|stream| stream.generation == *generation));
        let (now, date) = (Instant::now(), self.spool.disk().date());
        let allowed = |refused: &Refused, stream: &StreamStatus| refused.allowed(now, peer.address, stream.id);
        let waiting = |stream: &&StreamStatus| stream.last > stream.mark && self.settings.may_send(stream, date);
        // Streams of which all is sent wait for a commit, and nobody waits for them.
        let sent = |stream: &StreamStatus| protocol.sent_up_to(stream.id).is_some_and(|sent| sent >= stream.last);
        let mut unsent: Vec<_> = streams.iter().filter(waiting).filter(|stream| !sent(stream)).collect();
        unsent.retain(|stream| allowed(&self.refused, stream) != Allowed::Nothing);
        if protocol.is_used_up() && !unsent.is_empty() {
            unsent.retain(|stream| protocol.knows(stream.id));
            if unsent.is_empty() {
                return Err(ConnectionError::UsedUp);
            }
        }
        unsent.truncate(OPEN_STREAMS_MAX);
        for stream in unsent {
            let allowed = allowed(&self.refused, stream);
            if let Some(open) = protocol.open(Instant::now(), stream.id, stream.first) {
                send(outgoing, open)?;
                continue;
            }
            let Some(after) = protocol.next_after(stream.id).filter(|after| *after < stream.last) else { continue };
            if allowed == Allowed::Wait {
                continue;
            }
            let reader = readers.remove(&stream.generation);
            let mut reader =
                reader.unwrap_or_else(|| Reader::new(self.spool.clone(), stream.generation, stream.id, after));
            let bytes = if allowed == Allowed::One { 1 } else { READ_BYTES.min(protocol.credit()) };
            let read = self.spool.disk().run(move || {
                let blocks = reader.read(bytes);
                (reader, blocks)
            });
            let (reader, blocks) = read.await.expect("reading does not panic");
            readers.insert(stream.generation, reader);
            let blocks = blocks?;
            if blocks.is_empty() {
                continue;
            }
            for block in blocks {
                let header = block.header().clone();
                // A mark may have moved past it meanwhile.
                if protocol.sent_up_to(stream.id).is_none_or(|sent| header.number <= sent) {
                    continue;
                }
                protocol.sent(Instant::now(), header.stream, header.number, block.bytes().len());
                let bytes = block.bytes().len().min(room.available_permits()) as u32;
                let permit = room.clone().try_acquire_many_owned(bytes).expect("nobody else takes of it");
                outgoing.send(Outgoing::Block(block, permit)).map_err(|_| ConnectionError::Closed)?;
                if planted::bug("trim_when_sent") {
                    self.trim(header.stream, header.number).await?;
                }
            }
            if allowed == Allowed::One {
                self.refused.sent(now, peer.address, stream.id);
            }
            return Ok(true);
        }
        Ok(false)
    }
}

enum Outgoing {
    Control(ToCollector),
    /// With its share of what may wait.
    Block(Block, OwnedSemaphorePermit),
}

fn send(outgoing: &mpsc::UnboundedSender<Outgoing>, message: ToCollector) -> Result<(), ConnectionError> {
    outgoing.send(Outgoing::Control(message)).map_err(|_| ConnectionError::Closed)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_whose_mark_may_be_forgotten_is_not_sent_again_unasked() {
        let day = Duration::from_secs(24 * 60 * 60);
        let date = 1000 * day;
        let ago = |age: Duration| (date - age).as_millis() as u64;
        let stream = |sealed, opened_ms| StreamStatus {
            generation: 1,
            id: StreamId::random(),
            opened_ms,
            first: 1,
            last: 1,
            mark: 0,
            sealed,
        };
        let settings = |send_expired| Settings {
            collectors: vec![],
            tls: None,
            token: None,
            host: "host".into(),
            max_age: 30 * day,
            send_expired,
            counters: Arc::default(),
            #[cfg(feature = "simulation")]
            network: None,
        };
        assert!(settings(false).may_send(&stream(true, ago(29 * day)), date));
        assert!(!settings(false).may_send(&stream(true, ago(31 * day)), date));
        assert!(settings(false).may_send(&stream(false, ago(31 * day)), date), "it is still written");
        assert!(settings(true).may_send(&stream(true, ago(31 * day)), date));
    }
}
