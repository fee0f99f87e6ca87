//! Sources: where records come from. One file each; this one holds what they share.
//!
//! A source is opened (its socket bound, its paths checked) before the adaptor says that it is ready, then runs until it
//! is told to stop. It turns bytes into chunks for the [`Intake`] and answers its producer, where it can, only after the
//! chunk's receipt says that it is durable.

mod answers;
mod command;
mod exchange;
mod exec;
mod file;
mod forward;
mod funnel;
mod gelf;
mod heartbeat;
mod http;
mod inlet;
mod journald;
mod json;
mod kubernetes;
mod line;
mod malformed;
pub(crate) mod net;
mod otlp;
mod protobuf;
mod scribe;
mod socket;
mod stdin;
mod syslog;
#[cfg(test)]
pub(crate) mod testing;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use futures::future::BoxFuture;
use logboom_config::{Source, SourceKind};
use tokio_util::sync::CancellationToken;

use crate::counters::Counters;
use crate::intake::{Chunk, Intake, Refused};
use crate::route::Routes;

pub(crate) use funnel::Funnel;
pub(crate) use inlet::{Batch, Inlet};
use malformed::Malformed;

/// What every source of an adaptor shares. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    /// Where records go.
    pub intake: Intake,
    /// Name of this host.
    pub host: Arc<str>,
    /// Attributes of every record of this host.
    pub labels: Arc<BTreeMap<String, String>>,
    /// Positions that were durable when the adaptor started, by key.
    pub positions: Arc<BTreeMap<String, String>>,
    /// Whether this spool was used before: then files seen for the first time are new, and read from their beginning.
    pub resumed: bool,
    /// What is counted.
    pub counters: Arc<Counters>,
    /// The rules that every record passes.
    pub routes: Arc<Routes>,
}

impl Context {
    /// Hands over `chunk` of a source whose data waits safely where it is: waits while memory or the spool is full, whatever
    /// the policy, and not until it is durable.
    ///
    /// # Errors
    /// [`Refused::Closed`].
    pub(crate) async fn keep(&self, chunk: Chunk) -> Result<(), Refused> {
        if chunk.is_empty() {
            return Ok(());
        }
        let (records, bytes) = (chunk.records() as u64, chunk.body_bytes() as u64);
        let _receipt = self.intake.append_or_wait(chunk).await?;
        self.count_taken(records, bytes);
        Ok(())
    }

    /// Counts records that were taken in, whose bodies have `bytes` bytes.
    pub(crate) fn count_taken(&self, records: u64, bytes: u64) {
        self.counters.records_in.add(records);
        self.counters.bytes_in.add(bytes);
    }
}

/// Why a source cannot be opened. One line, with the source's name and the fix.
#[derive(Debug, thiserror::Error)]
#[error("source `{source_name}`: {message}")]
pub struct OpenError {
    /// Name of the source.
    pub source_name: String,
    /// What is wrong and how to mend it.
    pub message: String,
}

/// A source that is open; the future takes records in until it is stopped, then hands over what it holds.
pub type Running = BoxFuture<'static, ()>;

/// Opens `source`.
///
/// # Errors
/// [`OpenError`] when a socket cannot be bound or a path cannot be used.
pub async fn open(source: Source, context: Context, stop: CancellationToken) -> Result<Running, OpenError> {
    let name = source.name.clone();
    let opened: Result<Running, String> = match source.kind.clone() {
        SourceKind::File(settings) => file::open(source, settings, context, stop).await,
        SourceKind::Unix(_) | SourceKind::Tcp(_) | SourceKind::Udp(_) => socket::open(source, context, stop),
        SourceKind::Stdin => stdin::open(source, context, stop).await,
        SourceKind::Scribe(settings) => scribe::open(source, settings, context, stop),
        SourceKind::Syslog(settings) => syslog::open(source, settings, context, stop),
        SourceKind::Forward(settings) => forward::open(source, settings, context, stop),
        SourceKind::Otlp(settings) => otlp::open(source, settings, context, stop),
        SourceKind::Http(settings) => http::open(source, settings, context, stop),
        SourceKind::Gelf(settings) => gelf::open(source, settings, context, stop),
        SourceKind::Journald(settings) => journald::open(source, settings, context, stop),
        SourceKind::Exec(settings) => exec::open(source, settings, context, stop),
        SourceKind::Heartbeat(settings) => heartbeat::open(source, settings, context, stop),
    };
    opened.map_err(|message| OpenError { source_name: name, message })
}

/// The time now, in nanoseconds since 1970: what is observed is observed at this. Ask once for each read, not for each
/// line.
pub(crate) fn observed_now() -> i64 {
    let since = UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
