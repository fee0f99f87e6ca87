//! `logboom up`: everything in one process on one folder.
//!
//! The same code on the same paths as production: an adaptor with loopback sources, a collector, a table. Only the flush
//! is short. Of the protocols' usual ports those that another program has are left out, with a warning.

use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use logboom_adaptor::{Adaptor, process};
use logboom_collector::Collector;
use logboom_config::{
    FileSource, Format, ForwardSource, GelfSource, HttpSource, OtlpSource, ScribeSource, Settings, Sink, Source,
    SourceKind, Spool, SyslogSource, TcpSource, Template, Transport, UdpSource, UnixSource,
};

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
    /// Take records over HTTP on this address [default: 127.0.0.1:14680, if it is free]
    #[arg(short, long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// Take sources, labels and limits from this settings file too; its `[sink]` replaces the local table
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Runs everything until a signal ends it; what was taken in is committed before it returns.
pub async fn run(args: UpArgs) -> Result<()> {
    let settings = args.config.as_deref().map_or_else(|| Ok(Settings::default()), Settings::load)?;
    let mut folder = std::fs::DirBuilder::new();
    folder
        .recursive(true)
        .mode(0o750)
        .create(&args.data)
        .with_context(|| format!("cannot create the folder {}", args.data.display()))?;

    let mut collector = settings.collector.unwrap_or_default();
    // Nobody but this process sends to it, and nobody but this host may look on: so nobody is asked who it is.
    collector.listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    if let Some(http) = collector.http.filter(|http| !http.ip().to_canonical().is_loopback())
        && !collector.insecure
    {
        bail!(
            "`collector.http` is {http}, which other machines can reach; `logboom up` is for this one: set a loopback address, or run `logboom collector`"
        );
    }
    (collector.tls, collector.token, collector.clients, collector.file) = (None, None, vec![], None);
    if args.config.is_none() {
        collector.flush_interval = Duration::from_secs(2);
    }
    let store = args.data.join("store");
    let sink = settings.sink.unwrap_or_else(|| Sink::at(store.to_string_lossy()));
    let mut adaptor = settings.adaptor.unwrap_or_default();
    adaptor.spool = Spool { path: args.data.join("spool"), ..adaptor.spool };
    (adaptor.tls, adaptor.token) = (None, None);
    adaptor.sources.extend(local_sources(&args));
    let protocols = protocol_sources(&args, &adaptor.sources);

    let has_tail = collector.http.is_some();
    let collector = Collector::start(collector, &sink).await?;
    adaptor.collectors = vec![collector.address().to_string()];
    let (adaptor, failed) = Adaptor::start_with(adaptor, protocols.clone()).await?;
    let is_open = |source: &&Source| failed.iter().all(|failed| failed.source_name != source.name);
    let tail = collector.http_address();
    announce(&args, &sink, &adaptor, tail, &protocols.iter().filter(is_open).collect::<Vec<_>>());
    if tail.is_none() && has_tail {
        println!("  warning    tail: another program has its port; set `collector.http`");
    }
    for error in &failed {
        // What there is to do about it is for those who set ports.
        let reason = error.message.split(';').next().unwrap_or_default();
        println!("  warning    {}: {reason}", error.source_name);
    }
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

/// Sources that must open.
fn local_sources(args: &UpArgs) -> Vec<Source> {
    let mut socket = Source::new("local-unix", SourceKind::Unix(UnixSource::at(args.data.join("logboom.sock"))));
    socket.format = Format::Json;
    socket.category = Template::fixed("default");
    let mut sources = vec![socket];
    sources.extend(args.listen.map(http));
    let tails = args.tail.iter().enumerate();
    sources.extend(tails.map(|(index, glob)| {
        Source::new(format!("tail-{}", index + 1), SourceKind::File(FileSource::at([glob.as_str()])))
    }));
    sources
}

/// Sources at the usual ports of their protocols. What the settings have there already is left out.
fn protocol_sources(args: &UpArgs, others: &[Source]) -> Vec<Source> {
    let loopback = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let syslog = |name: &str, transport| {
        let mut source = Source::new(name, SourceKind::Syslog(SyslogSource { transport }));
        source.category = "{app_name}".parse().expect("it is a template");
        source
    };
    let otlp = OtlpSource::default();
    let (grpc, web) = (OtlpSource { http: None, ..otlp.clone() }, OtlpSource { grpc: None, ..otlp });
    let mut sources = vec![
        Source::new("scribe", SourceKind::Scribe(ScribeSource::default())),
        syslog("syslog-udp", Transport::Udp(UdpSource::at(loopback(1514)))),
        syslog("syslog-tcp", Transport::Tcp(TcpSource::at(loopback(1514)))),
        Source::new("forward", SourceKind::Forward(ForwardSource::default())),
        Source::new("otlp-grpc", SourceKind::Otlp(grpc)),
        Source::new("otlp-http", SourceKind::Otlp(web)),
        Source::new("gelf", SourceKind::Gelf(GelfSource::default())),
    ];
    if args.listen.is_none() {
        sources.insert(0, http(loopback(14680)));
    }
    sources.retain(|source| others.iter().all(|other| source.clash(other).is_none()));
    sources
}

fn http(listen: SocketAddr) -> Source {
    Source::new("http", SourceKind::Http(HttpSource { tcp: TcpSource::at(listen), ..HttpSource::default() }))
}

/// `scribe 127.0.0.1:1463`.
fn place(source: &Source) -> String {
    let tcp = source.kind.tcp_listeners().into_iter().map(|tcp| tcp.listen);
    let addresses: Vec<_> = tcp.chain(source.kind.udp_listener().map(|udp| udp.listen)).collect();
    let addresses: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
    format!("{} {}", source.name, addresses.join(" "))
}

fn announce(args: &UpArgs, sink: &Sink, adaptor: &Adaptor, tail: Option<SocketAddr>, protocols: &[&Source]) {
    let data = args.data.display();
    println!("logboom {} is up on {data}", env!("CARGO_PKG_VERSION"));
    println!("  listening  {data}/logboom.sock: one record a line, JSON or plain");
    let explicit = args.listen.map(|listen| format!("http {listen}"));
    let places: Vec<String> = explicit.into_iter().chain(protocols.iter().map(|source| place(source))).collect();
    for places in places.chunks(4) {
        println!("  listening  {}", places.join(", "));
    }
    for glob in &args.tail {
        println!("  following  {glob}");
    }
    if let Some(control) = adaptor.control_address() {
        println!("  control    http://{control}/");
    }
    println!("  table      {}", sink.url);
    let default = args.data == Path::new("./logboom-data");
    let (socket, store) = match default {
        true => (String::new(), String::new()),
        false => (format!(" --socket {data}/logboom.sock"), format!(" --store {}", sink.url)),
    };
    println!("  send       echo hello | logboom send --category demo{socket}");
    if let Some(tail) = tail {
        let usual = logboom_config::Collector::default().http == Some(tail);
        let collector = if usual { String::new() } else { format!(" --collector http://{tail}") };
        println!("  tail       logboom tail{collector}");
    }
    println!("  query      logboom query{store} 'SELECT category, count(*) FROM logs GROUP BY category'");
}
