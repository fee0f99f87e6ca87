//! What a process with these settings will do, for an operator to read before it does.

use std::fmt::Write;

use crate::source::{ReadFrom, Source, SourceKind, TcpSource, Transport, UnixSocketKind, UnixSource};
use crate::spool::{Spool, WhenFull};
use crate::{Adaptor, ByteSize, Client, Collector, FileFormat, Globs, HumanDuration, Settings, Sink, Tls};

impl Settings {
    /// Some lines that say what it will do: take in what, spool where, send where, write where.
    ///
    /// Holds no secret. Each line ends with a line break.
    pub fn describe(&self) -> String {
        let mut text = String::new();
        if let Some(adaptor) = &self.adaptor {
            describe_adaptor(&mut text, adaptor);
        }
        if let Some(collector) = &self.collector {
            describe_collector(&mut text, collector);
        }
        if let Some(sink) = &self.sink {
            describe_sink(&mut text, sink);
        }
        text
    }
}

fn describe_adaptor(text: &mut String, adaptor: &Adaptor) {
    let host = adaptor.host.as_deref().unwrap_or("named as the machine is");
    let _ = writeln!(text, "adaptor (host {host})");
    if adaptor.sources.is_empty() {
        let _ = writeln!(text, "  takes nothing in, only sends what is spooled: there is no [[adaptor.source]]");
    }
    for source in &adaptor.sources {
        let _ = writeln!(text, "  {}", source.describe());
    }
    match (adaptor.control, &adaptor.control_socket) {
        (None, None) => {}
        (listen, socket) => {
            let listen = listen.map(|listen| format!("http://{listen}"));
            let socket = socket.as_ref().map(|path| format!("the unix socket {}", path.display()));
            let places: Vec<_> = listen.into_iter().chain(socket).collect();
            let _ = writeln!(text, "  is controlled at {}", places.join(" and "));
        }
    }
    for route in &adaptor.routes {
        let _ = writeln!(text, "  {}", route.describe());
    }
    let Spool { path, max_size, .. } = &adaptor.spool;
    let then = match adaptor.spool.when_full {
        WhenFull::Block => "sources wait",
        WhenFull::DropNewest => "new records are dropped",
        WhenFull::DropOldest => "the oldest records are dropped",
    };
    let _ = writeln!(text, "  spools in {}, up to {}, then {then}", path.display(), ByteSize(*max_size));
    let with = if adaptor.tls.is_some() { " with TLS" } else { "" };
    let _ = writeln!(text, "  sends to {}{with}, {}", adaptor.collectors.join(" or "), token(&adaptor.token));
}

impl Source {
    /// One line that says what it takes in.
    pub fn describe(&self) -> String {
        describe_source(self)
    }
}

fn describe_source(source: &Source) -> String {
    let Source { name, category, .. } = source;
    let input = match &source.kind {
        SourceKind::File(file) => {
            let from = match file.read_from {
                ReadFrom::Beginning => "the beginning",
                ReadFrom::End => "the end",
            };
            let except = match file.exclude.is_empty() {
                true => String::new(),
                false => format!(" except {}", file.exclude.join(", ")),
            };
            format!("tails {}{except} from {from}", file.include.join(", "))
        }
        SourceKind::Unix(unix) => format!("listens on {}", unix_socket(unix)),
        SourceKind::Tcp(listener) => format!("listens on {}", tcp(listener)),
        SourceKind::Udp(udp) => format!("listens on udp {}", udp.listen),
        SourceKind::Stdin => "reads standard input".to_owned(),
        SourceKind::Scribe(scribe) => format!("speaks Scribe on {}", tcp(&scribe.tcp)),
        SourceKind::Syslog(syslog) => format!("speaks syslog on {}", transport(&syslog.transport)),
        SourceKind::Forward(forward) => format!("speaks Forward on {}", transport(&forward.transport)),
        SourceKind::Otlp(otlp) => {
            let grpc = otlp.grpc.iter().map(|listener| format!("gRPC on {}", tcp(listener)));
            let http = otlp.http.iter().map(|listener| format!("HTTP on {}", tcp(listener)));
            format!("speaks OTLP over {}", grpc.chain(http).collect::<Vec<_>>().join(" and "))
        }
        SourceKind::Http(http) => format!("speaks HTTP on {}, {}", tcp(&http.tcp), token(&http.token)),
        SourceKind::Gelf(gelf) => format!("speaks GELF on {}", transport(&gelf.transport)),
        SourceKind::Journald(journald) => match journald.units.is_empty() {
            true => "reads the systemd journal".to_owned(),
            false => format!("reads the systemd journal of {}", journald.units.join(", ")),
        },
        SourceKind::Exec(exec) => match exec.interval {
            Some(interval) => format!("runs `{}` every {}", exec.command.join(" "), HumanDuration(interval)),
            None => format!("keeps `{}` running", exec.command.join(" ")),
        },
        SourceKind::Heartbeat(heartbeat) => format!("writes a record every {}", HumanDuration(heartbeat.interval)),
    };
    let format = source.format.name();
    format!("{input} ({format}, source {name}, category {category})")
}

fn unix_socket(unix: &UnixSource) -> String {
    let kind = match unix.socket {
        UnixSocketKind::Stream => "stream",
        UnixSocketKind::Datagram => "datagram",
    };
    format!("the unix {kind} socket {}", unix.path.display())
}

fn tcp(tcp: &TcpSource) -> String {
    format!("tcp {}{}", tcp.listen, tls(&tcp.tls))
}

fn transport(transport: &Transport) -> String {
    match transport {
        Transport::Tcp(listener) => tcp(listener),
        Transport::Udp(udp) => format!("udp {}", udp.listen),
        Transport::Unix(unix) => unix_socket(unix),
    }
}

fn describe_collector(text: &mut String, collector: &Collector) {
    let Collector { listen, token: secret, .. } = collector;
    let (flush, memory) = (HumanDuration(collector.flush_interval), ByteSize(collector.memory));
    let _ = writeln!(text, "collector");
    let _ = writeln!(text, "  listens on tcp {listen}{}, {}", tls(&collector.tls), token(secret));
    for client in &collector.clients {
        let _ = writeln!(text, "  {}", describe_client(client));
    }
    let _ = writeln!(text, "  commits every {flush}, holding at most {memory} of blocks");
    if !collector.maintenance {
        let _ = writeln!(text, "  leaves the table's maintenance to others");
    }
}

fn describe_client(client: &Client) -> String {
    let Client { name, token_hashes, cert_names, categories, hosts, tail } = client;
    let mut shown = cert_names.iter().map(|names| format!("a certificate for {names}")).collect::<Vec<_>>();
    shown.extend((!token_hashes.is_empty()).then(|| "its token".to_owned()));
    let all = |globs: &Option<Globs>, what: &str| {
        globs.as_ref().map_or(format!("all {what}"), |globs| format!("{what} {globs}"))
    };
    let see = if *tail { "write and see" } else { "write" };
    let (categories, hosts) = (all(categories, "categories"), all(hosts, "hosts"));
    format!("lets {name}, with {}, {see} {categories} of {hosts}", shown.join(" and "))
}

fn describe_sink(text: &mut String, sink: &Sink) {
    let _ = writeln!(text, "sink");
    for route in &sink.routes {
        describe_table(text, &format!("records with category {} ", route.categories), &route.sink);
    }
    describe_table(text, if sink.routes.is_empty() { "" } else { "the rest " }, sink);
    for (route, earlier) in sink.unreachable_routes() {
        let (nothing, all) = (&route.sink.url, &earlier.sink.url);
        let _ = writeln!(text, "  warning: nothing goes to {nothing}; the route to {all} comes first and takes it all");
    }
}

fn describe_table(text: &mut String, what: &str, sink: &Sink) {
    let (size, level) = (ByteSize(sink.target_file_size), sink.compression_level);
    let (files, codec) = match sink.format {
        FileFormat::Parquet => ("Parquet files", "zstd"),
        FileFormat::Json => ("gzipped JSON files", "gzip"),
    };
    let _ = writeln!(text, "  writes {what}to {} in {files} of about {size}, {codec} level {level}", sink.url);
    for rule in &sink.retention_rules {
        let _ = writeln!(text, "  keeps {} for {}", rule.categories, HumanDuration(rule.max_age));
    }
    match (sink.retention, sink.retention_rules.is_empty()) {
        (Some(age), true) => _ = writeln!(text, "  keeps records for {}", HumanDuration(age)),
        (Some(age), false) => _ = writeln!(text, "  keeps other records for {}", HumanDuration(age)),
        (None, _) => {}
    }
    if !sink.options.is_empty() {
        let names: Vec<&str> = sink.options.keys().map(String::as_str).collect();
        let _ = writeln!(text, "  with the options {}", names.join(", "));
    }
    if !sink.promote.is_empty() {
        let columns = sink.promote.iter().map(|it| format!("{} for {}", it.column, it.attribute));
        let _ = writeln!(text, "  with the columns {}", columns.collect::<Vec<_>>().join(", "));
    }
}

fn token<T>(token: &Option<T>) -> &'static str {
    match token {
        Some(_) => "with a token",
        None => "without a token",
    }
}

fn tls(tls: &Option<Tls>) -> &'static str {
    match tls {
        None => "",
        Some(Tls { client_ca_file: None, .. }) => " with TLS",
        Some(_) => " with TLS and client certificates",
    }
}
