//! `logboom tail`: records before they are committed.

use std::fs;
use std::time::Duration;

use tempfile::TempDir;

use crate::harness::{Node, PATIENCE, free_port, logboom, run, wait_until};

/// A `logboom up` that does not commit by itself within a test.
struct Home {
    up: Node,
    url: String,
    folder: TempDir,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (http, listen) = (free_port(), format!("127.0.0.1:{}", free_port()));
        let settings = format!(
            "[collector]\nhttp = \"127.0.0.1:{http}\"\nflush_interval = \"1h\"\n[sink]\nurl = \"logboom-data/store\"\n"
        );
        fs::write(folder.path().join("logboom.toml"), settings).unwrap();
        let up = Node::new(folder.path(), "up", &["up", "--config", "logboom.toml", "--listen", &listen]);
        Self { up, url: format!("http://127.0.0.1:{http}"), folder }
    }

    fn send(&self, category: &str, lines: &str) {
        let mut send = logboom();
        send.args(["send", "--category", category]).current_dir(self.folder.path());
        assert!(run(&mut send, lines.as_bytes()).status.success());
    }

    fn tail(&self, name: &str, arguments: &[&str]) -> Node {
        Node::new(self.folder.path(), name, &[&["tail", "--collector", &self.url], arguments].concat())
    }
}

#[test]
fn records_are_seen_before_they_are_committed_and_after_the_collector_was_away() {
    let mut home = Home::new();
    home.up.start();
    home.up.wait_for("logboom tail --collector", PATIENCE);
    home.send("demo", "one\ntwo\n");
    home.send("other", "three\n");
    let mut tail = home.tail("tail", &["--category", "d*", "--last", "1"]);
    // The block is on its way from the spool to the collector.
    wait_until("the newest record is shown first", PATIENCE, || {
        tail.kill();
        tail.start();
        std::thread::sleep(Duration::from_millis(300));
        tail.log().contains("demo two")
    });
    home.send("demo", "four\u{1b}[31m\n");
    home.send("other", "five\n");
    tail.wait_for("demo four", PATIENCE);
    let mut json = home.tail("json", &["--json", "--pattern", "^f"]);
    json.start();
    json.wait_for("\"body\":\"five\"", PATIENCE);
    let log = tail.log().to_string();
    assert!(!log.contains("demo one") && !log.contains("other"), "{log}");
    let mut query = logboom();
    query.args(["query", "--quiet", "-o", "csv", "SELECT count(*) FROM logs"]).current_dir(home.folder.path());
    assert_eq!(String::from_utf8_lossy(&run(&mut query, b"").stdout), "count(*)\n0\n", "nothing is committed yet");

    home.up.kill();
    tail.wait_for("trying again", PATIENCE);
    home.up.start();
    home.up.wait_for("logboom tail --collector", PATIENCE);
    wait_until("it follows again", PATIENCE, || {
        home.send("demo", "six\n");
        std::thread::sleep(Duration::from_millis(500));
        tail.log().contains("demo six")
    });
}

#[test]
fn who_cannot_follow_is_told_why() {
    let mut home = Home::new();
    home.up.start();
    home.up.wait_for("logboom tail --collector", PATIENCE);
    let nowhere = format!("http://127.0.0.1:{}", free_port());
    for (arguments, said) in [
        (vec!["--collector", &nowhere], "is one running"),
        (vec!["--collector", &home.url, "--pattern", "("], "pattern"),
        (vec!["--collector", &home.url, "--token-file", "missing"], "missing"),
    ] {
        let output = run(logboom().arg("tail").args(&arguments), b"");
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
        assert!(error.contains(said) && error.lines().count() == 1, "{arguments:?}: {error}");
    }
}
