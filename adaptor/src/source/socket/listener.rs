//! Accepts connections, as many as the source may have.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::connection::serve;
use super::seldom::Seldom;
use super::unix::SocketFile;
use super::{DRAIN_QUIET, DRAIN_TIME, ERROR_PAUSE, Shared};

/// A bound stream socket.
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener, SocketFile),
}

enum Accepted {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Listener {
    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, _)| Accepted::Tcp(stream)),
            Self::Unix(listener, _) => listener.accept().await.map(|(stream, _)| Accepted::Unix(stream)),
        }
    }
}

/// What each connection of a source is allowed.
#[derive(Clone, Copy)]
pub(super) struct Allowed {
    pub(super) connections: usize,
    /// Zero: a connection may be idle for ever.
    pub(super) idle: Duration,
}

/// Serves every connection until `stop`, then those that wait to be accepted, and returns when all have ended.
pub(super) async fn run(listener: Listener, shared: Arc<Shared>, allowed: Allowed, stop: CancellationToken) {
    let door = Door {
        shared,
        allowed,
        room: Arc::new(Semaphore::new(allowed.connections)),
        connections: TaskTracker::new(),
        stop,
        refusals: Seldom::default(),
        errors: Seldom::default(),
    };
    while let Some(accepted) = door.stop.run_until_cancelled(listener.accept()).await {
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

struct Door {
    shared: Arc<Shared>,
    allowed: Allowed,
    room: Arc<Semaphore>,
    connections: TaskTracker,
    stop: CancellationToken,
    refusals: Seldom,
    errors: Seldom,
}

impl Door {
    /// Starts a task for the connection, or closes it at once if there are too many.
    fn admit(&self, accepted: Accepted) {
        let Ok(permit) = self.room.clone().try_acquire_owned() else {
            self.shared.context.counters.connections_refused.add(1);
            if self.refusals.now() {
                let (source, max) = (&self.shared.name, self.allowed.connections);
                warn!(source, "a connection is refused: there are {max} already, which is `max_connections`");
            }
            return;
        };
        let (shared, idle, stop) = (self.shared.clone(), self.allowed.idle, self.stop.clone());
        self.connections.spawn(async move {
            match accepted {
                Accepted::Tcp(stream) => {
                    let (reader, writer) = stream.into_split();
                    serve(shared, reader, writer, idle, stop).await;
                }
                Accepted::Unix(stream) => {
                    let (reader, writer) = stream.into_split();
                    serve(shared, reader, writer, idle, stop).await;
                }
            }
            drop(permit);
        });
    }

    /// Waits a moment: most errors of accepting, such as too many open files, would come again at once.
    async fn pause(&self, error: &io::Error) {
        if self.errors.now() {
            warn!(source = self.shared.name, %error, "cannot accept a connection; trying again");
        }
        self.stop.run_until_cancelled(tokio::time::sleep(ERROR_PAUSE)).await;
    }
}
