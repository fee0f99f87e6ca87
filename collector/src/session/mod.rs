//! A session: one adaptor's connection.
//!
//! Owns the socket and the pace: blocks are taken in as memory allows, and only then is more credit granted, so that a
//! peer is always listened to and never holds more than its window. What may be said when is in [`protocol`].

mod protocol;

use std::collections::VecDeque;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use futures::future::BoxFuture;
use futures::{SinkExt, StreamExt};
use logboom_config::Secret;
use logboom_wire::message::{CollectorCodec, Frame, FrameError, PROTOCOL_VERSION, Refusal, ToAdaptor};
use logboom_wire::{Block, StreamId};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;
use tokio_util::codec::Framed;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::batch::{Entry, Outbox};
use crate::batcher::Intake;
use crate::marks::Marks;
use crate::tail::Tail;
use protocol::{Effect, Protocol};

/// Least and most bytes that a peer may have under way.
const WINDOW: std::ops::RangeInclusive<u64> = (256 << 10)..=(8 << 20);
/// A message that the peer does not take for this long ends the connection.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Memory is counted in units of this many bytes, since permits are counted in 32 bits.
pub const MEMORY_UNIT: u64 = 1024;

/// What all sessions share. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// What a peer has to prove itself with.
    pub token: Option<Secret>,
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
pub async fn run(
    socket: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    peer: impl Display,
    context: Context,
    drain: CancellationToken,
) {
    context.sessions.fetch_add(1, Ordering::Relaxed);
    let sessions = context.sessions.clone();
    let (outbox, committed) = mpsc::unbounded_channel();
    let session = Session {
        frames: Framed::new(socket, CollectorCodec::collector()),
        protocol: Protocol::new(Instant::now(), context.token.clone()),
        context,
        outbox: Some(outbox),
        waiting: VecDeque::new(),
        acquiring: None,
        looking_up: None,
        to_look_up: VecDeque::new(),
    };
    match session.run(committed, drain).await {
        Ok(()) => debug!(%peer, "session ended"),
        Err(error) => warn!(%peer, %error, "session ended"),
    }
    sessions.fetch_sub(1, Ordering::Relaxed);
}

struct Session<S> {
    frames: Framed<S, CollectorCodec>,
    protocol: Protocol,
    context: Context,
    /// Given to every block's entry; `None` once draining, so that the receiver ends with the last entry.
    outbox: Option<Outbox>,
    /// Blocks that wait for memory, with their bases.
    waiting: VecDeque<(Block, u64)>,
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
                    let effect = self.protocol.tick(Instant::now());
                    self.apply(effect).await?;
                }
            }
        }
    }

    async fn apply(&mut self, effect: Option<Effect>) -> Result<(), SessionError> {
        match effect {
            None => Ok(()),
            Some(Effect::Welcome(host)) => {
                info!(host, "adaptor connected");
                self.frames.codec_mut().accept_blocks();
                let now = SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
                let server_time_ms = now.as_millis() as u64;
                self.send(ToAdaptor::Welcome { version: PROTOCOL_VERSION, server_time_ms }).await?;
                let sessions = self.context.sessions.load(Ordering::Relaxed).max(1) as u64;
                let share = u64::from(self.context.memory_units) * MEMORY_UNIT / 2 / sessions;
                self.send(ToAdaptor::Credit { bytes: share.clamp(*WINDOW.start(), *WINDOW.end()) }).await
            }
            Some(Effect::LookUp(stream)) => {
                self.to_look_up.push_back(stream);
                Ok(())
            }
            Some(Effect::Accept { block, base }) => {
                // What comes while draining is not taken: it is still in the peer's spool.
                if self.outbox.is_some() {
                    self.waiting.push_back((block, base));
                }
                Ok(())
            }
            Some(Effect::Flush) => {
                self.context.intake.flush();
                Ok(())
            }
            Some(Effect::Ping) => self.send(ToAdaptor::Ping).await,
            Some(Effect::Refuse(code, message)) => self.refuse(code, message).await,
            Some(Effect::Hang) => Err(SessionError::Silent),
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

    async fn refuse_frame(&mut self, error: FrameError) -> Result<(), SessionError> {
        if !matches!(error, FrameError::Io(_)) {
            let _ = self.refuse(Refusal::Protocol, error.to_string()).await;
        }
        Err(error.into())
    }
}
