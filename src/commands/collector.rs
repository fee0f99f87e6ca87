//! `logboom collector`.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::{Args, ValueEnum};
use logboom_adaptor::process;
use logboom_collector::{Collector, change_routes};
use logboom_config::{Settings, Sink};

/// Options of `logboom collector`.
#[derive(Args)]
pub struct CollectorArgs {
    /// Settings file with `[collector]` and `[sink]` sections
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Listen here, whatever `collector.listen` says
    #[arg(short, long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Commit to the table here, whatever `sink.url` says
    #[arg(short, long, value_name = "URL")]
    store: Option<String>,
    /// Give the table the routes of these settings first. Stop all its other collectors before, or records may be in two
    /// tables
    #[arg(long, value_name = "HOW", num_args = 0..=1, require_equals = true, default_missing_value = "checked")]
    change_routes: Option<ChangeRoutes>,
}

/// Whether it matters what the tables of the old routes have.
#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum ChangeRoutes {
    /// Not while blocks are in the table of a route and not yet in that of `[sink]`
    Checked,
    /// Also then: records of those blocks may end up in two tables
    Unchecked,
}

/// Runs a collector until a signal ends it.
pub async fn run(args: CollectorArgs) -> Result<()> {
    let settings = Settings::load(&args.config)?;
    let missing = |section: &str| format!("{}: there is no [{section}] section in it; add one", args.config.display());
    let mut collector = settings.collector.with_context(|| missing("collector"))?;
    let mut sink = settings.sink.with_context(|| missing("sink"))?;
    if let Some(listen) = args.listen {
        collector.listen = listen;
    }
    if let Some(store) = args.store {
        sink.url = store;
    }
    if let Some(how) = args.change_routes {
        change(&sink, how).await?;
    }
    let collector = Collector::start(collector, &sink).await?;
    process::notify_ready();
    process::stop_signal().await?;
    collector.drain().await;
    Ok(())
}

async fn change(sink: &Sink, how: ChangeRoutes) -> Result<()> {
    let found = change_routes(sink, how == ChangeRoutes::Unchecked).await?;
    let unfinished = found.unfinished.iter().map(|(url, streams)| format!("{url} of {streams} streams"));
    let unfinished = unfinished.collect::<Vec<_>>().join(", ");
    if !found.changed && !unfinished.is_empty() {
        bail!(
            "the routes were not changed: there are blocks that a crash left half committed, in {unfinished}; start a \
             collector with the old routes until their adaptors have sent them again, or, if those streams are sent to \
             another sink or never again, write --change-routes=unchecked"
        );
    }
    if !found.changed {
        bail!(
            "the routes were not changed: another collector has just changed them to yet others; look at its settings"
        );
    }
    Ok(())
}
