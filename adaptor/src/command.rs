//! The command line of the adaptor, shared by `logboom adaptor` and the small binary `logboom-adaptor`.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use logboom_config::Settings;

use crate::{Adaptor, process};

/// Options of the adaptor.
#[derive(Args, Debug)]
pub struct AdaptorArgs {
    /// Settings file with an `[adaptor]` section
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// Keep blocks in DIR, whatever `adaptor.spool.path` says
    #[arg(short, long, value_name = "DIR")]
    spool: Option<PathBuf>,
    /// Send to this collector, whatever `adaptor.collectors` says; may be repeated
    #[arg(short = 'C', long, value_name = "HOST:PORT")]
    collector: Vec<String>,
    /// Name of this host in records, whatever `adaptor.host` says
    #[arg(long, value_name = "NAME")]
    host: Option<String>,
}

/// Runs an adaptor until a signal ends it.
///
/// # Errors
/// Wrong settings, or a folder or socket that cannot be used.
pub async fn run(args: AdaptorArgs) -> Result<()> {
    let settings = Settings::load(&args.config)?;
    let mut settings = settings
        .adaptor
        .with_context(|| format!("{}: there is no [adaptor] section in it; add one", args.config.display()))?;
    if let Some(path) = args.spool {
        settings.spool.path = path;
    }
    if !args.collector.is_empty() {
        settings.collectors = args.collector;
        if let Some(message) = settings.in_the_clear() {
            bail!("--collector {message}");
        }
    }
    if args.host.is_some() {
        settings.host = args.host;
    }
    let adaptor = Adaptor::start(settings).await?;
    process::notify_ready();
    process::stop_signal().await?;
    adaptor.drain().await;
    Ok(())
}
