use logboom_config::keys::KEYS;
use logboom_config::{
    Adaptor, Collector, ExecSource, FileSource, ForwardSource, GelfSource, HeartbeatSource, HttpSource, JournaldSource,
    OtlpSource, ReadFrom, ScribeSource, Settings, Sink, Source, SourceKind, Spool, SyslogSource, TcpSource, Transport,
    UdpSource, UnixSource, defaults_toml,
};

use crate::parse;

#[test]
fn the_file_of_defaults_parses_to_exactly_the_defaults() {
    let defaults = Settings {
        adaptor: Some(Adaptor::default()),
        collector: Some(Collector::default()),
        sink: Some(Sink::at("file:///var/lib/logboom/table")),
    };
    assert_eq!(parse(&defaults_toml()), defaults);
}

#[test]
fn what_is_commented_out_in_the_file_of_defaults_can_be_set() {
    // Secrets and certificates need files, and a listener is either at an address or at a path.
    let left_out = [
        "token_file",
        "control_token_file",
        "key_file",
        "tls_",
        "cert_name",
        "transport",
        "path = \"/run/logboom/syslog",
        "path = \"/run/logboom/forward",
        // These depend on the format.
        "timestamp_key",
        "timestamp_format",
        "multiline = ",
        "body = ",
    ];
    let uncommented: String = defaults_toml()
        .lines()
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
        .filter(|line| line.starts_with('#') || !left_out.iter().any(|key| line.starts_with(key)))
        .filter(|line| !line.starts_with("shared_key_file"))
        .flat_map(|line| [line, "\n"])
        .collect();
    let (before, after) =
        (uncommented.find("\n[[adaptor.source]]\n").unwrap(), uncommented.find("\n[[adaptor.route]]").unwrap());
    let rest = format!("{}{}", &uncommented[..before], &uncommented[after..]);
    assert_eq!(parse(&rest).adaptor.unwrap().host.as_deref(), Some("web-1"));
    let listen = "127.0.0.1:1514".parse().unwrap();
    let mut unix = UnixSource::at("/run/logboom/unix.sock");
    unix.owner = Some("root:adm".to_owned());
    let tcp = TcpSource::at(listen);
    let udp = Transport::Udp(UdpSource::at(listen));
    let expected = [
        SourceKind::File(FileSource::at(["/var/log/file/*.log"])),
        SourceKind::Unix(unix),
        SourceKind::Tcp(tcp.clone()),
        SourceKind::Udp(UdpSource::at(listen)),
        SourceKind::Stdin,
        SourceKind::Scribe(ScribeSource { tcp: tcp.clone(), ..ScribeSource::default() }),
        SourceKind::Forward(ForwardSource { transport: Transport::Tcp(tcp.clone()), ..ForwardSource::default() }),
        SourceKind::Otlp(OtlpSource::default()),
        SourceKind::Http(HttpSource { tcp, ..HttpSource::default() }),
        SourceKind::Syslog(SyslogSource { transport: udp.clone() }),
        SourceKind::Gelf(GelfSource { transport: udp, ..GelfSource::default() }),
        SourceKind::Journald(JournaldSource {
            units: vec![],
            journal_path: Some("/var/log/journal".into()),
            journalctl: "journalctl".into(),
            read_from: ReadFrom::Beginning,
        }),
        SourceKind::Exec(ExecSource {
            command: ["vmstat", "-n", "5"].map(str::to_owned).to_vec(),
            interval: Some(std::time::Duration::from_secs(30)),
            timeout: std::time::Duration::from_secs(30),
            working_folder: Some("/tmp".into()),
            environment: Default::default(),
        }),
        SourceKind::Heartbeat(HeartbeatSource { interval: std::time::Duration::from_secs(30) }),
    ];
    let blocks: Vec<&str> = uncommented[before..after].split("\n[[adaptor.source]]\n").skip(1).collect();
    assert_eq!(blocks.len(), expected.len());
    for kind in expected {
        let name = kind.type_name();
        let block = blocks.iter().find(|block| block.contains(&format!("type = \"{name}\""))).unwrap();
        // Of a UDP transport, what belongs to connections and Unix sockets is left out too.
        let foreign = ["socket", "mode", "owner", "max_connections", "idle_timeout"];
        let datagrams = kind.udp_listener().is_some() && name != "udp";
        let streams = matches!(kind, SourceKind::Forward(_));
        let block: String = block
            .lines()
            .filter(|line| {
                !(datagrams || streams && !line.contains("_")) || !foreign.iter().any(|key| line.starts_with(key))
            })
            .flat_map(|line| [line, "\n"])
            .collect();
        let source = parse(&format!("[[adaptor.source]]\n{block}")).adaptor.unwrap().sources.remove(0);
        assert_eq!(source, Source { category: "app.{source}".parse().unwrap(), ..Source::new(name, kind) });
    }
}

#[test]
fn the_file_of_defaults_has_every_key_and_its_meaning() {
    let toml = defaults_toml();
    for key in KEYS {
        assert!(toml.contains(&format!("{} = ", key.short_name())) && toml.contains(key.meaning), "{}", key.name);
    }
}

#[test]
fn defaults_are_what_the_manual_says() {
    let spool = Spool::at("/s");
    assert_eq!((spool.max_size, spool.segment_size, spool.block_size), (10 << 30, 64 << 20, 2 << 20));
    assert_eq!((spool.buffer_size, spool.linger.as_millis(), spool.max_age.as_secs()), (16 << 20, 100, 30 * 86400));
    assert_eq!(Adaptor::default().collectors, ["127.0.0.1:14630"]);
    assert_eq!(Collector::default().listen.to_string(), "127.0.0.1:14630");
    assert_eq!((Collector::default().memory, Collector::default().max_connections), (768 << 20, 4096));
    let sink = Sink::at("a");
    assert_eq!((sink.target_file_size, sink.row_group_rows, sink.compression_level), (256 << 20, 524_288, 1));
    assert_eq!((sink.log_retention.as_secs(), sink.checkpoint_interval), (7 * 86400, 100));
}
