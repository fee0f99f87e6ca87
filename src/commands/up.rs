//! `logboom up`: everything in one process on one folder.
//!
//! The same code on the same paths as production: an adaptor with loopback sources, a collector, a table. Only the flush
//! is short.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use logboom_adaptor::{Adaptor, process};
use logboom_collector::Collector;
use logboom_config::{FileSource, Format, Settings, Sink, Source, SourceKind, Spool, TcpSource, UnixSource};

/// Where `logboom query` looks if it is not told.
pub const DEFAULT_STORE: &str = "./logboom-data/store";

/// Options of `logboom up`.
#[derive(Args)]
pub struct UpArgs {
    /// Keep everything in this folder
    #[arg(short, long, value_name = "DIR", default_value = "./logboom-data")]
    data: PathBuf,
    /// Follow these files too; their names up to the first dot are the categories; may be repeated
    #[arg(short, long, value_name = "GLOB")]
    tail: Vec<String>,
    /// Take records on this TCP address
    #[arg(short, long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:14680")]
    listen: SocketAddr,
    /// Take sources, labels and limits from this settings file too; its `[sink]` replaces the local table
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs everything until a signal ends it; what was taken in is committed before it returns.
pub async fn run(args: UpArgs) -> Result<()> {
    let settings = args.config.as_deref().map_or_else(|| Ok(Settings::default()), Settings::load)?;
    std::fs::create_dir_all(&args.data).with_context(|| format!("cannot create the folder {}", args.data.display()))?;

    let mut collector = settings.collector.unwrap_or_default();
    collector.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    collector.token = None;
    if args.config.is_none() {
        collector.flush_interval = Duration::from_secs(2);
    }
    let store = args.data.join("store");
    let sink = settings.sink.unwrap_or_else(|| Sink::at(store.to_string_lossy()));
    let mut adaptor = settings.adaptor.unwrap_or_default();
    adaptor.spool = Spool { path: args.data.join("spool"), ..adaptor.spool };
    adaptor.token = None;
    adaptor.sources.extend(local_sources(&args));

    let collector = Collector::start(collector, &sink).await?;
    adaptor.collectors = vec![collector.address().to_string()];
    let adaptor = Adaptor::start(adaptor).await?;
    announce(&args, &sink);
    process::stop_signal().await?;
    println!("stopping: committing what is spooled");
    // First the adaptor, whose last blocks the collector must still take.
    let committed = adaptor.drain().await;
    collector.drain().await;
    if !committed {
        println!("some records are not committed yet; they wait in {}", args.data.join("spool").display());
    }
    Ok(())
}

fn local_sources(args: &UpArgs) -> Vec<Source> {
    let unix = SourceKind::Unix(UnixSource::at(args.data.join("logboom.sock")));
    let tcp = SourceKind::Tcp(TcpSource::at(args.listen));
    let mut sources = vec![Source::new("local-unix", unix), Source::new("local-tcp", tcp)];
    for source in &mut sources {
        source.format = Format::Json;
        source.category = logboom_config::Template::fixed("default");
    }
    let tails = args.tail.iter().enumerate();
    sources.extend(tails.map(|(index, glob)| {
        Source::new(format!("tail-{}", index + 1), SourceKind::File(FileSource::at([glob.as_str()])))
    }));
    sources
}

fn announce(args: &UpArgs, sink: &Sink) {
    let data = args.data.display();
    println!("logboom {} is up on {data}", env!("CARGO_PKG_VERSION"));
    println!("  listening  {data}/logboom.sock and tcp {}: one record a line, JSON or plain", args.listen);
    for glob in &args.tail {
        println!("  following  {glob}");
    }
    println!("  table      {}", sink.url);
    let default = args.data == Path::new("./logboom-data");
    let (socket, store) = match default {
        true => (String::new(), String::new()),
        false => (format!(" --socket {data}/logboom.sock"), format!(" --store {}", sink.url)),
    };
    println!("  send       echo hello | logboom send --category demo{socket}");
    println!("  query      logboom query{store} 'SELECT category, count(*) FROM logs GROUP BY category'");
}
