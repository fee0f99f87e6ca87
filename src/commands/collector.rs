//! `logboom collector`.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use clap::Args;
use logboom_adaptor::process;
use logboom_collector::Collector;
use logboom_config::Settings;

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
    let collector = Collector::start(collector, &sink).await?;
    process::stop_signal().await?;
    collector.drain().await;
    Ok(())
}
