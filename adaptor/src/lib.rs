//! The adaptor: takes records from sources, keeps them in a spool on local disk, and sends them to a collector.
//!
//! A record goes `source` → [`intake`] → `spool` → `sender`; this file starts these in the right order and ends them in
//! the same: sources first, the sender last.

pub mod command;
mod counters;
mod intake;
pub mod process;
mod route;
mod sender;
mod source;
mod spool;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::{Duration, Instant};

use logboom_config::Adaptor as Settings;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

pub use counters::Counters;
pub use route::{Reason, Routes};
pub use source::OpenError;
pub use spool::SpoolError;

use intake::Intake;
use spool::{Spool, Writer};

/// How long sources have to hand over what they hold.
const SOURCES_TIMEOUT: Duration = Duration::from_secs(5);
/// How often counts that moved are logged.
const REPORT_INTERVAL: Duration = Duration::from_secs(60);

/// Why an adaptor cannot start. One line.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The spool cannot be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// A source cannot be opened.
    #[error(transparent)]
    Source(#[from] OpenError),
}

/// A running adaptor.
pub struct Adaptor {
    sources: TaskTracker,
    stop_sources: CancellationToken,
    intake: Intake,
    writer: JoinHandle<u64>,
    give_up_writing: CancellationToken,
    spool: Arc<Spool>,
    sender: JoinHandle<()>,
    drain_sender: CancellationToken,
    stop_sender: CancellationToken,
    counters: Arc<Counters>,
    routes: Arc<Routes>,
    drain_timeout: Duration,
}

impl Adaptor {
    /// Opens the spool and every source, then starts.
    ///
    /// # Errors
    /// [`StartError`] when the folder or a socket cannot be used; nothing is left running then.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        let counters = Arc::new(Counters::default());
        let (spool, recovered) = Spool::open(&settings.spool, counters.clone())?;
        let host: Arc<str> = settings.host.clone().unwrap_or_else(host_name).into();
        let routes = Arc::new(Routes::new(&settings));
        let intake = Intake::new(settings.spool.block_size, settings.spool.buffer_size);
        let context = source::Context {
            intake: intake.clone(),
            host: host.clone(),
            labels: Arc::new(settings.labels),
            positions: Arc::new(recovered.positions),
            resumed: recovered.resumed,
            counters: counters.clone(),
            routes: routes.clone(),
        };
        let stop_sources = CancellationToken::new();
        let mut opened = Vec::new();
        for source in settings.sources {
            opened.push(source::open(source, context.clone(), stop_sources.child_token()).await?);
        }

        let give_up_writing = CancellationToken::new();
        let writer = Writer::open(spool.clone(), &host, give_up_writing.clone());
        let stream = writer.stream();
        let writer = tokio::task::spawn_blocking({
            let intake = intake.clone();
            move || {
                let written = std::panic::catch_unwind(AssertUnwindSafe(|| writer.run(&intake)));
                // Without a writer nothing can be acknowledged: better to end, so that a supervisor starts anew.
                written.unwrap_or_else(|_| std::process::abort())
            }
        });
        let sources = TaskTracker::new();
        for running in opened {
            sources.spawn(running);
        }
        sources.spawn(report(counters.clone(), routes.clone(), stop_sources.child_token()));
        sources.close();
        let (drain_sender, stop_sender) = (CancellationToken::new(), CancellationToken::new());
        let sender = sender::Settings {
            collectors: settings.collectors,
            token: settings.token,
            host,
            max_age: settings.spool.max_age,
            send_expired: settings.spool.send_expired,
        };
        for stream in spool.streams().iter().filter(|stream| !sender.may_send(stream)) {
            counters.streams_expired.add(1);
            warn!(stream = %stream.id, "a stream older than `adaptor.spool.max_age` is not sent: its records may be in the \
                table already; set `adaptor.spool.send_expired = true` to send it all the same, or delete its folder");
        }
        let sender = tokio::spawn(sender::run(sender, spool.clone(), drain_sender.clone(), stop_sender.clone()));
        info!(%stream, spool = %settings.spool.path.display(), "adaptor started");
        Ok(Self {
            sources,
            stop_sources,
            intake,
            writer,
            give_up_writing,
            spool,
            sender,
            drain_sender,
            stop_sender,
            counters,
            routes,
            drain_timeout: settings.drain_timeout,
        })
    }

    /// Ends: stops the sources, syncs what they took in, and waits up to the drain time-out for the collector to commit
    /// it. What is not committed then stays in the spool for the next start. Whether everything is committed.
    pub async fn drain(self) -> bool {
        let deadline = Instant::now() + self.drain_timeout;
        self.stop_sources.cancel();
        if tokio::time::timeout(SOURCES_TIMEOUT.min(self.drain_timeout), self.sources.wait()).await.is_err() {
            warn!("sources are slow to end; ending without what they still hold unacknowledged");
        }
        self.intake.close();
        let mut writer = self.writer;
        let written = tokio::time::timeout(deadline.saturating_duration_since(Instant::now()), &mut writer).await;
        let abandoned = match written {
            Ok(written) => written,
            Err(_) => {
                self.give_up_writing.cancel();
                writer.await
            }
        };
        let abandoned = abandoned.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
        self.counters.records_abandoned.add(abandoned);
        self.drain_sender.cancel();
        let mut sender = self.sender;
        if tokio::time::timeout(deadline.saturating_duration_since(Instant::now()), &mut sender).await.is_err() {
            self.stop_sender.cancel();
            let _ = sender.await;
        }
        let drained = self.spool.is_drained();
        let (counters, dropped) = (self.counters.report(), self.routes.report());
        match drained {
            true => info!(counters, dropped, "adaptor ended; everything is committed"),
            false => info!(counters, dropped, bytes = self.spool.bytes(), "adaptor ended; the rest waits in the spool"),
        }
        drained
    }

    /// What has been counted so far.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The rules that records pass, with what each of them has dropped.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }
}

async fn report(counters: Arc<Counters>, routes: Arc<Routes>, stop: CancellationToken) {
    let mut last = (String::new(), String::new());
    while stop.run_until_cancelled(tokio::time::sleep(REPORT_INTERVAL)).await.is_some() {
        let now = (counters.report(), routes.report());
        if now != last {
            info!(counters = now.0, dropped = now.1, "so far");
            last = now;
        }
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
