//! Files of some size through `logboom up`, counted by our own query and by another project's reader.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::process::Command;

use crate::harness::{Node, PATIENCE, env_number, free_port, logboom, run, wait_until};

/// Lines of three shapes, each its own file and category; later digits vary.
fn write_logs(folder: &std::path::Path, bytes: u64) -> [(&'static str, u64); 3] {
    std::fs::create_dir(folder.join("logs")).unwrap();
    let shapes =
        ["GET /orders/{} 200 {} bytes", "worker {} took job {} from the queue", "user {} signed in, session {}"];
    let mut counts = [("shop", 0u64), ("jobs", 0), ("auth", 0)];
    for ((name, count), shape) in counts.iter_mut().zip(shapes) {
        let mut out = BufWriter::new(File::create(folder.join("logs").join(format!("{name}.log"))).unwrap());
        let mut written = 0;
        while written < bytes / 3 {
            let digits = (*count).wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407) >> 20;
            let line = shape.replacen("{}", &count.to_string(), 1).replacen("{}", &digits.to_string(), 1);
            writeln!(out, "{line}").unwrap();
            written += line.len() as u64 + 1;
            *count += 1;
        }
        out.flush().unwrap();
    }
    counts.sort_unstable();
    counts
}

/// `LOGBOOM_VOLUME_MB` sets the volume; `LOGBOOM_TEST_PYTHON` names a Python that has the package `deltalake`.
#[test]
fn every_line_is_counted_once_by_our_query_and_by_the_python_package_deltalake() {
    let folder = tempfile::tempdir().unwrap();
    let counts = write_logs(folder.path(), env_number("LOGBOOM_VOLUME_MB", 3) * 1_000_000);
    let listen = format!("127.0.0.1:{}", free_port());
    let mut up = Node::new(folder.path(), "up", &["up", "--listen", &listen, "--tail", "logs/*.log"]);
    up.start();
    up.wait_for("is up on", PATIENCE);
    let expected: Vec<String> = counts.iter().map(|(category, count)| format!("{category},{count},{count}")).collect();
    let sql = "SELECT category, count(*), count(DISTINCT body) FROM logs GROUP BY category ORDER BY category";
    let took = wait_until("all lines are committed", PATIENCE, || {
        let query = run(logboom().args(["query", "--quiet", "-o", "csv", sql]).current_dir(folder.path()), b"");
        query.status.success() && String::from_utf8_lossy(&query.stdout).lines().skip(1).eq(expected.iter())
    });
    println!("{expected:?} after {took:.1?}");

    let Ok(python) = std::env::var("LOGBOOM_TEST_PYTHON") else {
        println!("no LOGBOOM_TEST_PYTHON: not read with the package deltalake");
        return;
    };
    // It ends at once: threads of pyarrow now and then abort an interpreter that takes its leave.
    let script = "import os, sys; from deltalake import DeltaTable; \
        column = DeltaTable(sys.argv[1]).to_pyarrow_table(columns=['category']).column('category'); \
        [print(f\"{row['values']},{row['counts']}\") for row in sorted(column.value_counts().to_pylist(), key=lambda r: r['values'])]; \
        sys.stdout.flush(); os._exit(0)";
    let store = folder.path().join("logboom-data/store");
    let counted = Command::new(python).args(["-c", script]).arg(store).output().unwrap();
    assert!(counted.status.success(), "{}", String::from_utf8_lossy(&counted.stderr));
    let expected: Vec<String> = counts.iter().map(|(category, count)| format!("{category},{count}")).collect();
    assert!(String::from_utf8_lossy(&counted.stdout).lines().eq(&expected), "{counted:?}");
    println!("deltalake counts the same");
}
