//! The one table of keys: what may be written, what an absent key means, and why one would set it.

/// One key that a settings file may hold.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// The full dotted name, such as `adaptor.spool.max_size`.
    pub name: &'static str,
    /// What it is when the file does not say.
    pub preset: Preset,
    /// What it does, for a reader of `--defaults`: one line, with units and limits.
    pub meaning: &'static str,
    /// The types of source that it belongs to; empty when it belongs to all, or to no source.
    pub types: &'static [&'static str],
}

/// What a key is when the file does not say. The texts are TOML values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// It has this value.
    Default(&'static str),
    /// It is not set, and that has a meaning; this would be an example. `$type` in it stands for the type of the source.
    Unset(&'static str),
    /// It must be set; this would be an example. `$type` in it stands for the type of the source.
    Required(&'static str),
}

/// A table of a settings file that holds keys.
#[derive(Clone, Copy, Debug)]
pub struct Heading {
    /// The dotted name, such as `adaptor.spool`.
    pub name: &'static str,
    /// What the table is about, in one line.
    pub meaning: &'static str,
}

/// The names of the headings that may be written many times, as `[[adaptor.source]]`.
pub(crate) const REPEATED: [&str; 4] = [SOURCE, ROUTE, CLIENT, SINK_ROUTE];
pub(crate) const SOURCE: &str = "adaptor.source";
pub(crate) const ROUTE: &str = "adaptor.route";
pub(crate) const CLIENT: &str = "collector.client";
pub(crate) const SINK: &str = "sink";
pub(crate) const SINK_ROUTE: &str = "sink.route";

/// The types of source, in the order of the manual.
pub(crate) const SOURCE_TYPES: [&str; 14] = [
    "file",
    "unix",
    "tcp",
    "udp",
    "stdin",
    "scribe",
    "syslog",
    "forward",
    "otlp",
    "http",
    "gelf",
    "journald",
    "exec",
    "heartbeat",
];

/// The types that serve connections.
const CONNECTIONS: &[&str] = &["unix", "tcp", "scribe", "syslog", "forward", "otlp", "http", "gelf"];
/// The types that may speak TLS.
const TLS: &[&str] = &["tcp", "scribe", "syslog", "forward", "otlp", "http", "gelf"];
/// The types that listen at `listen`.
const LISTEN: &[&str] = &["tcp", "udp", "scribe", "syslog", "forward", "http", "gelf"];
/// The types that listen on a Unix socket or may.
const UNIX: &[&str] = &["unix", "syslog", "forward"];
/// The types that take lines in.
const LINES: &[&str] = &["file", "unix", "tcp", "udp", "stdin", "exec"];
/// The types whose messages are framed by the protocol.
const FRAMED: &[&str] = &["scribe", "forward", "otlp", "http", "gelf"];
/// The types whose messages may be compressed.
const COMPRESSED: &[&str] = &["forward", "otlp", "http", "gelf"];

/// Every heading, in the order of the manual.
pub const HEADINGS: &[Heading] = &[
    Heading {
        name: "adaptor",
        meaning: "The adaptor takes records in on this host, keeps them on disk and sends them to a collector.",
    },
    Heading { name: "adaptor.spool", meaning: "The spool keeps records on local disk until they are committed." },
    Heading {
        name: SOURCE,
        meaning: "Sources are the adaptor's inputs: as many [[adaptor.source]] as are needed, of any type.",
    },
    Heading {
        name: ROUTE,
        meaning: "Rules that every record passes, as many [[adaptor.route]] as are needed: conditions of which all must hold, and what is done then.",
    },
    Heading {
        name: "collector",
        meaning: "The collector merges what adaptors send and commits it to the sink. It needs [sink].",
    },
    Heading {
        name: CLIENT,
        meaning: "Who may send, and what: as many [[collector.client]] as are needed; the first counts of which a peer shows all that it asks for. Read again when this file changes.",
    },
    Heading { name: "sink", meaning: "The sink is the table on object storage that everything ends up in." },
    Heading {
        name: SINK_ROUTE,
        meaning: "Tables of their own for some categories, as many [[sink.route]] as are needed; the first that matches counts. Every key of [sink] may stand here too, and is as there if not.",
    },
];

/// Every key, in the order of the manual.
#[rustfmt::skip]
pub const KEYS: &[Key] = &[
    unset("adaptor.host", r#""web-1""#, "The host that records name. Not set: the machine's host name."),
    key("adaptor.collectors", r#"["127.0.0.1:14630"]"#, "Collectors to send to, as host:port; the port may be left out and is then 14630."),
    unset("adaptor.tls_ca_file", r#""/etc/logboom/ca.crt""#, "Certificates (PEM) of which one must have signed the collector's: collectors are spoken to by TLS 1.2 or 1.3. Not set: unencrypted."),
    unset("adaptor.tls_cert_file", r#""/etc/logboom/adaptor.crt""#, "The certificate chain (PEM) to show to collectors that ask for one. It needs tls_key_file."),
    unset("adaptor.tls_key_file", r#""/etc/logboom/adaptor.key""#, "The private key (PEM) of tls_cert_file."),
    unset("adaptor.tls_server_name", r#""logs.example.com""#, "The name that a collector's certificate must be for. Not set: the name or address in collectors."),
    unset("adaptor.token_file", r#""/etc/logboom/token""#, "A file with the token that the collector asks for, at most 1KiB. Not set: no token."),
    key("adaptor.insecure", "false", "Send records and the token to collectors of other machines unencrypted, where there is no tls_ca_file."),
    key("adaptor.drain_timeout", r#""30s""#, "How long a stop waits for spooled records to be committed; 0s to 1d. The rest is sent at the next start."),
    key("adaptor.control", r#""127.0.0.1:14632""#, "The loopback address and port where HTTP lists, adds and removes sources and gives counters; empty for none. Only a warning if another program has the default one."),
    unset("adaptor.control_socket", r#""/run/logboom/control.sock""#, "A Unix socket for the same, open to the adaptor's user only; at most 107 bytes. Not set: none."),
    unset("adaptor.control_token_file", r#""/etc/logboom/control-token""#, "A file with the bearer tokens of which requests at control must send one, or their hashes, one a line, at most 1KiB. Not set: none, and sources that run programs are taken at control_socket only."),
    key("adaptor.labels", "{}", "Attributes put on every record, such as { region = \"eu\" }."),
    key("adaptor.loss_records", "true", "Tell in records of the category logboom.loss which records were dropped or damaged, and why; `logboom table verify` needs them."),
    key("adaptor.max_categories", "1000", "The most categories that records may make up in one run, besides those that this file names; 1 to 1000000. The rest goes to _overflow."),
    key("adaptor.spool.path", r#""/var/lib/logboom/spool""#, "The folder of the spool. One adaptor at a time uses it."),
    key("adaptor.spool.max_size", r#""10GiB""#, "The most disk that the spool takes; at least 4 times segment_size."),
    key("adaptor.spool.segment_size", r#""64MiB""#, "The size of one spool file, the unit of giving disk back; 64KiB to 1GiB."),
    key("adaptor.spool.block_size", r#""2MiB""#, "Records are synced, sent and deduplicated in blocks of about this size before compression; 4KiB to 8MiB."),
    key("adaptor.spool.linger", r#""100ms""#, "The longest time that a record nobody waits for waits for others before its block is written; 0s to 10s."),
    key("adaptor.spool.buffer_size", r#""16MiB""#, "Memory for records that are not yet spooled; then sources wait. At least 2 times block_size."),
    key("adaptor.spool.when_full", r#""block""#, "When the spool is full: \"block\" (sources wait; producers that can be told are refused after a second), \"drop_newest\" or \"drop_oldest\". What is dropped is counted."),
    key("adaptor.spool.max_age", r#""30d""#, "A stream left over by an earlier run and older than this is not sent again; 1h to 3650d."),
    key("adaptor.spool.send_expired", "false", "Send streams older than max_age all the same: rows that were committed already may then appear twice."),
    required("adaptor.source.type", r#""$type""#, "The type: \"file\", \"unix\", \"tcp\", \"udp\", \"stdin\", \"scribe\", \"syslog\", \"forward\", \"otlp\", \"http\", \"gelf\", \"journald\", \"exec\" or \"heartbeat\"."),
    unset("adaptor.source.name", r#""$type""#, "A unique name, at most 128 bytes. Not set: the type, then the type with -2, -3 and so on."),
    required("adaptor.source.include", r#"["/var/log/$type/*.log"]"#, "Globs of the files to follow.").of(&["file"]),
    key("adaptor.source.exclude", "[]", "Globs of files to leave out.").of(&["file"]),
    key("adaptor.source.read_from", r#""beginning""#, "Where to start in what is there when the adaptor first starts: \"beginning\" or \"end\".").of(&["file", "journald"]),
    key("adaptor.source.poll_interval", r#""250ms""#, "How often files are looked at; 10ms to 1m.").of(&["file"]),
    key("adaptor.source.max_open", "1024", "The most files held open at once; 1 to 1000000.").of(&["file"]),
    unset("adaptor.source.transport", r#""tcp""#, "What carries it: \"tcp\", \"udp\" (syslog, gelf) or \"unix\" (syslog, forward). Not set: udp for syslog and gelf, tcp for forward.").of(&["syslog", "forward", "gelf"]),
    unset("adaptor.source.listen", r#""127.0.0.1:1514""#, "The IP address and port to listen on. Not set: the protocol's own port on loopback; tcp and udp have none. Off loopback it needs TLS, a token or insecure = true.").of(LISTEN),
    key("adaptor.source.grpc_listen", r#""127.0.0.1:4317""#, "The IP address and port for OTLP over gRPC; empty for none.").of(&["otlp"]),
    key("adaptor.source.http_listen", r#""127.0.0.1:4318""#, "The IP address and port for OTLP over HTTP; empty for none.").of(&["otlp"]),
    unset("adaptor.source.path", r#""/run/logboom/$type.sock""#, "The path of the Unix socket, at most 107 bytes. A source that listens on a Unix socket must have it.").of(UNIX),
    key("adaptor.source.socket", r#""stream""#, "The kind of Unix socket: \"stream\" or \"datagram\".").of(&["unix", "syslog"]),
    key("adaptor.source.mode", r#""0660""#, "The permissions of the Unix socket, in octal.").of(UNIX),
    unset("adaptor.source.owner", r#""root:adm""#, "The owner of the Unix socket, as user or user:group, names or numbers. Not set: the adaptor's user.").of(UNIX),
    key("adaptor.source.peer_credentials", "false", "Put on each record of a stream socket who sent it, as the kernel says: process.pid, process.user.id and process.group.id of whoever connected.").of(&["unix"]),
    unset("adaptor.source.tls_cert_file", r#""/etc/logboom/tls.crt""#, "The certificate chain (PEM) that makes a TCP listener speak TLS 1.2 or 1.3. It needs tls_key_file.").of(TLS),
    unset("adaptor.source.tls_key_file", r#""/etc/logboom/tls.key""#, "The private key (PEM) of tls_cert_file.").of(TLS),
    unset("adaptor.source.tls_client_ca_file", r#""/etc/logboom/clients.crt""#, "Certificates (PEM) of which one must have signed a client's. Not set: clients need no certificate.").of(TLS),
    unset("adaptor.source.token_file", r#""/etc/logboom/source-token""#, "A file with the bearer tokens of which producers must send one, or their hashes, one a line, at most 1KiB. Not set: no token is asked for.").of(&["http", "otlp"]),
    unset("adaptor.source.shared_key_file", r#""/etc/logboom/shared-key""#, "A file with the key that Forward clients must prove to know, at most 1KiB. Not set: no handshake.").of(&["forward"]),
    key("adaptor.source.insecure", "false", "Let anyone who reaches the listener send records, unencrypted and unasked.").of(&["tcp", "udp", "scribe", "syslog", "forward", "otlp", "http", "gelf"]),
    key("adaptor.source.control_from", "[]", "IP addresses whose calls of reinitialize and shutdown are obeyed; all others are refused.").of(&["scribe"]),
    key("adaptor.source.max_frame", r#""16MiB""#, "The most bytes of one message, request or chunked datagram, compressed or not; 64KiB to 64MiB. A longer one is refused.").of(FRAMED),
    key("adaptor.source.max_ratio", "500", "How many times its compressed size a message or request may have, where that is more than 4MiB; 10 to 100000. One that has more is refused.").of(COMPRESSED),
    key("adaptor.source.max_connections", "1024", "The most connections at once; 1 to 1000000.").of(CONNECTIONS),
    key("adaptor.source.idle_timeout", r#""0s""#, "A connection silent for this long is closed; 0s is never, 30d is the most. A peer that vanished is found by TCP keepalive.").of(CONNECTIONS),
    key("adaptor.source.receive_buffer", r#""4MiB""#, "What the kernel may hold before datagrams are lost; 4KiB to 1GiB.").of(&["udp", "syslog", "gelf"]),
    key("adaptor.source.units", "[]", "The systemd units to read, such as [\"nginx.service\"]; empty for all.").of(&["journald"]),
    unset("adaptor.source.journal_path", r#""/var/log/journal""#, "A folder of journal files. Not set: the journal of this machine.").of(&["journald"]),
    key("adaptor.source.journalctl", r#""journalctl""#, "The journalctl program to run.").of(&["journald"]),
    required("adaptor.source.command", r#"["vmstat", "-n", "5"]"#, "The program to run and its arguments; no shell takes part.").of(&["exec"]),
    unset("adaptor.source.interval", r#""30s""#, "exec: start the command so often, 1s to 30d; not set: keep it running. heartbeat: the time between two records, 1s to 1d; not set: 30s.").of(&["exec", "heartbeat"]),
    key("adaptor.source.timeout", r#""30s""#, "A command that is started on an interval and runs for longer is killed; 1s to 1d.").of(&["exec"]),
    unset("adaptor.source.working_folder", r#""/tmp""#, "The folder that the command runs in. Not set: the adaptor's.").of(&["exec"]),
    key("adaptor.source.environment", "{}", "Variables that the command has besides the adaptor's own.").of(&["exec"]),
    key("adaptor.source.format", r#""lines""#, "What a line is: \"lines\" (text), \"json\", \"logfmt\", \"clf\" (access logs), \"syslog\", \"cri\" or \"docker-json\" (logs of containers)."),
    unset("adaptor.source.body", r#""line""#, "The body of a record: \"line\", or the \"message\" in it. Not set: the message for json, cri and docker-json, else the line.").of(LINES),
    unset("adaptor.source.timestamp_key", r#""ts""#, "The field with the time, for json and logfmt. Not set: timestamp, and for logfmt also time and ts.").of(LINES),
    unset("adaptor.source.timestamp_format", r#"["%Y-%m-%d %H:%M:%S%.f", "rfc3339"]"#, "How the time is written: patterns of strptime, \"rfc3339\", \"epoch\"; for lines, what they begin with. Not set: RFC 3339 or a number since 1970 in a field, none in lines.").of(LINES),
    key("adaptor.source.timezone", r#""UTC""#, "The zone of times that name none, such as \"Europe/Paris\" or \"+02:00\".").of(LINES),
    unset("adaptor.source.multiline", r#""java""#, "Lines that are one record: stack traces of \"java\", \"python\", \"go\" or \"dotnet\", or { start = \"REGEX\", continuation = \"REGEX\", indented = true }. Not set: each is its own.").of(LINES),
    key("adaptor.source.multiline_timeout", r#""1s""#, "How long a record of several lines waits for the next one; 10ms to 1h.").of(LINES),
    key("adaptor.source.multiline_max_lines", "500", "The most lines of a record; 2 to 100000. Further ones begin another; so do those beyond max_line bytes.").of(LINES),
    unset("adaptor.source.category", r#""app.{source}""#, "The category; may hold {source}, {host}, for files {file_stem} and {file_name}, {app_name}, {hostname}, {facility}, {severity}, {tag}, and any attribute whose name has a dot. Not set: {file_stem} for files, {tag} for forward, {service.name} for otlp, else {source}."),
    key("adaptor.source.max_line", r#""1MiB""#, "The longest line taken as it is; 64B to 4MiB."),
    key("adaptor.source.on_long_line", r#""truncate""#, "What becomes of a longer line: \"truncate\", \"split\" or \"drop\"; each is counted."),
    key("adaptor.source.attributes", "{}", "Attributes put on every record of this source, such as { team = \"web\" }."),
    unset("adaptor.route.name", r#""noise""#, "A unique name, which drops are counted by; at most 128 bytes. Not set: route-1 for the first rule and so on."),
    unset("adaptor.route.category", r#"["nginx.*", "k8s.*"]"#, "Globs of categories that it is for; one in quotes or a list. Not set: all."),
    unset("adaptor.route.source", r#""syslog""#, "Globs of the names of sources that it is for. Not set: all."),
    unset("adaptor.route.severity", r#"">=warn""#, "The severities that it is for: a name or a number, after >=, >, <= or < if need be; none; or a list of these. Not set: all."),
    key("adaptor.route.attributes", "{}", "Attributes that a record must have, with globs of what each must be, such as { \"k8s.namespace.name\" = \"prod-*\" }."),
    unset("adaptor.route.body", r#""^GET /healthz""#, "A regular expression that the body must match somewhere. Not set: any body."),
    unset("adaptor.route.set_category", r#""{k8s.namespace.name}.{category}""#, "The category that the records get, with placeholders as in a source's category, and {category} for the one that they have."),
    unset("adaptor.route.remove_attributes", r#"["user.*"]"#, "Globs of attributes that they lose."),
    key("adaptor.route.add_attributes", "{}", "Attributes that they get, such as { team = \"web\" }, in place of those of the same name; at most 8KiB."),
    key("adaptor.route.redact", "[]", "What is replaced in them, in order: such as [{ regex = '[0-9]{13,16}', with = \"***\", body = true, attributes = [\"http.*\"] }]."),
    unset("adaptor.route.sample", "0.1", "The share of them that is kept, above 0 and at most 1: by trace where they have one, else at random."),
    unset("adaptor.route.limit", r#"{ records_per_second = 1000, bytes_per_second = "1MiB", burst = "1s" }"#, "How many records, bytes or both a second of each category are kept; the rest is dropped. A quiet category saves up for burst, 1ms to 1h."),
    key("adaptor.route.drop", "false", "Drop them. Every dropped record is counted by rule."),
    key("adaptor.route.stop", "false", "No later rule is for them."),
    key("collector.listen", r#""127.0.0.1:14630""#, "The IP address and port for adaptors. Off loopback it needs TLS, with certificates or tokens that it asks for, or insecure = true."),
    key("collector.http", r#""127.0.0.1:14631""#, "The IP address and port where HTTP shows records as they come in, for `logboom tail`; empty for none. Off loopback it needs what listen needs. None if another program has the default one."),
    unset("collector.tls_cert_file", r#""/etc/logboom/collector.crt""#, "The certificate chain (PEM) that makes both ports speak TLS 1.2 or 1.3. It needs tls_key_file."),
    unset("collector.tls_key_file", r#""/etc/logboom/collector.key""#, "The private key (PEM) of tls_cert_file."),
    unset("collector.tls_client_ca_file", r#""/etc/logboom/clients.crt""#, "Certificates (PEM) of which one must have signed a peer's. Not set: peers need no certificate."),
    key("collector.insecure", "false", "Let the ports be reached from other machines unencrypted, or by anyone if no certificate and no token is asked for."),
    unset("collector.token_file", r#""/etc/logboom/token""#, "A file with tokens that may write and see everything, or their hashes, one a line, at most 1KiB. Not set: only clients have tokens; without those nobody is asked for one."),
    key("collector.flush_interval", r#""30s""#, "The longest time between commits while there is something to commit; 100ms to 1h."),
    key("collector.memory", r#""768MiB""#, "Memory for compressed blocks that are not yet committed; at least 16MiB. Half of it ends a batch. Merging holds about as much again."),
    key("collector.max_connections", "4096", "The most adaptors connected at once; 1 to 1000000."),
    key("collector.drain_timeout", r#""30s""#, "How long a stop waits for the last commit; 0s to 1d. Adaptors send the rest again."),
    key("collector.maintenance", "true", "Keep the table in order: merge small files, remove what is past its retention, delete garbage. Of several collectors one does it at a time."),
    required("collector.client.name", r#""web""#, "A unique name, which the log calls it by; at most 128 bytes."),
    unset("collector.client.token_hash", r#""sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad""#, "The hash of its token, as `logboom token` prints it, or a list of hashes. Not set: it needs no token."),
    unset("collector.client.cert_name", r#""web-*.example.com""#, "Globs of which one must match a DNS name in its certificate; one in quotes or a list. Not set: any certificate that tls_client_ca_file lets in."),
    unset("collector.client.categories", r#"["nginx.*"]"#, "Globs of the categories that it may write; one in quotes or a list. Not set: all."),
    unset("collector.client.hosts", r#"["web-*"]"#, "Globs of the hosts whose records it may write; one in quotes or a list. Not set: all."),
    key("collector.client.tail", "false", "Let it see records of these categories and hosts as they come in (collector.http)."),
    required("sink.url", r#""file:///var/lib/logboom/table""#, "Where the table is: a path, file:///path, s3://bucket/prefix, gs://bucket/prefix, az://container/prefix, abfss://container@account.dfs.core.windows.net/prefix, hdfs://namenode:port/folder or memory://."),
    key("sink.options", "{}", "Options of the object store, by the names in docs/stores.md; a value written as { file = \"/path\" } is read from that file, at most 64KiB."),
    key("sink.format", r#""parquet""#, "What sink files are written in: parquet, or json for gzipped lines. A table keeps the format that it was created with."),
    key("sink.target_file_size", r#""256MiB""#, "Sink files come to within 5 % of this size, but for the last of a flush; 1MiB to 8GiB. A file takes about three times its size of collector.memory; with less, files are smaller until they are compacted."),
    unset("sink.compression_level", "3", "The compression level of sink files: of zstd for Parquet, 1 to 19, if not set 1; of gzip for JSON, 1 to 9, if not set 5."),
    key("sink.row_group_rows", "524288", "The most rows of a row group of Parquet; 1024 to 16777216. It also ends at 64MiB, since it is held in memory."),
    key("sink.compact_file_size", r#""512MiB""#, "When a day is over, its files are merged into files of about this size; 64MiB to 4GiB."),
    unset("sink.retention", r#""30d""#, "Records are removed so long after the end of the day on which they were committed; 1d to 3650d. Not set: never."),
    key("sink.retention_rules", "[]", "The same for some categories, such as [{ categories = [\"debug.*\"], max_age = \"7d\" }]; the first that matches goes before sink.retention."),
    key("sink.vacuum_grace", r#""7d""#, "How long files stay that the table needs no more, for queries that still read them; 1h to 3650d, at most log_retention."),
    key("sink.log_retention", r#""7d""#, "How long old versions of the table can be read; 1d to 3650d."),
    key("sink.checkpoint_interval", "100", "Commits between checkpoints of the table's log; 1 to 10000."),
    key("sink.promote", "[]", "Attributes that get columns of their own besides, at most 64: a list, or what they are, such as { \"http.status\" = \"int\" } of string, int, float and bool. The column of http.status is http_status."),
    required("sink.route.categories", r#"["audit.*"]"#, "Globs of the categories that go to this table, in place of that of [sink]; one in quotes or a list."),
    required("sink.route.url", r#""file:///var/lib/logboom/audit""#, "Where the table of these categories is; each table needs a place of its own. If it is of the same kind as that of [sink], options are as there unless given."),
];

const fn key(name: &'static str, default: &'static str, meaning: &'static str) -> Key {
    let (preset, types) = (Preset::Default(default), &[] as &[&str]);
    Key { name, preset, meaning, types }
}

const fn unset(name: &'static str, example: &'static str, meaning: &'static str) -> Key {
    let (preset, types) = (Preset::Unset(example), &[] as &[&str]);
    Key { name, preset, meaning, types }
}

const fn required(name: &'static str, example: &'static str, meaning: &'static str) -> Key {
    let (preset, types) = (Preset::Required(example), &[] as &[&str]);
    Key { name, preset, meaning, types }
}

impl Key {
    const fn of(self, types: &'static [&'static str]) -> Key {
        Key { types, ..self }
    }

    /// The heading that it stands under: `adaptor.spool` of `adaptor.spool.max_size`.
    pub fn heading(&self) -> &'static str {
        self.name.rsplit_once('.').map_or("", |(heading, _)| heading)
    }

    /// Its name under the heading: `max_size` of `adaptor.spool.max_size`.
    pub fn short_name(&self) -> &'static str {
        self.name.rsplit_once('.').map_or(self.name, |(_, name)| name)
    }

    /// Whether a source of this type may have it.
    pub fn is_for(&self, source_type: &str) -> bool {
        self.types.is_empty() || self.types.contains(&source_type)
    }
}

/// The key with this full name. A route of the sink has the keys of the sink.
pub fn find(name: &str) -> Option<&'static Key> {
    let find = |name: &str| KEYS.iter().find(|key| key.name == name);
    find(name).or_else(|| find(&format!("{SINK}.{}", name.strip_prefix(SINK_ROUTE)?.strip_prefix('.')?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_named_once_and_stands_under_a_heading() {
        for (n, key) in KEYS.iter().enumerate() {
            assert!(HEADINGS.iter().any(|heading| heading.name == key.heading()), "{}", key.name);
            assert!(KEYS[n + 1..].iter().all(|other| other.name != key.name), "{}", key.name);
            assert!(key.types.iter().all(|t| SOURCE_TYPES.contains(t)), "{}", key.name);
        }
    }
}
