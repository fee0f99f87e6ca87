use std::path::Path;
use std::time::Duration;

use logboom_config::{
    Adaptor, Collector, FileFormat, Format, OnLongLine, ReadFrom, Settings, Sink, Source, SourceKind, UdpSource,
    UnixSocketKind, WhenFull,
};

use crate::{FULL, parse};

#[test]
fn every_key_that_is_given_arrives() {
    let settings = parse(FULL);
    let adaptor = settings.adaptor.unwrap();
    assert_eq!(adaptor.host.as_deref(), Some("web-1"));
    assert_eq!(adaptor.collectors, ["a.example.com:14630", "10.0.0.2:9", "[::1]:14630"]);
    assert_eq!(adaptor.drain_timeout, Duration::from_secs(5));
    assert_eq!(adaptor.labels["region"], "eu");
    let spool = adaptor.spool;
    assert_eq!(spool.path, Path::new("/tmp/spool"));
    assert_eq!((spool.max_size, spool.segment_size), (1_000_000_000, 1 << 20));
    assert_eq!((spool.block_size, spool.buffer_size), (65536, 131072));
    assert_eq!((spool.linger, spool.max_age), (Duration::ZERO, Duration::from_hours(48)));
    assert_eq!((spool.when_full, spool.send_expired), (WhenFull::DropOldest, true));
    let collector = settings.collector.unwrap();
    assert_eq!(collector.listen.to_string(), "0.0.0.0:14630");
    assert_eq!((collector.insecure, collector.max_connections, collector.memory), (true, 1, 16 << 20));
    assert_eq!((collector.flush_interval.as_secs(), collector.drain_timeout.as_secs()), (2, 60));
    let sink = settings.sink.unwrap();
    assert_eq!((sink.url.as_str(), sink.options["aws_region"].as_str()), ("s3://logs/table", "eu-central-1"));
    assert_eq!((sink.target_file_size, sink.compression_level), (1 << 20, 19));
    assert_eq!(sink.format, FileFormat::Parquet);
    let json = parse("[sink]\nurl = \"a\"\nformat = \"json\"").sink.unwrap();
    assert_eq!((json.format, json.compression_level), (FileFormat::Json, FileFormat::Json.default_level()));
    assert_eq!((sink.row_group_rows, sink.log_retention.as_secs()), (1024, 86400));
    assert_eq!(sink.checkpoint_interval, 1);
}

#[test]
fn every_type_of_source_arrives() {
    let sources = parse(FULL).adaptor.unwrap().sources;
    let names: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
    assert_eq!(names, ["nginx", "unix", "tcp", "udp", "stdin"]);
    assert_eq!((sources[0].format, sources[0].on_long_line), (Format::Json, OnLongLine::Split));
    assert_eq!((sources[0].max_line, sources[0].category.to_string().as_str()), (65536, "nginx.{file_stem}"));
    assert_eq!(sources[0].attributes["team"], "web");
    let SourceKind::File(file) = &sources[0].kind else {
        panic!("{:?}", sources[0]);
    };
    assert_eq!((file.include.len(), file.exclude.len(), file.max_open), (2, 1, 7));
    assert_eq!((file.read_from, file.poll_interval.as_secs()), (ReadFrom::End, 1));
    let SourceKind::Unix(unix) = &sources[1].kind else {
        panic!("{:?}", sources[1]);
    };
    assert_eq!((unix.path.as_path(), unix.socket), (Path::new("/run/a.sock"), UnixSocketKind::Datagram));
    assert_eq!((unix.mode, unix.owner.as_deref()), (0o600, Some("root:adm")));
    assert_eq!((unix.max_connections, unix.idle_timeout.as_secs()), (3, 60));
    let SourceKind::Tcp(tcp) = &sources[2].kind else {
        panic!("{:?}", sources[2]);
    };
    assert_eq!((tcp.listen.to_string().as_str(), tcp.idle_timeout), ("[::1]:1514", Duration::ZERO));
    let udp = UdpSource { listen: "0.0.0.0:1514".parse().unwrap(), receive_buffer: 65536 };
    assert_eq!(sources[3], Source::new("udp", SourceKind::Udp(udp)));
    assert_eq!(sources[4], Source::new("stdin", SourceKind::Stdin));
}

#[test]
fn a_section_alone_has_its_defaults() {
    let only_adaptor = Settings { adaptor: Some(Adaptor::default()), ..Settings::default() };
    assert_eq!(parse("[adaptor]"), only_adaptor);
    assert_eq!(parse("[adaptor.spool]"), only_adaptor);
    let settings = parse("collector = {}\nsink.url = \"data\"");
    assert_eq!((settings.collector, settings.sink), (Some(Collector::default()), Some(Sink::at("data"))));
}

#[test]
fn sources_without_a_name_are_named_by_type_and_around_given_names() {
    let tcp =
        |port: u16, name: &str| format!("[[adaptor.source]]\ntype = \"tcp\"\nlisten = \"[::1]:{port}\"\n{name}\n");
    let text = tcp(1, "") + &tcp(2, "") + &tcp(3, "name = \"tcp-2\"") + &tcp(4, "");
    let sources = parse(&text).adaptor.unwrap().sources;
    let names: Vec<&str> = sources.iter().map(|source| source.name.as_str()).collect();
    assert_eq!(names, ["tcp", "tcp-3", "tcp-2", "tcp-4"]);
}

#[test]
fn tcp_and_udp_may_share_a_port_and_port_0_clashes_with_nothing() {
    let source =
        |kind: &str, port: u16| format!("[[adaptor.source]]\ntype = \"{kind}\"\nlisten = \"127.0.0.1:{port}\"\n");
    parse(&(source("tcp", 1514) + &source("udp", 1514)));
    parse(&(source("tcp", 0) + &source("tcp", 0)));
}

#[test]
fn places_for_a_table_are_paths_and_known_urls() {
    for url in ["data", "/data", "file:///data", "s3://logs", "s3://logs/a/b", "memory://"] {
        assert_eq!(parse(&format!("[sink]\nurl = \"{url}\"")).sink, Some(Sink::at(url)));
    }
}

#[test]
fn a_description_says_what_will_happen() {
    let expected = "\
adaptor (host web-1)
  tails /var/log/nginx/*.log, more/*.log except *.gz from the end (json, source nginx, category nginx.{file_stem})
  listens on the unix datagram socket /run/a.sock (lines, source unix, category {source})
  listens on tcp [::1]:1514 (lines, source tcp, category {source})
  listens on udp 0.0.0.0:1514 (lines, source udp, category {source})
  reads standard input (lines, source stdin, category {source})
  is controlled at http://127.0.0.1:14632
  spools in /tmp/spool, up to 1GB, then the oldest records are dropped
  sends to a.example.com:14630 or 10.0.0.2:9 or [::1]:14630, without a token
collector
  listens on tcp 0.0.0.0:14630, without a token
  commits every 2s, holding at most 16MiB of blocks
sink
  writes to s3://logs/table in Parquet files of about 1MiB, zstd level 19
  with the options aws_region
";
    assert_eq!(parse(FULL).describe(), expected);
}

#[test]
fn who_may_do_what_is_described() {
    let hash = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let text = format!(
        "[adaptor]\ncollectors = [\"logs\"]\ntls_ca_file = \"/ca\"\n[sink]\nurl = \"a\"\n[collector]\nlisten = \"0.0.0.0:1\"\n\
         tls_cert_file = \"/c\"\ntls_key_file = \"/k\"\ntls_client_ca_file = \"/ca\"\n\
         [[collector.client]]\nname = \"web\"\ntoken_hash = [\"{hash}\", \"{hash}\"]\ncert_name = \"web-*\"\n\
         categories = [\"nginx.*\", \"app\"]\nhosts = \"web-*\"\n\
         [[collector.client]]\nname = \"desk\"\ntoken_hash = \"{hash}\"\ntail = true\n"
    );
    let description = parse(&text).describe();
    for line in [
        "  sends to logs:14630 with TLS, without a token\n",
        "  listens on tcp 0.0.0.0:1 with TLS and client certificates, without a token\n",
        "  lets web, with a certificate for web-* and its token, write categories nginx.* or app of hosts web-*\n",
        "  lets desk, with its token, write and see all categories of all hosts\n",
    ] {
        assert!(description.contains(line), "{description}");
    }
}

#[test]
fn control_is_on_loopback_or_nowhere() {
    let control = |value: &str| parse(&format!("[adaptor]\ncontrol = \"{value}\"")).adaptor.unwrap();
    assert_eq!(control("[::1]:9").control, Some("[::1]:9".parse().unwrap()));
    assert_eq!(control("").control, None);
    assert_eq!(parse("[adaptor]").adaptor.unwrap().control, Some("127.0.0.1:14632".parse().unwrap()));
    let error = Settings::parse("f", "[adaptor]\ncontrol = \"0.0.0.0:14632\"").unwrap_err().to_string();
    assert!(error.contains("f:2: key `adaptor.control` is 0.0.0.0:14632, which other machines can reach"), "{error}");
}

#[test]
fn one_source_alone_is_checked_as_in_a_file_and_against_those_that_there_are() {
    let source = |text: &str, others: &[Source]| Source::parse("request", text, others);
    let first = source("type = \"tcp\"\nlisten = \"127.0.0.1:1\"\nattributes.a = \"b\"", &[]).unwrap();
    assert_eq!((first.name.as_str(), first.attributes["a"].as_str()), ("tcp", "b"));
    let others = [first];
    let second = source("type = \"tcp\"\nlisten = \"127.0.0.1:2\"", &others).unwrap();
    assert_eq!(second.name, "tcp-2");
    assert_eq!(second.clash(&others[0]), None);
    let named = source("type = \"stdin\"\nname = \"tcp\"", &others).unwrap();
    assert!(named.clash(&others[0]).unwrap().contains("key `adaptor.source.name` is `tcp`"));
    let same = source("type = \"http\"\nlisten = \"127.0.0.1:1\"", &others).unwrap();
    let clash = same.clash(&others[0]).unwrap();
    assert_eq!(clash, "key `adaptor.source.listen` is the address of source `tcp` too; choose another port");
    let error = source("type = \"stdin\"\nlisten = 5", &[]).unwrap_err().to_string();
    assert!(error.starts_with("request:2: key `adaptor.source.listen` belongs to a source of type"), "{error}");
    let error = source("type = \"stdin\"\nnames = \"x\"", &[]).unwrap_err().to_string();
    assert_eq!(error, "request:2: key `adaptor.source.names` is not known; did you mean `name`?");
}

#[test]
fn retention_is_by_age_and_by_category() {
    let sink = |keys: &str| parse(&format!("[sink]\nurl = \"data\"\n{keys}")).sink.unwrap();
    let defaults = sink("");
    assert_eq!((defaults.retention, defaults.retention_rules.len()), (None, 0));
    assert_eq!((defaults.vacuum_grace, defaults.log_retention), (7 * DAY, 7 * DAY));
    let given = sink(
        "retention = \"90d\"\nretention_rules = [{ categories = [\"debug.*\", \"x\"], max_age = \"7d\" }, \
         { categories = \"audit\", max_age = \"3650d\" }]\nvacuum_grace = \"1h\"",
    );
    assert_eq!((given.retention, given.vacuum_grace), (Some(90 * DAY), DAY / 24));
    let [debug, audit] = &given.retention_rules[..] else { panic!("{:?}", given.retention_rules) };
    assert!(debug.categories.matches("debug.a") && debug.categories.matches("x") && !debug.categories.matches("audit"));
    assert_eq!((debug.max_age, audit.max_age), (7 * DAY, 3650 * DAY));
    assert_eq!(sink("log_retention = \"2d\"").vacuum_grace, 2 * DAY, "the log remembers no longer");

    for (keys, named) in [
        ("vacuum_grace = \"8d\"", "sink.vacuum_grace` is 8d, longer than log_retention with 7d"),
        ("retention = \"1h\"", "sink.retention"),
        ("retention_rules = [{ max_age = \"7d\" }]", "has no `categories`"),
        ("retention_rules = [{ categories = [\"a\"] }]", "has no `max_age`"),
        ("retention_rules = [{ categories = [], max_age = \"7d\" }]", "empty list"),
        ("retention_rules = [{ categories = [\"[\"], max_age = \"7d\" }]", "is not a glob"),
        ("retention_rules = [{ categories = [\"a\"], max_age = \"7d\", x = 1 }]", "is not known"),
    ] {
        let error = Settings::parse("f.toml", &format!("[sink]\nurl = \"data\"\n{keys}")).unwrap_err().to_string();
        assert!(error.contains(named) && !error.contains('\n'), "{keys}: {error}");
    }
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
