//! The collector: takes blocks from adaptors, merges those of many streams into sink files, and commits them.
//!
//! A block goes [`session`] → [`batcher`] → [`committer`], and what is committed is told the way back. A collector holds
//! nothing that matters: it can die at any time, and any other can go on.

mod batch;
mod batcher;
mod committer;
mod marks;
mod session;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use logboom_config::{Collector as Settings, Sink};
use logboom_sink::table::{TableOptions, View};
use logboom_sink::{FileSettings, Store};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use batcher::{Batcher, Limits};
use committer::Committer;
use marks::Marks;
use session::{Context, MEMORY_UNIT};

/// Why a collector cannot start. One line.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The store or the table cannot be used.
    #[error(transparent)]
    Sink(#[from] logboom_sink::Error),
    /// The port cannot be opened.
    #[error("cannot listen on {address}: {source}; stop what uses it or set another `collector.listen`")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A running collector.
pub struct Collector {
    address: SocketAddr,
    listener: JoinHandle<()>,
    stop_listening: CancellationToken,
    sessions: TaskTracker,
    drain_sessions: CancellationToken,
    batcher: JoinHandle<()>,
    committer: JoinHandle<()>,
    background: TaskTracker,
    drain_timeout: Duration,
}

impl Collector {
    /// Opens the table (creating it if there is none) and the port, then starts.
    ///
    /// # Errors
    /// [`StartError`] when either cannot be used; nothing is left running then.
    pub async fn start(settings: Settings, sink: &Sink) -> Result<Self, StartError> {
        let options = TableOptions {
            format: sink.format,
            log_retention: sink.log_retention,
            checkpoint_interval: sink.checkpoint_interval,
            ..TableOptions::default()
        };
        let store = Store::open(&sink.url, &sink.options)?;
        Self::start_on(store, settings, FileSettings::from(sink), options).await
    }

    /// The same on a store that is open already.
    ///
    /// # Errors
    /// As [`Collector::start`].
    pub async fn start_on(
        store: Store,
        settings: Settings,
        files: FileSettings,
        options: TableOptions,
    ) -> Result<Self, StartError> {
        let listen_error = |source| StartError::Listen { address: settings.listen, source };
        let listener = TcpListener::bind(settings.listen).await.map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        let view = View::open_or_create(&store, &options).await?;
        let marks = Marks::new(view.clone());

        // Half the memory closes a batch, so that the next one can fill while it is committed.
        let bytes = files.target_file_size.min(settings.memory / 2);
        let (batcher, intake) = Batcher::new(Limits { interval: settings.flush_interval, bytes });
        let (batches, closed) = mpsc::channel(1);
        let background = TaskTracker::new();
        let committer = Committer {
            store: store.clone(),
            view,
            marks: marks.clone(),
            files,
            options,
            background: background.clone(),
            checkpointing: Arc::new(Semaphore::new(1)),
        };
        let memory_units = u32::try_from(settings.memory / MEMORY_UNIT).unwrap_or(u32::MAX);
        let context = Context {
            token: settings.token,
            intake,
            marks,
            memory: Arc::new(Semaphore::new(memory_units as usize)),
            memory_units,
            sessions: Arc::new(AtomicUsize::new(0)),
        };
        let (sessions, drain_sessions) = (TaskTracker::new(), CancellationToken::new());
        let stop_listening = CancellationToken::new();
        let listen = listen(
            listener,
            settings.max_connections,
            context,
            sessions.clone(),
            drain_sessions.clone(),
            stop_listening.clone(),
        );
        info!(%address, store = %store.url(), "collector started");
        Ok(Self {
            address,
            listener: tokio::spawn(listen),
            stop_listening,
            sessions,
            drain_sessions,
            batcher: tokio::spawn(batcher.run(batches)),
            committer: tokio::spawn(committer.run(closed)),
            background,
            drain_timeout: settings.drain_timeout,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends: takes in nothing more, commits what it has and tells. Whether that was done within the drain time-out; what
    /// was not committed is still in the adaptors' spools.
    pub async fn drain(self) -> bool {
        let deadline = Instant::now() + self.drain_timeout;
        self.stop_listening.cancel();
        let _ = self.listener.await;
        self.drain_sessions.cancel();
        self.sessions.close();
        self.background.close();
        let mut tasks = [self.batcher, self.committer];
        let ended = async {
            for task in &mut tasks {
                let _ = task.await;
            }
            self.sessions.wait().await;
            self.background.wait().await;
        };
        let drained = tokio::time::timeout(deadline.saturating_duration_since(Instant::now()), ended).await.is_ok();
        for task in &tasks {
            task.abort();
        }
        match drained {
            true => info!("collector ended; everything it took in is committed"),
            false => warn!("collector ended before it could commit; the blocks are still in their spools"),
        }
        drained
    }
}

async fn listen(
    listener: TcpListener,
    max_connections: usize,
    context: Context,
    sessions: TaskTracker,
    drain_sessions: CancellationToken,
    stop: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((_, peer)) if context.sessions.load(Ordering::Relaxed) >= max_connections => {
                warn!(%peer, max_connections, "too many connections; hung up");
            }
            Ok((socket, peer)) => {
                sessions.spawn(session::run(socket, peer, context.clone(), drain_sessions.child_token()));
            }
            Err(error) => {
                // Mostly too many open files: it passes, and spinning would not help.
                warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}
