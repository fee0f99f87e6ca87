//! Sink files in JSON, read by programs that are not ours.

use std::process::{Command, Stdio};

use crate::harness::{PATIENCE, Pipeline, Plan, logboom, run};

#[test]
fn json_files_are_read_by_zcat_python_and_duckdb_and_all_count_the_same() {
    let mut pipeline = Pipeline::start(Plan { format: "json", ..Plan::default() });
    pipeline.pace.allow(u64::MAX);
    let sockets = [0, 1].map(|n| pipeline.other_socket_producer(0, &format!("socket-{n}"), 3000, 100));
    for producer in sockets {
        producer.join();
    }
    pipeline.finish(PATIENCE).assert_clean("before they are read");
    let table = pipeline.folder().join("store");
    let table = table.to_str().unwrap();

    let mut query = logboom();
    query.args(["query", "--quiet", "-o", "csv", "--store", table]);
    query.arg("SELECT category, count(*) FROM logs GROUP BY category ORDER BY category");
    let answer = String::from_utf8(run(&mut query, b"").stdout).unwrap();
    let counts: Vec<(&str, u64)> = answer
        .lines()
        .skip(1)
        .map(|line| line.split_once(',').unwrap())
        .map(|(c, n)| (c, n.parse().unwrap()))
        .collect();
    let rows: u64 = counts.iter().map(|(_, n)| n).sum();
    assert_eq!(rows, 6000, "{answer}");

    let script = format!("zcat {table}/_json/date=*/*.json.gz | wc -l");
    let zcat = run(Command::new("sh").args(["-c", &script]).stdin(Stdio::null()), b"");
    assert_eq!(String::from_utf8_lossy(&zcat.stdout).trim(), rows.to_string());

    let python = std::env::var("LOGBOOM_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/json_files.py");
    let output = run(Command::new(python).args([script, table]), b"");
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    let expected: serde_json::Map<_, _> =
        counts.iter().map(|(category, n)| ((*category).to_owned(), (*n).into())).collect();
    for line in said.lines() {
        println!("{line}");
        let (reader, found) = line.split_once(' ').unwrap();
        if reader != "skipped:" {
            assert_eq!(serde_json::from_str::<serde_json::Map<_, _>>(found).unwrap(), expected, "{reader}");
        }
    }
}
