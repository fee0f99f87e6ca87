//! The manual of sources, run: its settings are one file, its commands send to them, and every source has records.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::harness::{Node, PATIENCE, free_port, logboom, run, wait_until};

/// Ports in the manual, each of which becomes a free one here.
const PORTS: [&str; 9] = ["5170", "5171", "1463", "1514", "24224", "4317", "4318", "14680", "12201"];
/// Sources that need something of the machine that may not be there.
const NOT_EVERYWHERE: [&str; 1] = ["journald"];

fn blocks(manual: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    manual.split(&fence).skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn every_example_of_the_manual_works_as_it_stands() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/sources.md");
    let mut manual = fs::read_to_string(path).unwrap();
    for port in PORTS {
        assert!(manual.contains(port), "the manual has no port {port}");
        for before in [":", "/127.0.0.1/", "--port "] {
            manual = manual.replace(&format!("{before}{port}"), &format!("{before}@{port}@"));
        }
    }
    for port in PORTS {
        manual = manual.replace(&format!("@{port}@"), &free_port().to_string());
    }
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("logboom.toml"), blocks(&manual, "toml").concat()).unwrap();
    let listen = format!("127.0.0.1:{}", free_port());
    let mut up = Node::new(folder.path(), "up", &["up", "--listen", &listen, "--config", "logboom.toml"]);
    up.start();
    up.wait_for("is up on", PATIENCE);

    let bin = Path::new(env!("CARGO_BIN_EXE_logboom")).parent().unwrap();
    let search = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    for commands in blocks(&manual, "sh") {
        let mut bash = Command::new("bash");
        bash.args(["-euo", "pipefail", "-c", &commands]).current_dir(folder.path()).env("PATH", &search);
        let output = run(&mut bash, b"");
        assert!(output.status.success(), "{commands}\n{output:?}");
    }

    let sources: Vec<String> = blocks(&manual, "toml")
        .iter()
        .map(|block| block.split("type = \"").nth(1).unwrap().split('"').next().unwrap().to_owned())
        .filter(|name| !NOT_EVERYWHERE.contains(&name.as_str()))
        .collect();
    let sql = "SELECT source, count(*) FROM logs GROUP BY source ORDER BY source";
    let mut counted = String::new();
    wait_until("every source has records", PATIENCE, || {
        let query = run(logboom().args(["query", "--quiet", "-o", "csv", sql]).current_dir(folder.path()), b"");
        counted = String::from_utf8_lossy(&query.stdout).into_owned();
        sources.iter().all(|source| counted.lines().any(|line| line.starts_with(&format!("{source},")))) || {
            std::thread::sleep(std::time::Duration::from_millis(200));
            false
        }
    });
    println!("{counted}");
    // What a few of them say, to be sure that it is what was sent.
    let sql = "SELECT body FROM logs WHERE source = 'http' ORDER BY body";
    let query = run(logboom().args(["query", "--quiet", "-o", "csv", sql]).current_dir(folder.path()), b"");
    let bodies = String::from_utf8_lossy(&query.stdout).into_owned();
    assert_eq!(bodies, "body\nas to Elasticsearch\nas to Loki\nas to Splunk\none\ntwo\n");
    let sql = "SELECT category FROM logs WHERE source IN ('scribe', 'forward', 'otlp', 'syslog') ORDER BY category";
    let query = run(logboom().args(["query", "--quiet", "-o", "csv", sql]).current_dir(folder.path()), b"");
    let categories = String::from_utf8_lossy(&query.stdout).into_owned();
    assert_eq!(categories, "category\nLOGS\ncheckout\nsyslog.shop\nweb.prod\n");
    assert!(up.terminate(PATIENCE).success());
}
