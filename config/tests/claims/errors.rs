use std::path::Path;

use logboom_config::{Error, Settings};

use crate::{FULL, parse, refuse};

#[test]
fn an_unknown_key_is_named_with_its_line_and_the_nearest_known_one() {
    let text = "[adaptor]\n\n[adaptor.spool]\npath = \"/s\"\nmax_siz = 3\n";
    let answer = "l.toml:5: key `adaptor.spool.max_siz` is not known; did you mean `max_size`?";
    assert_eq!(refuse(text), answer);
    let text = "[adaptor]\nmax_size = 3\n";
    let answer = "l.toml:2: key `adaptor.max_size` is not known; did you mean `adaptor.spool.max_size`, under `[adaptor.spool]`?";
    assert_eq!(refuse(text), answer);
    let text = "[sink]\nurl = \"a\"\n[colector]\n";
    assert_eq!(refuse(text), "l.toml:3: key `colector` is not known; did you mean `collector`?");
    let answer = "l.toml:1: key `zebra` is not known; the keys here are adaptor, collector, sink";
    assert_eq!(refuse("zebra = 1"), answer);
}

#[test]
fn of_several_unknown_keys_the_first_in_the_file_is_named() {
    assert!(refuse("[sink]\nb = 1\na = 1\n[adaptor]\nc = 1\n").starts_with("l.toml:2: key `sink.b`"));
}

#[test]
fn a_quoted_key_with_dots_is_not_the_key_that_it_looks_like() {
    assert!(refuse("\"sink.url\" = \"a\"").starts_with("l.toml:1: key `sink.url` is not known"));
    assert!(refuse("[adaptor]\n\"spool.path\" = \"a\"").starts_with("l.toml:2: key `adaptor.spool.path` is not known"));
}

#[test]
fn text_that_is_not_toml_is_answered_with_its_line() {
    for text in ["[sink]\nurl = data\n", "[sink]\nurl = \"a\"\nurl = \"b\"", "[sink]\n\n]"] {
        let answer = refuse(text);
        assert!(answer.starts_with("l.toml:") && answer.contains(": is not TOML: "), "{answer}");
        assert!(!answer.starts_with("l.toml:1:"), "{answer}");
    }
}

#[test]
fn wrong_types_are_answered_with_what_to_write() {
    for (lines, answer) in [
        ("spool.max_size = true", "spool.max_size` must be a size such as \"64MiB\", not a boolean"),
        ("spool.max_size = -1", "spool.max_size` must be a size such as \"64MiB\", not -1"),
        ("spool.linger = 5", "spool.linger` must be a duration in quotes such as \"30s\", not an integer"),
        ("spool.path = 5", "spool.path` must be text in quotes, not an integer"),
        ("spool.send_expired = \"no\"", "spool.send_expired` must be true or false, not a string"),
        ("spool = 5", "spool` must be a table; write `[adaptor.spool]` on a line of its own"),
        ("source.type = 5", "source` must be written `[[adaptor.source]]`, once for each source"),
        ("collectors = \"a\"", "collectors` must be a list such as [\"a\", \"b\"], not a string"),
        ("labels = []", "labels` must be a table such as { name = \"value\" }, not an array"),
        ("labels.a = 1", "labels.a` must be text in quotes, not an integer"),
    ] {
        assert_eq!(refuse(&format!("[adaptor]\n{lines}")), format!("l.toml:2: key `adaptor.{answer}"));
    }
}

#[test]
fn wrong_values_are_answered_with_what_to_write() {
    for (lines, answer) in [
        ("spool.block_size = \"64M\"", "spool.block_size` is wrong: `64M` has an unknown unit; the units are B, KiB,"),
        ("spool.block_size = \"9MiB\"", "spool.block_size` must be from 4KiB to 8MiB, not 9MiB"),
        ("spool.linger = \"11s\"", "spool.linger` must be from 0s to 10s, not 11s"),
        ("spool.linger = \"1.5s\"", "spool.linger` is wrong: `1.5s` is not a duration; write a whole number"),
        (
            "spool.when_full = \"drop_newst\"",
            "spool.when_full` must be one of \"block\", \"drop_newest\", \"drop_oldest\", not \"drop_newst\"; did you mean \"drop_newest\"?",
        ),
        (
            "spool.max_size = \"100MiB\"",
            "spool.max_size` is 100MiB, but must be at least 4 times segment_size (64MiB); write at least \"256MiB\"",
        ),
        (
            "spool.buffer_size = \"1MiB\"",
            "spool.buffer_size` is 1MiB, but must be at least 2 times block_size (2MiB); write at least \"4MiB\"",
        ),
        ("collectors = []", "collectors` must name at least one collector"),
        ("collectors = [\"a:b\"]", "collectors` is wrong: `a:b` is not an address; write `host:port`"),
        ("collectors = [\"a\", \"a:14630\"]", "collectors` names `a:14630` twice; remove one of them"),
        ("host = \"\"", "host` must have 1 to 253 bytes and no control characters"),
        ("labels.\"\" = \"a\"", "labels` has an entry without a name; name it"),
        ("token_file = \"/no/such/file\"", "token_file` names the file `/no/such/file`, which cannot be read: "),
    ] {
        let refusal = refuse(&format!("[adaptor]\n{lines}"));
        assert!(refusal.starts_with(&format!("l.toml:2: key `adaptor.{answer}")), "{refusal}");
    }
}

#[test]
fn an_item_of_a_list_is_answered_with_its_own_line() {
    let answer = refuse("[adaptor]\ncollectors = [\n  \"a\",\n  \"b:0\",\n]\n");
    assert!(answer.starts_with("l.toml:4: key `adaptor.collectors` is wrong: `b:0` is not"), "{answer}");
}

#[test]
fn wrong_sources_are_answered_with_what_to_write() {
    for (line, lines, answer) in [
        (2, "name = \"a\"", "type` is missing; add for example `type = \"app\"`"),
        (
            3,
            "type = \"fil\"",
            "type` must be one of \"file\", \"unix\", \"tcp\", \"udp\", \"stdin\", \"scribe\", \"syslog\",",
        ),
        (2, "type = \"file\"", "include` is missing; add for example `include = [\"/var/log/app/*.log\"]`"),
        (4, "type = \"file\"\ninclude = []", "include` must have at least one glob"),
        (
            4,
            "type = \"file\"\nlisten = \"a\"",
            "listen` belongs to a source of type \"tcp\" or \"udp\" or \"scribe\" or",
        ),
        (
            4,
            "type = \"tcp\"\nlisten = \"localhost:1\"",
            "listen` is `localhost:1`, which is not an IP address with a port",
        ),
        (
            4,
            "type = \"stdin\"\ncategory = \"{hots}\"",
            "category` is wrong: `{hots}` has the unknown placeholder `{hots}`; the known ones are",
        ),
        (
            4,
            "type = \"stdin\"\ncategory = \"{file_stem}\"",
            "category` names a file, which a source of type \"stdin\" does not have",
        ),
        (
            5,
            "type = \"unix\"\npath = \"a\"\nmode = \"0890\"",
            "mode` must be permissions in octal and in quotes, such as \"0660\", not \"0890\"",
        ),
        (5, "type = \"unix\"\npath = \"a\"\nmode = 660", "mode` must be permissions in octal and in quotes"),
        (5, "type = \"unix\"\npath = \"a\"\nowner = \"a:\"", "owner` is \"a:\"; write \"user\" or \"user:group\""),
        (4, "type = \"stdin\"\nmax_lin = 1", "max_lin` is not known; did you mean `max_line`?"),
    ] {
        let refusal = refuse(&format!("[adaptor]\n[[adaptor.source]]\n{lines}"));
        assert!(refusal.starts_with(&format!("l.toml:{line}: key `adaptor.source.{answer}")), "{refusal}");
    }
}

#[test]
fn sources_that_would_take_the_same_records_are_refused() {
    for (source, key) in [
        ("type = \"stdin\"", "type` is \"stdin\", which source `one` reads already"),
        ("type = \"tcp\"\nlisten = \"[::1]:1\"", "listen` is the address of source `one` too"),
        ("type = \"udp\"\nlisten = \"[::1]:1\"", "listen` is the address of source `one` too"),
        ("type = \"unix\"\npath = \"/a\"", "path` is the path of source `one` too"),
        ("type = \"file\"\ninclude = [\"/a\"]", "include` has `/a`, which source `one` follows already"),
    ] {
        let refusal = refuse(&format!("[[adaptor.source]]\nname = \"one\"\n{source}\n[[adaptor.source]]\n{source}"));
        assert!(refusal.contains(&format!("key `adaptor.source.{key}")), "{refusal}");
    }
    let text = "[[adaptor.source]]\nname = \"a\"\ntype = \"stdin\"\n".repeat(2);
    let answer = "l.toml:5: key `adaptor.source.name` is `a`, the name of another source; names must be unique";
    assert_eq!(refuse(&text), answer);
}

#[test]
fn an_open_collector_needs_tls_and_somebody_to_ask_for_or_says_that_it_is_insecure() {
    const TLS: &str = "tls_cert_file = \"/c\"\ntls_key_file = \"/k\"\n";
    const CLIENT: &str = "[[collector.client]]\nname = \"web\"\ntoken_hash = \"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"\n";
    let settings = |listen: &str, lines: &str, client: &str| {
        format!("[sink]\nurl = \"a\"\n[collector]\n{listen} = \"0.0.0.0:14630\"\n{lines}{client}")
    };
    for listen in ["listen", "http"] {
        for (lines, client) in [("", ""), (TLS, ""), ("", CLIENT)] {
            let answer = refuse(&settings(listen, lines, client));
            let expected = format!(
                "l.toml:4: key `collector.{listen}` is 0.0.0.0:14630, which other machines can reach; set up TLS (`tls_cert_file`"
            );
            assert!(answer.starts_with(&expected), "{answer}");
        }
        let mutual = format!("{TLS}tls_client_ca_file = \"/ca\"\n");
        for (lines, client) in [("insecure = true\n", ""), (TLS, CLIENT), (&mutual, "")] {
            parse(&settings(listen, lines, client));
        }
    }
}

#[test]
fn records_go_to_other_machines_encrypted_or_it_says_that_it_is_insecure() {
    let answer = refuse("[adaptor]\ncollectors = [\"localhost\", \"logs:9\"]");
    assert!(answer.starts_with("l.toml:2: key `adaptor.collectors` names `logs:9`, another machine"), "{answer}");
    parse("[adaptor]\ncollectors = [\"logs:9\"]\ninsecure = true");
    parse("[adaptor]\ncollectors = [\"logs:9\"]\ntls_ca_file = \"/ca\"");
    parse("[adaptor]\ncollectors = [\"localhost\", \"127.0.0.2:1\", \"::1\"]");
}

#[test]
fn clients_and_their_tls_are_answered_with_what_to_write() {
    const HASH: &str = "token_hash = \"sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\"";
    for (lines, answer) in [
        (HASH, "name` is missing; add for example `name = "),
        ("name = \"a\"", "name` stands for anyone; set `token_hash`, `cert_name` or both"),
        ("name = \"a\"\ntoken_hash = \"swordfish\"", "token_hash` is wrong: it is not the hash of a token; write"),
        ("name = \"a\"\ntoken_hash = [1]", "token_hash` must be the hash of a token, not an integer"),
        ("name = \"a\"\ncert_name = \"a\"", "cert_name` needs `collector.tls_client_ca_file`"),
        ("name = \"a\"\ncategories = []", "categories` is an empty list"),
        ("name = \"a\"\nhost = \"a\"", "host` is not known; did you mean `hosts`?"),
        (
            &format!("name = \"a\"\n{HASH}\n[[collector.client]]\nname = \"a\"\n{HASH}"),
            "name` is `a`, the name of another",
        ),
    ] {
        let refusal = refuse(&format!("[sink]\nurl = \"a\"\n[[collector.client]]\n{lines}"));
        assert!(refusal.contains(&format!("key `collector.client.{answer}")), "{refusal}");
        assert!(!refusal.contains("swordfish"), "{refusal}");
    }
    for (lines, answer) in [
        ("tls_cert_file = \"a\"", "tls_cert_file` needs `tls_key_file`; set both"),
        (
            "tls_cert_file = \"a\"\ntls_key_file = \"b\"",
            "tls_cert_file` needs `tls_ca_file`, which turns TLS on; set it",
        ),
        ("tls_server_name = \"a\"", "tls_server_name` needs `tls_ca_file`"),
    ] {
        let refusal = refuse(&format!("[adaptor]\n{lines}"));
        assert!(refusal.starts_with(&format!("l.toml:2: key `adaptor.{answer}")), "{refusal}");
    }
}

#[test]
fn an_open_listener_needs_a_guard_or_says_that_it_is_insecure() {
    for lines in [
        "type = \"tcp\"\nlisten = \"0.0.0.0:1\"",
        "type = \"udp\"\nlisten = \"10.0.0.1:1\"",
        "type = \"scribe\"\nlisten = \"[::]:1463\"",
        "type = \"syslog\"\nlisten = \"0.0.0.0:514\"",
        "type = \"syslog\"\ntransport = \"tcp\"\nlisten = \"0.0.0.0:514\"",
        "type = \"forward\"\nlisten = \"0.0.0.0:24224\"",
        "type = \"http\"\nlisten = \"0.0.0.0:80\"",
        "type = \"gelf\"\nlisten = \"0.0.0.0:12201\"",
        "type = \"otlp\"\nhttp_listen = \"0.0.0.0:4318\"",
    ] {
        let answer = refuse(&format!("[[adaptor.source]]\n{lines}"));
        assert!(answer.contains("listen` is ") && answer.contains("which other machines can reach"), "{answer}");
        parse(&format!("[[adaptor.source]]\n{lines}\ninsecure = true"));
    }
}

#[test]
fn what_a_transport_does_not_have_is_refused() {
    for (lines, answer) in [
        ("type = \"syslog\"\npath = \"/a\"", "path` has no meaning with `transport = \"udp\"`"),
        (
            "type = \"forward\"\ntransport = \"unix\"\npath = \"/a\"\nlisten = \"[::1]:1\"",
            "listen` has no meaning with",
        ),
        ("type = \"forward\"\ntransport = \"udp\"", "transport` must be one of \"tcp\", \"unix\", not \"udp\""),
        ("type = \"syslog\"\ntransport = \"unix\"", "path` is missing; add for example"),
        (
            "type = \"tcp\"\nlisten = \"[::1]:1\"\ntls_cert_file = \"/c\"",
            "tls_cert_file` needs `tls_key_file`; set both",
        ),
        ("type = \"otlp\"\ngrpc_listen = \"\"\nhttp_listen = \"\"", "grpc_listen` is empty, and so is `http_listen`"),
        ("type = \"exec\"\ncommand = []", "command` must begin with the program to run"),
        ("type = \"scribe\"\ncontrol_from = [\"me\"]", "control_from` is not an IP address"),
    ] {
        let refusal = refuse(&format!("[[adaptor.source]]\n{lines}"));
        assert!(refusal.contains(&format!("key `adaptor.source.{answer}")), "{refusal}");
    }
}

#[test]
fn sections_that_need_each_other_are_asked_for() {
    let answer = "l.toml:2: key `sink.url` is missing; a collector needs a sink: add `[sink]` with `url = \"s3://bucket/prefix\"`";
    assert_eq!(refuse("\n[collector]"), answer);
    let answer = "l.toml:1: has none of the sections [adaptor], [collector] and [sink]; write at least one";
    assert_eq!(refuse("# nothing\n"), answer);
    let answer = "l.toml:1: key `sink.url` is missing; add for example `url = \"file:///var/lib/logboom/table\"`";
    assert_eq!(refuse("[sink]\n"), answer);
    let text = FULL.replace("[::1]:1514\"", "0.0.0.0:14630\"\ninsecure = true");
    assert!(refuse(&text).contains("key `collector.listen` is the address of source `tcp` too"));
}

#[test]
fn a_place_for_a_table_that_nobody_knows_is_refused() {
    let bad =
        ["", "s3://", "s3:///prefix", "file://data", "gs://", "gs:///x", "az://", "abfss:///x", "hdfs://", "http://a"];
    for url in bad {
        let answer = refuse(&format!("[sink]\nurl = \"{url}\""));
        assert!(answer.starts_with("l.toml:2: key `sink.url` "), "{answer}");
    }
    for url in [
        "a",
        "file:///a",
        "s3://b/p",
        "s3a://b",
        "gs://b",
        "az://c/p",
        "abfss://c@a.dfs.core.windows.net/p",
        "hdfs://n:9000/p",
    ] {
        assert!(Settings::parse("l.toml", &format!("[sink]\nurl = \"{url}\"")).is_ok(), "{url}");
    }
    let answer = refuse("[sink]\nurl = \"a\"\ncompression_level = 20");
    assert_eq!(answer, "l.toml:3: key `sink.compression_level` must be a whole number from 1 to 19, not 20");
    let answer = refuse("[sink]\nurl = \"a\"\nformat = \"json\"\ncompression_level = 10");
    assert_eq!(answer, "l.toml:4: key `sink.compression_level` must be a whole number from 1 to 9, not 10");
    let answer = refuse("[sink]\nurl = \"a\"\nformat = \"jsn\"");
    let expected = "must be one of \"parquet\", \"json\", not \"jsn\"; did you mean \"json\"?";
    assert_eq!(answer, format!("l.toml:3: key `sink.format` {expected}"));
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let error = Settings::load(Path::new("/no/such/file.toml")).unwrap_err();
    assert!(matches!(error, Error::Unreadable { .. }));
    assert!(error.to_string().starts_with("/no/such/file.toml: cannot be read: "), "{error}");
}

#[test]
fn a_file_that_is_not_utf_8_or_too_large_is_refused() {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("latin1.toml");
    std::fs::write(&path, b"[sink]\nurl = \"\xe9\"\n").unwrap();
    let answer = Settings::load(&path).unwrap_err().to_string();
    assert!(answer.ends_with("latin1.toml:2: is not UTF-8; save the file as UTF-8"), "{answer}");
    std::fs::write(&path, "#é\n".repeat(1 << 19)).unwrap();
    let answer = Settings::load(&path).unwrap_err().to_string();
    assert!(answer.ends_with("latin1.toml:1: has more than 1MiB; no settings need that much"), "{answer}");
}
