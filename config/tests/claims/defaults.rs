use logboom_config::keys::KEYS;
use logboom_config::{
    Adaptor, Collector, FileSource, Settings, Sink, Source, SourceKind, Spool, TcpSource, UdpSource, UnixSource,
    defaults_toml,
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
    let uncommented: String = defaults_toml()
        .lines()
        .filter(|line| !line.contains("token_file = "))
        .map(|line| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line))
        .flat_map(|line| [line, "\n"])
        .collect();
    let adaptor = parse(&uncommented).adaptor.unwrap();
    assert_eq!(adaptor.host.as_deref(), Some("web-1"));
    let listen = "127.0.0.1:1514".parse().unwrap();
    let mut unix = UnixSource::at("/run/logboom/unix.sock");
    unix.owner = Some("root:adm".to_owned());
    let kinds = [
        SourceKind::File(FileSource::at(["/var/log/file/*.log"])),
        SourceKind::Unix(unix),
        SourceKind::Tcp(TcpSource::at(listen)),
        SourceKind::Udp(UdpSource::at(listen)),
        SourceKind::Stdin,
    ];
    let expected =
        kinds.map(|kind| Source { category: "app.{source}".parse().unwrap(), ..Source::new(kind.type_name(), kind) });
    assert_eq!(adaptor.sources, expected);
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
    assert_eq!((Collector::default().memory, Collector::default().max_connections), (512 << 20, 4096));
    let sink = Sink::at("a");
    assert_eq!((sink.target_file_size, sink.row_group_rows, sink.compression_level), (256 << 20, 524_288, 1));
    assert_eq!((sink.log_retention.as_secs(), sink.checkpoint_interval), (7 * 86400, 100));
}
