//! The adaptor: takes records from sources, keeps them in a spool on local disk, and sends them to a collector.
//!
//! A record goes `source` → [`intake`] → `spool` → `sender`; this file starts these in the right order and ends them in
//! the same: sources first, the sender last. Sources also come and go in between (`control`, `sources`).

pub mod command;
mod control;
mod counters;
mod intake;
mod losses;
pub mod process;
mod route;
mod sender;
#[cfg(feature = "simulation")]
pub mod simulation;
mod source;
mod sources;
mod spool;

use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use logboom_config::{Adaptor as Settings, Source};
use logboom_security::{ClientTls, Live};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

pub use counters::Counters;
pub use route::{Reason, Routes};
pub use source::OpenError;
pub use spool::SpoolError;

use control::Control;
use intake::Intake;
use losses::Losses;
use sources::Sources;
use spool::disk::Disk;
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
    /// A file of a certificate or a token cannot be used.
    #[error("{0}")]
    Key(String),
    /// Live control cannot listen where the settings say.
    #[error("{0}")]
    Control(String),
}

/// A running adaptor.
pub struct Adaptor {
    sources: Arc<Sources>,
    control: Arc<Control>,
    control_address: Option<SocketAddr>,
    /// Live control, and the log of counts.
    helpers: TaskTracker,
    stop_helpers: CancellationToken,
    /// Writes loss records, if that is wanted.
    losses: Option<JoinHandle<()>>,
    stop_losses: CancellationToken,
    intake: Intake,
    writer: JoinHandle<u64>,
    give_up_writing: CancellationToken,
    spool: Arc<Spool>,
    sender: JoinHandle<()>,
    drain_sender: CancellationToken,
    stop_sender: CancellationToken,
    routes: Arc<Routes>,
    drain_timeout: Duration,
}

impl Adaptor {
    /// Opens the spool and every source, then starts.
    ///
    /// # Errors
    /// [`StartError`] when the folder or a socket cannot be used; nothing is left running then.
    pub async fn start(settings: Settings) -> Result<Self, StartError> {
        Ok(Self::start_with(settings, Vec::new()).await?.0)
    }

    /// The same with more sources, each of which may fail: those that did are returned.
    ///
    /// # Errors
    /// As [`Adaptor::start`].
    pub async fn start_with(settings: Settings, optional: Vec<Source>) -> Result<(Self, Vec<OpenError>), StartError> {
        Self::start_on(Machine::default(), settings, optional).await
    }

    async fn start_on(
        machine: Machine,
        settings: Settings,
        optional: Vec<Source>,
    ) -> Result<(Self, Vec<OpenError>), StartError> {
        let counters = Arc::new(Counters::default());
        let (spool, recovered) = Spool::open(machine.disk, &settings.spool, counters.clone())?;
        let host: Arc<str> = settings.host.clone().unwrap_or_else(host_name).into();
        let routes = Arc::new(Routes::new(&settings));
        let intake = Intake::new(settings.spool.block_size, settings.spool.buffer_size);
        let own = counters.clone();
        let context = source::Context {
            intake: intake.clone(),
            host: host.clone(),
            labels: Arc::new(settings.labels.clone()),
            positions: Arc::new(recovered.positions),
            resumed: recovered.resumed,
            counters,
            routes: routes.clone(),
        };
        let sources = Arc::new(Sources::new(context, spool.clone()));
        for source in settings.sources.clone() {
            sources.open(source).await?;
        }
        let mut failed = Vec::new();
        for source in optional {
            failed.extend(sources.open(source).await.err());
        }
        sources.open_added().await;
        let mut bound = control::bind(&settings).await.map_err(StartError::Control)?;
        let key = |message| StartError::Key(format!("[adaptor]: {message}"));
        let tls = settings.tls.as_ref().map(|tls| ClientTls::open("`adaptor.collectors`", tls)).transpose();
        let token = settings.token.map(|token| Live::secret("`adaptor.token_file`", token)).transpose();
        let (tls, token) = (tls.map_err(key)?, token.map_err(key)?);

        let give_up_writing = CancellationToken::new();
        let writer = Writer::open(spool.clone(), &host, give_up_writing.clone());
        let stream = writer.stream();
        let writer = start_writer(writer, intake.clone());
        sources.run();
        let control_address = bound.address;
        let control = Control::new(sources.clone(), spool.clone(), bound.tokens.take());
        let (helpers, stop_helpers) = (TaskTracker::new(), CancellationToken::new());
        helpers.spawn(control.clone().serve(bound, stop_helpers.clone()));
        helpers.spawn(report(sources.clone(), routes.clone(), stop_helpers.clone()));
        helpers.close();
        let stop_losses = CancellationToken::new();
        let losses = settings.loss_records.then(|| {
            let (intake, spool, labels) = (intake.clone(), spool.clone(), settings.labels.clone());
            let losses = Losses::new(intake, spool, sources.clone(), routes.clone(), labels);
            tokio::spawn(losses.run(stop_losses.clone()))
        });
        let (drain_sender, stop_sender) = (CancellationToken::new(), CancellationToken::new());
        let sender = sender::Settings {
            collectors: settings.collectors,
            tls,
            token,
            host,
            max_age: settings.spool.max_age,
            send_expired: settings.spool.send_expired,
            counters: own,
            #[cfg(feature = "simulation")]
            network: machine.network,
        };
        let date = spool.disk().date();
        for stream in spool.streams().iter().filter(|stream| !sender.may_send(stream, date)) {
            sources.own().streams_expired.add(1);
            warn!(stream = %stream.id, "a stream older than `adaptor.spool.max_age` is not sent: its records may be in the \
                table already; set `adaptor.spool.send_expired = true` to send it all the same, or delete its folder");
        }
        let sender = tokio::spawn(sender::run(sender, spool.clone(), drain_sender.clone(), stop_sender.clone()));
        info!(%stream, spool = %settings.spool.path.display(), "adaptor started");
        let adaptor = Self {
            sources,
            control,
            control_address,
            helpers,
            stop_helpers,
            losses,
            stop_losses,
            intake,
            writer,
            give_up_writing,
            spool,
            sender,
            drain_sender,
            stop_sender,
            routes,
            drain_timeout: settings.drain_timeout,
        };
        Ok((adaptor, failed))
    }

    /// Ends: stops the sources, syncs what they took in, and waits up to the drain time-out for the collector to commit
    /// it. What is not committed then stays in the spool for the next start. Whether everything is committed.
    pub async fn drain(self) -> bool {
        let deadline = Instant::now() + self.drain_timeout;
        self.control.end();
        if !self.sources.stop(SOURCES_TIMEOUT.min(self.drain_timeout)).await {
            warn!("sources are slow to end; ending without what they still hold unacknowledged");
        }
        self.stop_losses.cancel();
        if let Some(losses) = self.losses {
            let _ = losses.await;
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
        self.sources.own().records_abandoned.add(abandoned);
        self.drain_sender.cancel();
        let mut sender = self.sender;
        if tokio::time::timeout(deadline.saturating_duration_since(Instant::now()), &mut sender).await.is_err() {
            self.stop_sender.cancel();
            let _ = sender.await;
        }
        self.stop_helpers.cancel();
        self.helpers.wait().await;
        let drained = self.spool.is_drained();
        let (counters, dropped) = (self.sources.totals().report(), self.routes.report());
        match drained {
            true => info!(counters, dropped, "adaptor ended; everything is committed"),
            false => info!(counters, dropped, bytes = self.spool.bytes(), "adaptor ended; the rest waits in the spool"),
        }
        drained
    }

    /// What has been counted so far, by all sources together.
    pub fn counters(&self) -> Counters {
        self.sources.totals()
    }

    /// Where live control listens on TCP, if it does.
    pub fn control_address(&self) -> Option<SocketAddr> {
        self.control_address
    }

    /// The rules that records pass, with what each of them has dropped.
    pub fn routes(&self) -> &Routes {
        &self.routes
    }
}

/// What an adaptor runs on: this machine, or a simulated one.
#[derive(Default)]
struct Machine {
    disk: Disk,
    #[cfg(feature = "simulation")]
    network: Option<Arc<dyn simulation::Network>>,
}

/// Starts the writer in a thread of its own.
fn start_writer(writer: Writer, intake: Intake) -> JoinHandle<u64> {
    #[cfg(feature = "simulation")]
    if logboom_config::simulation::is_on() {
        return tokio::spawn(async move { writer.write(&intake).await });
    }
    tokio::task::spawn_blocking(move || {
        let written = std::panic::catch_unwind(AssertUnwindSafe(|| writer.run(&intake)));
        // Without a writer nothing can be acknowledged: better to end, so that a supervisor starts anew.
        written.unwrap_or_else(|_| std::process::abort())
    })
}

async fn report(sources: Arc<Sources>, routes: Arc<Routes>, stop: CancellationToken) {
    let mut last = (String::new(), String::new());
    while stop.run_until_cancelled(tokio::time::sleep(REPORT_INTERVAL)).await.is_some() {
        let now = (sources.totals().report(), routes.report());
        if now != last {
            info!(counters = now.0, dropped = now.1, "so far");
            last = now;
        }
    }
}

fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
