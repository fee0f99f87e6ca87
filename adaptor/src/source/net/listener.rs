//! Accepts connections, as many as the source may have.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use logboom_security::{ASK_INTERVAL, HANDSHAKE_TIMEOUT, ServerTls, Stream, explain};
use tokio::net::unix::UCred;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use super::seldom::Seldom;
use super::unix::SocketFile;
use super::{DRAIN_QUIET, DRAIN_TIME, ERROR_PAUSE};
use crate::counters::Counters;
use crate::source::Inlet;

/// A bound stream socket.
pub(crate) enum Listener {
    Tcp(TcpListener, Option<Arc<ServerTls>>),
    Unix(UnixListener, SocketFile),
}

/// What each connection of a source is allowed.
#[derive(Clone, Copy)]
pub(crate) struct Allowed {
    pub(crate) connections: usize,
    /// Zero: a connection may be idle for ever.
    pub(crate) idle: Duration,
}

/// One connection, encrypted where the listener is.
pub(in crate::source) struct Connection {
    pub(in crate::source) stream: Stream,
    /// The peer's address, where it has one.
    pub(in crate::source) peer: Option<IpAddr>,
    /// Who connected to a Unix socket, as the kernel says.
    pub(in crate::source) credentials: Option<UCred>,
    /// Zero: it may be idle for ever.
    pub(in crate::source) idle: Duration,
    /// The source is to end: take what was sent, answer it, and close.
    pub(in crate::source) stop: CancellationToken,
}

enum Accepted {
    Tcp(TcpStream, IpAddr),
    Unix(UnixStream),
}

impl Listener {
    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener, _) => {
                listener.accept().await.map(|(stream, peer)| Accepted::Tcp(stream, peer.ip().to_canonical()))
            }
            Self::Unix(listener, _) => listener.accept().await.map(|(stream, _)| Accepted::Unix(stream)),
        }
    }

    fn tls(&self) -> Option<Arc<ServerTls>> {
        match self {
            Self::Tcp(_, tls) => tls.clone(),
            Self::Unix(..) => None,
        }
    }
}

/// Has `serve` serve every connection until `stop`, then those that wait to be accepted, and returns when all have ended.
pub(in crate::source) async fn serve<F>(
    listener: Listener,
    allowed: Allowed,
    inlet: Arc<Inlet>,
    stop: CancellationToken,
    serve: impl Fn(Connection) -> F + Send + Sync + 'static,
) where
    F: Future<Output = ()> + Send,
{
    serve_named(listener, allowed, inlet.name(), inlet.context().counters.clone(), stop, serve).await;
}

/// The same for a listener that is no source's; `name` is what the log calls it.
pub(super) async fn serve_named<F>(
    listener: Listener,
    allowed: Allowed,
    name: &str,
    counters: Arc<Counters>,
    stop: CancellationToken,
    serve: impl Fn(Connection) -> F + Send + Sync + 'static,
) where
    F: Future<Output = ()> + Send,
{
    let door = Door {
        tls: listener.tls(),
        name: name.into(),
        counters,
        allowed,
        room: Arc::new(Semaphore::new(allowed.connections)),
        connections: TaskTracker::new(),
        stop,
        refusals: Seldom::default(),
        errors: Seldom::default(),
        serve: Arc::new(serve),
    };
    let mut looks = tokio::time::interval(ASK_INTERVAL);
    loop {
        let accepted = tokio::select! {
            biased;
            () = door.stop.cancelled() => break,
            accepted = listener.accept() => accepted,
            // So that what is wrong with changed files is said before somebody comes.
            _ = looks.tick(), if door.tls.is_some() => {
                door.tls.iter().for_each(|tls| tls.look());
                continue;
            }
        };
        match accepted {
            Ok(accepted) => door.admit(accepted),
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => door.pause(&error).await,
        }
    }
    if let Listener::Unix(_, file) = &listener {
        file.remove();
    }
    let end = Instant::now() + DRAIN_TIME;
    while Instant::now() < end
        && let Ok(Ok(accepted)) = timeout_at(end.min(Instant::now() + DRAIN_QUIET), listener.accept()).await
    {
        door.admit(accepted);
    }
    drop(listener);
    door.connections.close();
    door.connections.wait().await;
}

struct Door<S> {
    tls: Option<Arc<ServerTls>>,
    name: Arc<str>,
    counters: Arc<Counters>,
    allowed: Allowed,
    room: Arc<Semaphore>,
    connections: TaskTracker,
    stop: CancellationToken,
    refusals: Seldom,
    errors: Seldom,
    serve: Arc<S>,
}

impl<S, F> Door<S>
where
    S: Fn(Connection) -> F + Send + Sync + 'static,
    F: Future<Output = ()> + Send,
{
    /// Starts a task for the connection, or closes it at once if there are too many.
    fn admit(&self, accepted: Accepted) {
        let Ok(permit) = self.room.clone().try_acquire_owned() else {
            self.counters.connections_refused.add(1);
            if self.refusals.now() {
                let (source, max) = (&*self.name, self.allowed.connections);
                warn!(source, "a connection is refused: there are {max} already, which is `max_connections`");
            }
            return;
        };
        let (tls, serve) = (self.tls.clone(), self.serve.clone());
        let (source, counters) = (self.name.clone(), self.counters.clone());
        let (idle, stop) = (self.allowed.idle, self.stop.clone());
        self.connections.spawn(async move {
            let (stream, peer) = match (accepted, tls) {
                (Accepted::Unix(stream), _) => (Stream::Unix(stream), None),
                (Accepted::Tcp(stream, peer), None) => (Stream::Plain(stream), Some(peer)),
                (Accepted::Tcp(stream, peer), Some(tls)) => {
                    match timeout(HANDSHAKE_TIMEOUT, tls.acceptor().accept(stream)).await {
                        Ok(Ok(stream)) => (Stream::Tls(Box::new(stream.into())), Some(peer)),
                        failed => {
                            let reason = match failed {
                                Ok(Err(error)) => explain(&error),
                                _ => "it took too long".to_owned(),
                            };
                            counters.handshakes_failed.add(1);
                            debug!(%source, %peer, reason, "a TLS handshake failed");
                            return;
                        }
                    }
                }
            };
            let credentials = match &stream {
                Stream::Unix(stream) => stream.peer_cred().ok(),
                _ => None,
            };
            if let Some(who) = &credentials {
                debug!(%source, pid = who.pid(), uid = who.uid(), gid = who.gid(), "a process has connected");
            }
            serve(Connection { stream, peer, credentials, idle, stop }).await;
            drop(permit);
        });
    }

    /// Waits a moment: most errors of accepting, such as too many open files, would come again at once.
    async fn pause(&self, error: &io::Error) {
        if self.errors.now() {
            warn!(source = &*self.name, %error, "cannot accept a connection; trying again");
        }
        self.stop.run_until_cancelled(tokio::time::sleep(ERROR_PAUSE)).await;
    }
}
