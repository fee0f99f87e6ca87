//! The sender: brings the spool's blocks to a collector and hears how far they are committed.
//!
//! Owns the choice of a collector, the connection and its pace. What may be said when is in [`protocol`]; what is read
//! and deleted is the spool's.

mod protocol;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use futures::{SinkExt, StreamExt};
use logboom_config::{Secret, planted, random};
use logboom_wire::message::{AdaptorCodec, Codec, Frame, FrameError, ToAdaptor, ToCollector};
use logboom_wire::{Block, StreamId};
use rand::Rng;
use rand::seq::SliceRandom;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::codec::{FramedRead, FramedWrite};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};

use crate::spool::{Reader, Spool, SpoolError, StreamStatus};
use protocol::{Effect, Ended, Protocol};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// Bytes read from the spool at once.
const READ_BYTES: usize = 4 << 20;
/// Streams that are announced to a collector at the same time; the rest follow as these are done.
const OPEN_STREAMS_MAX: usize = 64;

/// What a sender needs to know.
pub struct Settings {
    /// `host:port` of each collector; a name may stand for many addresses.
    pub collectors: Vec<String>,
    /// What to prove ourselves with.
    pub token: Option<Secret>,
    /// Name of this host.
    pub host: Arc<str>,
    /// Streams older than this are not sent: their marks may be forgotten.
    pub max_age: Duration,
    /// Send them all the same.
    pub send_expired: bool,
    /// Where the collectors are in a simulation.
    #[cfg(feature = "simulation")]
    pub network: Option<Arc<dyn crate::simulation::Network>>,
}

impl Settings {
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
    #[error("{0}")]
    Spool(#[from] SpoolError),
}

/// Sends until `stop`. Once `drain` is cancelled, asks the collector for an early commit and returns as soon as
/// everything in the spool is committed.
pub async fn run(settings: Settings, spool: Arc<Spool>, drain: CancellationToken, stop: CancellationToken) {
    let mut sender = Sender { settings, spool, drain, backoff: BACKOFF_MIN };
    stop.run_until_cancelled(sender.run()).await;
}

struct Sender {
    settings: Settings,
    spool: Arc<Spool>,
    drain: CancellationToken,
    backoff: Duration,
}

impl Sender {
    async fn run(&mut self) {
        loop {
            if self.drained() {
                return;
            }
            for (name, address) in self.addresses().await {
                if self.drained() {
                    return;
                }
                match self.connect(&name, address).await {
                    Ok(()) => return self.delete_leftovers().await,
                    Err(ConnectionError::Ended(Ended::Draining)) => {
                        info!(collector = %name, "it is leaving; moving on")
                    }
                    Err(error) => warn!(collector = %name, %address, %error, "connection ended"),
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

    /// All addresses of all collectors, shuffled.
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
        if addresses.is_empty() {
            self.pause().await;
        }
        addresses
    }

    /// One connection, from beginning to end. `Ok` only when drained.
    async fn connect(&mut self, name: &str, address: SocketAddr) -> Result<(), ConnectionError> {
        #[cfg(feature = "simulation")]
        if let Some(network) = self.settings.network.clone() {
            let connected = tokio::time::timeout(CONNECT_TIMEOUT, network.connect(name)).await;
            let stream = connected.map_err(|_| ConnectionError::ConnectTimeout)?.map_err(ConnectionError::Connect)?;
            let (read, write) = tokio::io::split(stream);
            return self.talk(name, read, write).await;
        }
        let socket = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
        let socket = socket.map_err(|_| ConnectionError::ConnectTimeout)?.map_err(ConnectionError::Connect)?;
        let _ = socket.set_nodelay(true);
        let (read, write) = socket.into_split();
        self.talk(name, read, write).await
    }

    async fn talk(
        &mut self,
        name: &str,
        read: impl AsyncRead + Send + Unpin,
        write: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Result<(), ConnectionError> {
        let mut incoming = FramedRead::new(read, AdaptorCodec::adaptor());
        // Writing has a task of its own, so that a collector that takes no more blocks is still listened to.
        let (outgoing, queue) = mpsc::channel(64);
        let writing = tokio::spawn(write_frames(FramedWrite::new(write, AdaptorCodec::adaptor()), queue));
        let result = self.converse(name, &mut incoming, &outgoing).await;
        drop(outgoing);
        writing.abort();
        let _ = writing.await;
        result
    }

    async fn converse(
        &mut self,
        name: &str,
        incoming: &mut FramedRead<impl AsyncRead + Send + Unpin, Codec<ToCollector, ToAdaptor>>,
        outgoing: &mpsc::Sender<Outgoing>,
    ) -> Result<(), ConnectionError> {
        let token = self.settings.token.as_ref().map_or("", |token| token.expose());
        let (mut protocol, hello) = Protocol::new(Instant::now(), token, &self.settings.host);
        let mut readers = BTreeMap::new();
        send(outgoing, hello).await?;
        let mut changes = self.spool.changes();
        let mut ticks = tokio::time::interval(Duration::from_millis(500));
        let drain = self.drain.clone();
        let mut flush_asked = None;
        loop {
            let more = self.send_blocks(&mut protocol, &mut readers, outgoing).await?;
            if drain.is_cancelled() {
                if self.nothing_left() {
                    return Ok(());
                }
                let due = flush_asked.is_none_or(|at: Instant| at.elapsed() > Duration::from_secs(1));
                if !more && due && protocol.credit() > 0 {
                    flush_asked = Some(Instant::now());
                    send(outgoing, ToCollector::Flush).await?;
                }
            }
            let frame = tokio::select! {
                biased;
                frame = incoming.next() => Some(frame.ok_or(ConnectionError::Closed)??),
                () = outgoing.closed() => return Err(ConnectionError::Closed),
                _ = ticks.tick() => {
                    self.delete_leftovers().await;
                    None
                }
                changed = changes.changed() => { changed.map_err(|_| ConnectionError::Closed)?; None }
                () = drain.cancelled(), if flush_asked.is_none() && !drain.is_cancelled() => None,
                () = std::future::ready(()), if more => None,
            };
            let now = Instant::now();
            let effects = match frame {
                Some(Frame::Control(message)) => protocol.heard(now, message),
                Some(Frame::Block(_)) => return Err(Ended::Protocol("it sent a block".into()).into()),
                None => protocol.tick(now).into_iter().collect(),
            };
            for effect in effects {
                match effect {
                    Effect::Send(message) => send(outgoing, message).await?,
                    Effect::Trim(stream, mark) => {
                        debug!(%stream, mark, "committed");
                        self.trim(stream, mark).await?;
                    }
                    Effect::Welcomed => {
                        info!(collector = %name, "connected");
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
        &self,
        protocol: &mut Protocol,
        readers: &mut BTreeMap<u64, Reader>,
        outgoing: &mpsc::Sender<Outgoing>,
    ) -> Result<bool, ConnectionError> {
        let streams = self.spool.streams();
        readers.retain(|generation, _| streams.iter().any(|stream| stream.generation == *generation));
        let date = self.spool.disk().date();
        let waiting = |stream: &&StreamStatus| stream.last > stream.mark && self.settings.may_send(stream, date);
        for stream in streams.iter().filter(waiting).take(OPEN_STREAMS_MAX) {
            if let Some(open) = protocol.open(Instant::now(), stream.id, stream.first) {
                send(outgoing, open).await?;
                continue;
            }
            let Some(after) = protocol.next_after(stream.id).filter(|after| *after < stream.last) else { continue };
            let reader = readers.remove(&stream.generation);
            let mut reader =
                reader.unwrap_or_else(|| Reader::new(self.spool.clone(), stream.generation, stream.id, after));
            let bytes = READ_BYTES.min(protocol.credit());
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
                outgoing.send(Outgoing::Block(block)).await.map_err(|_| ConnectionError::Closed)?;
                if planted::bug("trim_when_sent") {
                    self.trim(header.stream, header.number).await?;
                }
            }
            return Ok(true);
        }
        Ok(false)
    }
}

enum Outgoing {
    Control(ToCollector),
    Block(Block),
}

async fn send(outgoing: &mpsc::Sender<Outgoing>, message: ToCollector) -> Result<(), ConnectionError> {
    outgoing.send(Outgoing::Control(message)).await.map_err(|_| ConnectionError::Closed)
}

async fn write_frames(
    mut frames: FramedWrite<impl AsyncWrite + Unpin, Codec<ToCollector, ToAdaptor>>,
    mut queue: mpsc::Receiver<Outgoing>,
) -> Result<(), FrameError> {
    while let Some(next) = queue.recv().await {
        match next {
            Outgoing::Control(message) => frames.feed(message).await?,
            Outgoing::Block(block) => frames.feed(block).await?,
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
            token: None,
            host: "host".into(),
            max_age: 30 * day,
            send_expired,
            #[cfg(feature = "simulation")]
            network: None,
        };
        assert!(settings(false).may_send(&stream(true, ago(29 * day)), date));
        assert!(!settings(false).may_send(&stream(true, ago(31 * day)), date));
        assert!(settings(false).may_send(&stream(false, ago(31 * day)), date), "it is still written");
        assert!(settings(true).may_send(&stream(true, ago(31 * day)), date));
    }
}
