//! `logboom tail` of a collector that asks who it is.

use std::fs;
use std::process::Command;

use logboom_config::TokenHash;

use super::Secured;
use crate::harness::{Node, PATIENCE, Plan, free_port, logboom, run, wait_until};

#[test]
fn records_are_seen_only_by_who_may_and_only_those_that_are_granted() {
    let mut secured = Secured::new(Plan::default());
    let port = free_port();
    let desk = format!(
        "[[collector.client]]\nname = \"desk\"\ntoken_hash = \"{}\"\ncategories = \"seen\"\ntail = true\n[sink]\n",
        TokenHash::of("desk")
    );
    secured.edit("collector", "http = \"\"", &format!("http = \"127.0.0.1:{port}\""));
    secured.edit("collector", "[sink]\n", &desk);
    fs::write(secured.file("desk"), "desk").unwrap();
    fs::write(secured.file("wrong"), "barracuda").unwrap();
    secured.start();
    // It is opened after the other port.
    secured.pipeline.collectors[0].node.wait_for("live tail listens", PATIENCE);
    wait_until("the HTTP port is open", PATIENCE, || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());
    let url = format!("https://127.0.0.1:{port}");
    let trusting = ["--ca-file", "servers.pem", "--cert-file", "adaptor.pem", "--key-file", "adaptor.key"];
    let with = |token| [&["--collector", url.as_str()], &trusting[..], &["--token-file", token]].concat();

    let plain = format!("http://127.0.0.1:{port}");
    for (arguments, said) in [
        (vec!["--collector", &plain], "this port speaks TLS; ask https://"),
        (vec!["--collector", &url, "--ca-file", "other/authority.pem"], "cannot follow the collector"),
        ([&["--collector", url.as_str()], &trusting[..2]].concat(), "cannot follow the collector"),
        ([&["--collector", url.as_str()], &trusting[..]].concat(), "401 Unauthorized): nobody is known"),
        (with("wrong"), "401 Unauthorized): nobody is known"),
        (with("token"), "403 Forbidden): client `web` may not see records"),
    ] {
        let mut tail: Command = logboom();
        let output = run(tail.arg("tail").args(&arguments).current_dir(secured.pipeline.folder()), b"");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
        assert!(error.contains(said) && error.lines().count() == 1, "{arguments:?}: {error}");
    }

    let mut tail = Node::new(secured.pipeline.folder(), "tail", &[&["tail", "--json"], &with("desk")[..]].concat());
    tail.start();
    wait_until("what is granted is seen", PATIENCE, || {
        for category in ["unseen", "seen"] {
            let mut send = logboom();
            send.args(["send", "--category", category, "--socket"]).arg(&secured.pipeline.adaptors[0].socket);
            assert!(run(&mut send, b"line\n").status.success());
        }
        std::thread::sleep(std::time::Duration::from_millis(300));
        tail.log().contains("\"category\":\"seen\"")
    });
    assert!(!tail.log().contains("unseen"), "{}", tail.log());
    secured.edit("collector", &TokenHash::of("desk").to_string(), &TokenHash::of("new").to_string());
    tail.wait_for("nobody is known", PATIENCE);
}

#[test]
fn up_shows_records_to_this_machine_only() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("token"), "swordfish").unwrap();
    let settings = "[collector]\nhttp = \"0.0.0.0:0\"\ntls_cert_file = \"c\"\ntls_key_file = \"k\"\ntoken_file = \"token\"\n\
                    [sink]\nurl = \"store\"\n";
    fs::write(folder.path().join("logboom.toml"), settings).unwrap();
    let mut up = logboom();
    let output = run(up.args(["up", "--config", "logboom.toml"]).current_dir(folder.path()), b"");
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && error.contains("`collector.http` is 0.0.0.0:0"), "{error}");
}

#[test]
fn check_reads_the_files_of_certificates() {
    let secured = Secured::new(Plan::default());
    let check = |file: &str| {
        let mut check = logboom();
        let output = run(check.args(["check", file]).current_dir(secured.pipeline.folder()), b"");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(check("collector-0.toml"), (true, String::new()));
    assert_eq!(check("adaptor-0.toml"), (true, String::new()));
    fs::copy(secured.ours.sign("another", 2099).1, secured.file("collector.key")).unwrap();
    fs::write(secured.file("servers.pem"), "").unwrap();
    assert!(check("collector-0.toml").1.contains("does not go with the certificate"));
    assert!(check("adaptor-0.toml").1.contains("`tls_ca_file` names the file `servers.pem`, which cannot be used"));
}
