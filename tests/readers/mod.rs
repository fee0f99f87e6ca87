//! Other engines on the table: all of them count the same and read the same rows.
//!
//! Each script in this folder reads with one engine and says how many rows there were, with a digest of all of them. They
//! run where `LOGBOOM_TEST_PYTHON` has the packages of `requirements.txt` here.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::harness::{Node, PATIENCE, free_port, logboom, run, wait_until};

const RECORDS: usize = 3000;

/// Bodies that a reader may get wrong.
const ODD: [&str; 8] = ["", " ", "\u{0}", "a\nb\r\n", "\u{1F600} \u{2028}", "\"quoted\\\"", "NULL", "\u{feff}bom"];

fn record(n: usize) -> String {
    let body = match n % 10 {
        0 => ODD[(n / 10) % ODD.len()].to_owned(),
        _ => format!("record {n} of many, with a number {}", n * 7919 % 1000),
    };
    let mut record = json!({ "category": format!("app.{}", n % 7), "body": body });
    if n.is_multiple_of(3) {
        record["severity"] = json!("error");
        record["timestamp"] = json!(format!("19{:02}-02-28T23:59:59.{:06}Z", 70 + n % 30, n));
    }
    if n.is_multiple_of(4) {
        record["http.status"] = json!(format!("{}", 200 + n % 300));
        record["user"] = json!("J\u{f6}rg");
    }
    record.to_string()
}

/// A table of several commits, in `store` of this folder.
fn fill(folder: &Path) {
    let listen = format!("127.0.0.1:{}", free_port());
    fs::write(
        folder.join("logboom.toml"),
        "[collector]\nhttp = \"\"\nflush_interval = \"300ms\"\n[sink]\nurl = \"logboom-data/store\"\n",
    )
    .unwrap();
    let mut up = Node::new(folder, "up", &["up", "--config", "logboom.toml", "--listen", &listen]);
    up.start();
    up.wait_for("is up on", PATIENCE);
    for part in 0..3 {
        let lines: Vec<String> = (part * RECORDS / 3..(part + 1) * RECORDS / 3).map(record).collect();
        let sent = run(logboom().arg("send").current_dir(folder), (lines.join("\n") + "\n").as_bytes());
        assert!(sent.status.success(), "{sent:?}");
        let wanted = (part + 1) * RECORDS / 3;
        wait_until("it is committed", PATIENCE, || count(folder) == wanted);
    }
    assert!(up.terminate(PATIENCE).success());
}

fn count(folder: &Path) -> usize {
    let query = ["query", "--quiet", "-o", "csv", "SELECT count(*) FROM logs"];
    let output = run(logboom().args(query).current_dir(folder), b"");
    String::from_utf8_lossy(&output.stdout).lines().nth(1).and_then(|count| count.parse().ok()).unwrap_or(0)
}

#[test]
fn every_engine_counts_the_same_and_reads_the_same_rows() {
    let Ok(python) = std::env::var("LOGBOOM_TEST_PYTHON") else {
        return println!("skipped: LOGBOOM_TEST_PYTHON is not set");
    };
    let folder = tempfile::tempdir().unwrap();
    fill(folder.path());
    let listed = run(logboom().args(["table", "files"]).current_dir(folder.path()), b"");
    assert!(listed.status.success(), "{listed:?}");
    let listed = String::from_utf8(listed.stdout).unwrap();
    let files: Vec<&str> = listed.lines().collect();
    assert!(files.len() >= 3, "{files:?}");
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/readers");
    let mut said: Vec<(String, String)> = Vec::new();
    let mut names: Vec<_> = fs::read_dir(&scripts).unwrap().map(|entry| entry.unwrap().path()).collect();
    names.sort();
    for script in names.iter().filter(|path| path.extension().is_some_and(|extension| extension == "py")) {
        let name = script.file_stem().unwrap().to_string_lossy().into_owned();
        if name == "rows" {
            continue;
        }
        let package = name.split('_').next().unwrap();
        if !run(Command::new(&python).args(["-c", &format!("import {package}")]), b"").status.success() {
            println!("{name}: skipped, there is no {package}");
            continue;
        }
        let mut command = Command::new(&python);
        command.arg(script).arg(folder.path().join("logboom-data/store")).args(&files);
        let output = run(&mut command, b"");
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        let last = text.lines().last().unwrap_or_default().to_owned();
        println!("{name}: {last}");
        assert_eq!(last.split(' ').next(), Some(RECORDS.to_string().as_str()), "{name}");
        said.push((name, last));
    }
    assert!(said.len() >= 2, "no engine is installed");
    for (name, digest) in &said {
        assert_eq!(*digest, said[0].1, "{name} reads other rows than {}", said[0].0);
    }
}
