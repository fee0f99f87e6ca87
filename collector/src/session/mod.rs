//! A session: one adaptor's connection.
//!
//! Owns the socket and the pace: blocks are taken in as memory allows, and only then is more credit granted, so that a
//! peer is always listened to and never holds more than its window. What may be said when is in [`protocol`].

mod protocol;
mod window;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use futures::future::BoxFuture;
use futures::{SinkExt, StreamExt};
use logboom_security::{Certificate, Stream};
use logboom_wire::message::{CollectorCodec, Frame, FrameError, PROTOCOL_VERSION, Refusal, ToAdaptor};
use logboom_wire::{Block, StreamId};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::codec::{Encoder, Framed};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::batch::{Entry, Outbox};
use crate::batcher::Intake;
use crate::door::{Access, Door, Entered, Reason};
use crate::marks::Marks;
use crate::pulse::Pulse;
use crate::tail::Tail;
use protocol::{Effect, Protocol, Visitor};
use window::Window;

pub use window::Windows;

/// A message that the peer does not take for this long ends the connection.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often it is asked whether the certificate of a peer still holds.
const CHECK_INTERVAL: Duration = Duration::from_secs(10);
/// Memory is counted in units of this many bytes, since permits are counted in 32 bits.
pub const MEMORY_UNIT: u64 = 1024;

/// What all sessions share. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// Who lets peers in.
    pub door: Arc<Door>,
    /// Where blocks go.
    pub intake: Intake,
    /// Where blocks are shown as they come, if anybody may look.
    pub tail: Option<Tail>,
    /// Looks up marks.
    pub marks: Marks,
    /// Permits for compressed bytes held, in [`MEMORY_UNIT`]s.
    pub memory: Arc<Semaphore>,
    /// All of them.
    pub memory_units: u32,
    /// What peers may have under way.
    pub windows: Windows,
    /// Whether commits get done.
    pub pulse: Pulse,
    /// Sessions that are open.
    pub sessions: Arc<AtomicUsize>,
}

/// How a session ended.
#[derive(Debug, thiserror::Error)]
enum SessionError {
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("refused ({0:?}): {1}")]
    Refused(Refusal, String),
    #[error("silent for {} s", protocol::SILENCE_MAX.as_secs())]
    Silent,
    #[error("it takes no answers")]
    Deaf,
}

/// Serves one connection to its end. After `drain` it takes in nothing more, and ends when all that it took in is
/// committed and told.
pub async fn run(socket: TcpStream, peer: SocketAddr, context: Context, drain: CancellationToken) {
    context.sessions.fetch_add(1, Ordering::Relaxed);
    let sessions = context.sessions.clone();
    let accepting = context.door.accept(socket, peer, farewell);
    if let Some(Some(stream)) = drain.run_until_cancelled(accepting).await {
        let (certificate, tls) = (stream.certificate(), matches!(stream, Stream::Tls(_)));
        serve(stream, Shown { peer, tls, certificate }, context, drain).await;
    }
    sessions.fetch_sub(1, Ordering::Relaxed);
}

/// What a peer is told that speaks in the clear where TLS is spoken. One that speaks TLS learns from it that nobody does here.
fn farewell(reason: &str) -> Vec<u8> {
    let message = format!("{reason}; see `tls_ca_file` of [adaptor]");
    let (mut codec, mut frame) = (CollectorCodec::collector(), BytesMut::new());
    let refused = ToAdaptor::Refused { code: Refusal::Tls, message, retry_after_ms: 5000 };
    codec.encode(refused, &mut frame).map(|()| frame.to_vec()).unwrap_or_default()
}

/// What is known of a peer before it has said a word.
pub struct Shown {
    pub peer: SocketAddr,
    pub tls: bool,
    pub certificate: Option<Certificate>,
}

/// Serves a connection that has come to terms with the door.
pub async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin,
    shown: Shown,
    context: Context,
    drain: CancellationToken,
) {
    let Shown { peer, tls, certificate } = shown;
    let (outbox, committed) = mpsc::unbounded_channel();
    let access = context.door.access();
    let visitor = Visitor { access: access.clone(), certificate };
    let session = Session {
        frames: Framed::new(stream, CollectorCodec::collector()),
        protocol: Protocol::new(Instant::now(), Some(visitor)),
        peer,
        tls,
        entered: None,
        access,
        checked: Instant::now(),
        context,
        outbox: Some(outbox),
        window: None,
        waiting: VecDeque::new(),
        waiting_bytes: 0,
        acquiring: None,
        looking_up: None,
        to_look_up: VecDeque::new(),
    };
    match session.run(committed, drain).await {
        Ok(()) => debug!(%peer, "session ended"),
        // That was said already.
        Err(SessionError::Refused(Refusal::Token, _)) => debug!(%peer, "session ended"),
        Err(error) => warn!(%peer, %error, "session ended"),
    }
}

struct Session<S> {
    frames: Framed<S, CollectorCodec>,
    protocol: Protocol,
    peer: SocketAddr,
    tls: bool,
    /// Once it has shown who it is.
    entered: Option<Entered>,
    /// By what it was let in.
    access: Arc<Access>,
    /// When its certificate was looked at last.
    checked: Instant,
    context: Context,
    /// Given to every block's entry; `None` once draining, so that the receiver ends with the last entry.
    outbox: Option<Outbox>,
    /// What the peer may have under way, once it is let in.
    window: Option<Window>,
    /// Blocks that wait for memory, with their bases.
    waiting: VecDeque<(Block, u64)>,
    /// Their bytes. The peer knows at the most as much credit as this leaves of its window.
    waiting_bytes: u64,
    acquiring: Option<BoxFuture<'static, OwnedSemaphorePermit>>,
    to_look_up: VecDeque<StreamId>,
    looking_up: Option<BoxFuture<'static, Result<(StreamId, u64), String>>>,
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Session<S> {
    async fn run(
        mut self,
        mut committed: mpsc::UnboundedReceiver<ToAdaptor>,
        drain: CancellationToken,
    ) -> Result<(), SessionError> {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        loop {
            self.start_acquiring();
            self.start_looking_up();
            tokio::select! {
                biased;
                () = drain.cancelled(), if self.outbox.is_some() => {
                    self.outbox = None;
                    self.waiting.clear();
                    self.waiting_bytes = 0;
                    self.acquiring = None;
                    self.send(ToAdaptor::Draining).await?;
                }
                message = committed.recv() => match message {
                    Some(message) => self.send(message).await?,
                    None => return Ok(()),
                },
                permit = async { self.acquiring.as_mut().expect("checked").await }, if self.acquiring.is_some() => {
                    self.acquiring = None;
                    self.take_in(permit).await?;
                }
                found = async { self.looking_up.as_mut().expect("checked").await }, if self.looking_up.is_some() => {
                    self.looking_up = None;
                    match found {
                        Ok((stream, mark)) => {
                            self.protocol.opened(Instant::now(), stream, mark);
                            self.send(ToAdaptor::Opened { stream, mark }).await?;
                        }
                        Err(reason) => {
                            let message = format!("the table cannot be read: {reason}");
                            return self.refuse(Refusal::Busy, message).await;
                        }
                    }
                }
                frame = self.frames.next() => match frame {
                    None => return Ok(()),
                    Some(Err(error)) => return self.refuse_frame(error).await,
                    Some(Ok(frame)) => {
                        let now = Instant::now();
                        let effect = match frame {
                            Frame::Control(message) => self.protocol.heard(now, message),
                            Frame::Block(block) => Some(self.protocol.heard_block(now, block)),
                        };
                        self.apply(effect).await?;
                    }
                },
                _ = ticks.tick() => {
                    self.check().await?;
                    let now = Instant::now();
                    if self.window.is_some() && self.outbox.is_some() && self.context.pulse.is_overdue(now) {
                        return self.refuse_overdue().await;
                    }
                    let effect = self.protocol.tick(now);
                    self.apply(effect).await?;
                }
            }
        }
    }

    async fn apply(&mut self, effect: Option<Effect>) -> Result<(), SessionError> {
        match effect {
            None => Ok(()),
            Some(Effect::Welcome(_)) if self.context.pulse.is_overdue(Instant::now()) => self.refuse_overdue().await,
            Some(Effect::Welcome(host)) => {
                let client = self.protocol.peer().0.name().unwrap_or_default();
                info!(host, client, peer = %self.peer, tls = self.tls, "adaptor connected");
                self.entered = Some(self.context.door.enter(self.peer));
                self.frames.codec_mut().accept_blocks();
                let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
                let server_time_ms = now.as_millis() as u64;
                self.send(ToAdaptor::Welcome { version: PROTOCOL_VERSION, server_time_ms }).await?;
                let bytes = self.window.insert(self.context.windows.open()).bytes;
                self.send(ToAdaptor::Credit { bytes }).await
            }
            Some(Effect::LookUp(stream)) => {
                self.to_look_up.push_back(stream);
                Ok(())
            }
            // What comes while draining is not taken: it is still in the peer's spool.
            Some(Effect::Accept { .. }) if self.outbox.is_none() => Ok(()),
            Some(Effect::Accept { .. }) if self.window.as_ref().is_none_or(|w| self.waiting_bytes >= w.bytes) => {
                self.refuse(Refusal::Protocol, "a block was sent without credit for it".to_owned()).await
            }
            Some(Effect::Accept { block, base }) => {
                self.waiting_bytes += block.bytes().len() as u64;
                self.waiting.push_back((block, base));
                Ok(())
            }
            Some(Effect::Flush) => {
                self.context.intake.flush();
                Ok(())
            }
            Some(Effect::Ping) => self.send(ToAdaptor::Ping).await,
            Some(Effect::RefuseStream { stream, block, bytes, why }) => {
                self.context.door.refuse(self.peer, why.reason, &why.message);
                self.send(ToAdaptor::StreamRefused { stream, block, message: why.message }).await?;
                self.send(ToAdaptor::Credit { bytes }).await
            }
            Some(Effect::PassOver(bytes)) => self.send(ToAdaptor::Credit { bytes }).await,
            Some(Effect::Refuse(code, message)) => {
                match (code, &self.entered) {
                    (Refusal::Token, None) => self.context.door.failed(self.peer, Reason::Token, &message),
                    (Refusal::Token, Some(_)) => self.context.door.refuse(self.peer, Reason::Token, &message),
                    _ => {}
                }
                self.refuse(code, message).await
            }
            Some(Effect::Hang) => Err(SessionError::Silent),
        }
    }

    /// Has a peer leave that would not be let in any more, and others do what they may by now.
    async fn check(&mut self) -> Result<(), SessionError> {
        let access = self.context.door.access();
        if !Arc::ptr_eq(&access, &self.access) {
            let effect = self.protocol.access_changed(&access);
            self.access = access;
            self.apply(effect).await?;
        }
        if self.checked.elapsed() < CHECK_INTERVAL {
            return Ok(());
        }
        self.checked = Instant::now();
        let Some(certificate) = self.protocol.peer().1 else { return Ok(()) };
        match self.context.door.check(certificate) {
            Ok(()) => Ok(()),
            Err(reason) => {
                self.context.door.refuse(self.peer, Reason::Certificate, &reason);
                self.refuse(Refusal::Token, reason).await
            }
        }
    }

    fn start_acquiring(&mut self) {
        if let (None, Some((block, _))) = (&self.acquiring, self.waiting.front()) {
            let units = (block.bytes().len() as u64).div_ceil(MEMORY_UNIT);
            // A block larger than all of the memory gets all of it.
            let units = units.min(u64::from(self.context.memory_units)) as u32;
            let memory = self.context.memory.clone();
            self.acquiring = Some(Box::pin(async move {
                memory.acquire_many_owned(units).await.expect("the semaphore is never closed")
            }));
        }
    }

    fn start_looking_up(&mut self) {
        if self.looking_up.is_none()
            && let Some(stream) = self.to_look_up.pop_front()
        {
            let marks = self.context.marks.clone();
            self.looking_up = Some(Box::pin(async move {
                let mark = marks.look_up(stream).await;
                mark.map(|mark| (stream, mark)).map_err(|error| error.to_string())
            }));
        }
    }

    /// There is memory for the first waiting block.
    async fn take_in(&mut self, permit: OwnedSemaphorePermit) -> Result<(), SessionError> {
        let (Some((block, base)), Some(outbox)) = (self.waiting.pop_front(), &self.outbox) else { return Ok(()) };
        let bytes = block.bytes().len() as u64;
        self.waiting_bytes -= bytes;
        if let Some(tail) = &self.context.tail {
            tail.show(&block);
        }
        self.context.intake.add(Entry { block, base, outbox: outbox.clone(), _permit: permit });
        self.send(ToAdaptor::Credit { bytes }).await
    }

    async fn send(&mut self, message: ToAdaptor) -> Result<(), SessionError> {
        let refused = match &message {
            ToAdaptor::Refused { code, message, .. } => Some((*code, message.clone())),
            _ => None,
        };
        self.protocol.said(Instant::now());
        match tokio::time::timeout(WRITE_TIMEOUT, self.frames.send(message)).await {
            Ok(sent) => sent?,
            Err(_) => return Err(SessionError::Deaf),
        }
        refused.map_or(Ok(()), |(code, message)| Err(SessionError::Refused(code, message)))
    }

    async fn refuse(&mut self, code: Refusal, message: String) -> Result<(), SessionError> {
        let retry_after_ms = if code == Refusal::Busy { 1000 } else { 5000 };
        self.send(ToAdaptor::Refused { code, message, retry_after_ms }).await
    }

    /// The peer may find another collector that can reach the store.
    async fn refuse_overdue(&mut self) -> Result<(), SessionError> {
        let message = "it has not been able to commit for over a minute; its log says why".to_owned();
        self.refuse(Refusal::Busy, message).await
    }

    async fn refuse_frame(&mut self, error: FrameError) -> Result<(), SessionError> {
        if !matches!(error, FrameError::Io(_)) {
            let _ = self.refuse(Refusal::Protocol, error.to_string()).await;
        }
        Err(error.into())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use logboom_sink::Store;
    use logboom_sink::table::{TableOptions, View};
    use logboom_wire::block::{BlockPlace, Encoder};
    use logboom_wire::message::{AdaptorCodec, ToCollector};
    use logboom_wire::{Rows, RunKey};
    use tokio::net::TcpListener;

    use super::*;
    use crate::batcher::{Batcher, Limits};
    use crate::output::OutputRatio;

    async fn context(pulse: Pulse) -> Context {
        let store = Store::open("memory://", &BTreeMap::new()).unwrap();
        let view = View::open_or_create(&store, &TableOptions::default()).await.unwrap();
        let limits = Limits { interval: Duration::from_secs(1), file_bytes: 1 << 20, block_bytes: 1 << 20 };
        Context {
            door: Arc::new(Door::open(&logboom_config::Collector::default()).unwrap()),
            intake: Batcher::new(limits, OutputRatio::default()).1,
            tail: None,
            marks: Marks::new(view),
            memory: Arc::new(Semaphore::new(1024)),
            memory_units: 1024,
            windows: Windows::new(1 << 20),
            pulse,
            sessions: Arc::default(),
        }
    }

    /// A peer that has said hello.
    async fn connect(context: &Context) -> Framed<TcpStream, AdaptorCodec> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (accepted, peer) = listener.accept().await.unwrap();
        tokio::spawn(run(accepted, peer, context.clone(), CancellationToken::new()));
        let mut frames = Framed::new(socket, AdaptorCodec::adaptor());
        let (host, agent) = ("h".to_owned(), "a".to_owned());
        let hello = ToCollector::Hello { version: PROTOCOL_VERSION, token: String::new(), host, agent };
        frames.send(hello).await.unwrap();
        frames
    }

    async fn hear(frames: &mut Framed<TcpStream, AdaptorCodec>) -> ToAdaptor {
        match frames.next().await.unwrap().unwrap() {
            Frame::Control(message) => message,
            Frame::Block(_) => panic!("a block"),
        }
    }

    #[tokio::test]
    async fn a_collector_whose_commits_do_not_get_done_sends_its_adaptors_away_and_takes_them_again_after() {
        let context = context(Pulse::default()).await;
        let mut early = connect(&context).await;
        assert!(matches!(hear(&mut early).await, ToAdaptor::Welcome { .. }));
        assert!(matches!(hear(&mut early).await, ToAdaptor::Credit { bytes } if bytes > 0));
        context.pulse.begin(Instant::now() - Duration::from_secs(60), 0);
        let busy = |message: ToAdaptor| matches!(message, ToAdaptor::Refused { code: Refusal::Busy, .. });
        assert!(busy(hear(&mut early).await));
        assert!(busy(hear(&mut connect(&context).await).await));
        context.pulse.end();
        assert!(matches!(hear(&mut connect(&context).await).await, ToAdaptor::Welcome { .. }));
    }

    #[tokio::test]
    async fn a_peer_that_sends_more_than_it_has_credit_for_is_sent_away() {
        let context = context(Pulse::default()).await;
        // Nothing is taken in: all of it waits for memory.
        let _all = context.memory.clone().acquire_many_owned(context.memory_units).await.unwrap();
        let mut peer = connect(&context).await;
        assert!(matches!(hear(&mut peer).await, ToAdaptor::Welcome { .. }));
        let ToAdaptor::Credit { bytes } = hear(&mut peer).await else { panic!("no credit") };
        let stream = StreamId::from_bytes([1; 16]);
        peer.send(ToCollector::Open { stream, first: 1 }).await.unwrap();
        assert!(matches!(hear(&mut peer).await, ToAdaptor::Opened { mark: 0, .. }));

        // The last of those that fit the credit may go beyond it.
        let (mut sent, mut number) = (0, 0);
        while sent < bytes {
            number += 1;
            let block = block(stream, number);
            sent += block.bytes().len() as u64;
            peer.send(block).await.unwrap();
        }
        let early = tokio::time::timeout(Duration::from_millis(200), hear(&mut peer)).await;
        assert!(early.is_err(), "{early:?}");
        peer.send(block(stream, number + 1)).await.unwrap();
        assert!(matches!(hear(&mut peer).await, ToAdaptor::Refused { code: Refusal::Protocol, .. }));
    }

    fn block(stream: StreamId, number: u64) -> Block {
        let key = RunKey { category: "c".into(), source: "s".into(), attributes: vec![] };
        let mut rows = Rows::default();
        // Of no two of them the same, so that they stay large.
        (0..1000u64).for_each(|n| rows.push_line(1, format!("{:x}", (number + n).pow(6)).as_bytes()));
        let place = BlockPlace { stream, number, first_record: 1000 * (number - 1), host: "h" };
        Encoder::default().encode(place, [(Arc::new(key), rows)], vec![]).unwrap()
    }
}
