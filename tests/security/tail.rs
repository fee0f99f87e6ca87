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
    secured.pipeline.start_collectors();
    secured.pipeline.start_adaptors();
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
