//! The collector: takes blocks from adaptors, merges those of many streams into sink files, and commits them.
//!
//! A block goes [`session`] → [`batcher`] → [`committer`], and what is committed is told the way back. A collector holds
//! nothing that matters: it can die at any time, and any other can go on.

mod batch;
mod batcher;
mod committer;
mod door;
mod maintenance;
mod marks;
mod output;
mod pulse;
mod routing;
mod session;
#[cfg(feature = "simulation")]
pub mod simulation;
mod tables;
mod tail;
#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use logboom_config::{ByteSize, Collector as Settings, FileFormat, Sink};
use logboom_security::ASK_INTERVAL;
use logboom_sink::store::probe::{Depth, probe};
use logboom_sink::{Store, maintain};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use batcher::{Batcher, Limits};
use committer::Committer;
use door::Door;
use marks::Marks;
use output::OutputRatio;
use pulse::Pulse;
use session::{Context, MEMORY_UNIT, Windows};
use tables::Tables;
use tail::Tail;

pub use tables::{ChangeOfRoutes, TableSettings, change_routes};

/// Why a collector cannot start. One line.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A store or a table cannot be used.
    #[error(transparent)]
    Sink(#[from] logboom_sink::Error),
    /// The default table has other routes.
    #[error(transparent)]
    Routes(#[from] tables::OtherRoutes),
    /// Two routes, or a route and the default table, have one table.
    #[error("`{url}` and `{other}` are the same table; give every [[sink.route]] a place of its own")]
    SameTable {
        /// A place.
        url: String,
        /// The other.
        other: String,
    },
    /// A file of a certificate or a token cannot be used.
    #[error("[collector]: {0}")]
    Key(String),
    /// The port cannot be opened.
    #[error("cannot listen on {address}: {source}; stop what uses it or set another `collector.{key}`")]
    Listen {
        /// The key that names it.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A running collector.
pub struct Collector {
    address: SocketAddr,
    http_address: Option<SocketAddr>,
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
    /// Probes the stores, opens the tables (creating those that are missing) and the port, then starts.
    ///
    /// # Errors
    /// [`StartError`] when one of them cannot be used; nothing is left running then.
    pub async fn start(settings: Settings, sink: &Sink) -> Result<Self, StartError> {
        let door = Arc::new(Door::open(&settings).map_err(StartError::Key)?);
        let listen_error = |source| StartError::Listen { key: "listen", address: settings.listen, source };
        let listener = TcpListener::bind(settings.listen).await.map_err(listen_error)?;
        let address = listener.local_addr().map_err(listen_error)?;
        let (tables, maintained) = open_tables(sink, settings.memory).await?;
        let http = tail::bind(&settings).await.map_err(|source| {
            let address = settings.http.expect("it was to be bound");
            StartError::Listen { key: "http", address, source }
        })?;
        let tail = http.as_ref().map(|_| Tail::default());
        for (route, earlier) in sink.unreachable_routes() {
            let (table, takes_all) = (&route.sink.url, &earlier.sink.url);
            warn!(%table, %takes_all, "nothing goes to the table of a route; an earlier one takes all of its categories");
        }
        info!(%address, store = %sink.url, routes = sink.routes.len(), "collector started");
        let max_connections = settings.max_connections;
        let schedule = maintenance::Schedule::default();
        let listen = |context, sessions, drain_sessions, stop| {
            tokio::spawn(listen(listener, max_connections, context, sessions, drain_sessions, stop))
        };
        let mut collector = Self::assemble(&settings, door.clone(), tables, maintained, schedule, tail.clone(), listen);
        collector.address = address;
        collector.http_address = http.as_ref().map(|http| http.address);
        if let Some((http, tail)) = http.zip(tail) {
            let end = collector.drain_sessions.child_token();
            collector.background.spawn(http.serve(tail, door, end));
        }
        Ok(collector)
    }

    /// Starts all but the listeners; `listen` starts the one for adaptors, given what its sessions share, where to keep
    /// them, what drains them, and what ends it.
    fn assemble(
        settings: &Settings,
        door: Arc<Door>,
        tables: Tables,
        maintained: Vec<(Store, maintain::Settings)>,
        schedule: maintenance::Schedule,
        tail: Option<Tail>,
        listen: impl FnOnce(Context, TaskTracker, CancellationToken, CancellationToken) -> JoinHandle<()>,
    ) -> Self {
        let default = tables.default_table();
        let marks = Marks::new(default.view.clone());
        // Half the memory closes a batch, so that the next one can fill while it is committed.
        let file_bytes = default.settings.files.target_file_size;
        let limits = Limits { interval: settings.flush_interval, file_bytes, block_bytes: settings.memory / 2 };
        let output = OutputRatio::default();
        warn_of_small_files(&limits, &output, settings.memory);
        let (batcher, intake) = Batcher::new(limits, output.clone());
        let (batches, closed) = mpsc::channel(1);
        let background = TaskTracker::new();
        let pulse = Pulse::default();
        let committer =
            Committer { tables, marks: marks.clone(), output, pulse: pulse.clone(), background: background.clone() };
        let memory_units = u32::try_from(settings.memory / MEMORY_UNIT).unwrap_or(u32::MAX);
        let context = Context {
            door,
            intake,
            tail,
            marks,
            memory: Arc::new(Semaphore::new(memory_units as usize)),
            memory_units,
            windows: Windows::new(settings.memory / 2),
            pulse,
            sessions: Arc::new(AtomicUsize::new(0)),
        };
        let stop_listening = CancellationToken::new();
        for (store, table) in maintained.into_iter().filter(|_| settings.maintenance) {
            background.spawn(maintenance::run(store, table, schedule, stop_listening.child_token()));
        }
        let (sessions, drain_sessions) = (TaskTracker::new(), CancellationToken::new());
        Self {
            address: SocketAddr::from(([0; 4], 0)),
            http_address: None,
            listener: listen(context, sessions.clone(), drain_sessions.clone(), stop_listening.clone()),
            stop_listening,
            sessions,
            drain_sessions,
            batcher: tokio::spawn(batcher.run(batches)),
            committer: tokio::spawn(committer.run(closed)),
            background,
            drain_timeout: settings.drain_timeout,
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where HTTP shows what comes in, if anywhere.
    pub fn http_address(&self) -> Option<SocketAddr> {
        self.http_address
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

/// Probes the stores and opens the tables of `sink`, whose merges share `memory`. Besides them those that can be maintained.
async fn open_tables(sink: &Sink, memory: u64) -> Result<(Tables, Vec<(Store, maintain::Settings)>), StartError> {
    let routes = sink.routes.iter().map(|route| Ok((route.categories.clone(), TableSettings::open(&route.sink)?)));
    let mut routes = routes.collect::<Result<Vec<_>, logboom_sink::Error>>()?;
    let mut default = TableSettings::open(sink)?;
    // While a batch is merged, its rows take as much again at most.
    let merge_memory = memory as usize / (routes.len() + 1);
    for table in routes.iter_mut().map(|(_, table)| table).chain([&mut default]) {
        table.files.merge_memory = merge_memory;
    }
    let stores = routes.iter().map(|(_, table)| &table.store).chain([&default.store]);
    for store in stores.clone() {
        probe(store, Depth::Start, |_| {}).await?;
    }
    let sinks = sink.routes.iter().map(|route| &route.sink).chain([sink]);
    let maintained: Vec<_> = stores
        .zip(sinks)
        .filter(|(_, sink)| sink.format == FileFormat::Parquet)
        .map(|(store, sink)| (store.clone(), maintain::Settings::from(sink)))
        .collect();
    Ok((Tables::open(default, routes).await?, maintained))
}

/// Says so when memory, and not the settings of the sink, decides how large files are.
fn warn_of_small_files(limits: &Limits, output: &OutputRatio, memory: u64) {
    if let Some(reached) = limits.file_bytes_reached(output) {
        let (target, memory) = (ByteSize(limits.file_bytes), ByteSize(memory));
        warn!(
            "collector.memory = {memory} ends batches at files of about {reached}, sink.target_file_size = {target} \
             notwithstanding; more memory makes them larger at once, compaction later",
            reached = ByteSize(reached >> 20 << 20)
        );
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
    let mut looks = tokio::time::interval(ASK_INTERVAL);
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
            _ = looks.tick() => {
                context.door.look();
                continue;
            }
        };
        match accepted {
            Ok((_, peer)) if context.sessions.load(Ordering::Relaxed) >= max_connections => {
                warn!(%peer, max_connections, "too many connections; hung up");
            }
            Ok((_, peer)) if !context.door.may_try(peer) => {}
            Ok((socket, peer)) => {
                let _ = socket.set_nodelay(true);
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
