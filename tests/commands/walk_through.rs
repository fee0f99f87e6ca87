//! `logboom up`, `logboom send`, a followed file, `logboom query`.

use std::fs::{self, File};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;

use crate::harness::{Node, PATIENCE, free_port, logboom, run, wait_until};

/// A debug build on a busy machine; an optimized one is far below a second.
const READY_MAX: Duration = Duration::from_secs(2);

/// A folder with `app.log` in it, in which `logboom up` runs.
struct Home {
    // Ends before the folder is deleted.
    up: Node,
    folder: TempDir,
}

impl Home {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listen = format!("127.0.0.1:{}", free_port());
        let up = Node::new(folder.path(), "up", &["up", "--listen", &listen, "--tail", "logs/*.log"]);
        fs::create_dir(folder.path().join("logs")).unwrap();
        Self { up, folder }
    }

    fn send(&self, category: &str, lines: &str) {
        let send =
            run(logboom().args(["send", "--category", category]).current_dir(self.folder.path()), lines.as_bytes());
        assert!(send.status.success(), "{send:?}");
        assert!(send.stderr.is_empty() && send.stdout.is_empty(), "{send:?}");
    }

    fn log_file(&self) -> PathBuf {
        self.folder.path().join("logs/app.log")
    }

    fn query(&self, sql: &str) -> String {
        let query = run(logboom().args(["query", "--quiet", "-o", "csv", sql]).current_dir(self.folder.path()), b"");
        assert!(query.status.success(), "{query:?}");
        String::from_utf8(query.stdout).unwrap()
    }

    /// Counts by category, without the heading.
    fn counts(&self) -> Vec<String> {
        let answer =
            self.query("SELECT category, count(*), count(DISTINCT body) FROM logs GROUP BY category ORDER BY category");
        answer.lines().skip(1).map(str::to_owned).collect()
    }
}

#[test]
fn what_is_sent_and_tailed_is_found() {
    let mut home = Home::new();
    home.up.start();
    let ready = home.up.wait_for("is up on", PATIENCE);
    println!("up and ready in {ready:.0?}");
    assert!(ready < READY_MAX, "ready only after {ready:?}");
    home.send("demo", "hello\nworld\n");
    fs::write(home.log_file(), "GET /index.html 200\nGET /favicon.ico 404\n").unwrap();
    let found = wait_until("all four are found", PATIENCE, || home.counts() == ["app,2,2", "demo,2,2"]);
    println!("found after {found:.1?}");
    let answer = home.query("SELECT body FROM logs WHERE category = 'app' AND body LIKE '%404'");
    assert_eq!(answer.lines().last(), Some("GET /favicon.ico 404"));
}

#[test]
fn a_stop_commits_everything_before_it_ends() {
    let mut home = Home::new();
    home.up.start();
    home.up.wait_for("is up on", PATIENCE);
    home.send("demo", &(0..2500).map(|n| format!("line {n}\n")).collect::<String>());
    let status = home.up.terminate(PATIENCE);
    assert!(status.success(), "{status}");
    assert_eq!(home.counts(), ["demo,2500,2500"]);
    assert_eq!(home.up.log().lines().last(), Some("stopping: committing what is spooled"));
}

#[test]
fn after_a_kill_the_next_start_commits_everything_once() {
    let mut home = Home::new();
    home.up.start();
    home.up.wait_for("is up on", PATIENCE);
    let mut file = File::create(home.log_file()).unwrap();
    for n in 0..3 {
        home.send("demo", &(0..1000).map(|line| format!("line {n} {line}\n")).collect::<String>());
        (0..1000).for_each(|line| writeln!(file, "tailed {n} {line}").unwrap());
        home.up.kill();
        home.up.start();
        home.up.wait_for("is up on", PATIENCE);
    }
    wait_until("all is found", PATIENCE, || home.counts() == ["app,3000,3000", "demo,3000,3000"]);
    assert!(home.up.terminate(PATIENCE).success());
    assert_eq!(home.counts(), ["app,3000,3000", "demo,3000,3000"]);
}
