//! What a question costs: `logboom`, DuckDB on the same Parquet files, and `zcat | grep` on the same records.
//!
//! `just bench-queries` makes a day of logs once (`LOGBOOM_BENCH_MB` of lines, 1000) in `target/bench-queries`, as a table
//! and as gzipped NDJSON, and then prints the best time of each of `LOGBOOM_BENCH_ROUNDS` (5) rounds, in which all take
//! turns on files that are in the page cache. `LOGBOOM_BENCH_PYTHON` is a Python that has `duckdb`.
//!
//! Each is timed as a whole process; of DuckDB that is Python with it. Beside that stands the query alone, on both sides
//! without the start: of DuckDB what it takes itself from the statement to the last row on an open connection, of
//! `logboom` the process less what `logboom --version` takes. Opening the table, and finding the files, is in both. The
//! quotient is of these.

mod data;

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use data::{DAY, RARE, RARE_CATEGORY};

/// One question, as each of the three is asked it.
struct Question {
    name: &'static str,
    logboom: Vec<String>,
    duckdb: String,
    zcat: String,
}

fn main() {
    let setting = |name: &str, default: usize| {
        std::env::var(name).map_or(default, |value| value.parse().unwrap_or_else(|_| panic!("{name}={value}")))
    };
    let (megabytes, rounds) = (setting("LOGBOOM_BENCH_MB", 1000), setting("LOGBOOM_BENCH_ROUNDS", 5));
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("target/bench-queries/{megabytes}"));
    let made = data::make(&folder, megabytes);
    println!("{made}");
    let store = folder.join("store").display().to_string();
    let wanted: Vec<_> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let start = best(rounds, || logboom(&["--version".into()]));
    let nothing = best(rounds, || logboom(&["query".into(), "-qs".into(), store.clone(), "select 1".into()]));
    println!("logboom --version: {:.0} ms; logboom query 'select 1': {:.0} ms", start * 1e3, nothing * 1e3);
    println!("{:26} {:>21} {:>21} {:>9} {:>9} {:>7}", "", "processes", "queries alone", "", "", "");
    println!(
        "{:26} {:>10} {:>10} {:>10} {:>10} {:>9} {:>9} {:>7}",
        "", "logboom", "DuckDB", "logboom", "DuckDB", "/ DuckDB", "zcat|grep", "zcat /"
    );
    for question in questions(&store, &folder.join("logs.ndjson.gz")) {
        if !wanted.is_empty() && !wanted.iter().any(|word| question.name.contains(word.as_str())) {
            continue;
        }
        let mut times = [f64::INFINITY; 4];
        for round in 0..rounds {
            times[0] = times[0].min(logboom(&question.logboom));
            let (process, alone) = duckdb(&question.duckdb);
            times[1] = times[1].min(process);
            times[2] = times[2].min(alone);
            // It takes so long that one round says enough.
            if round == 0 {
                times[3] = timed(Command::new("bash").args(["-c", &question.zcat]));
            }
        }
        let [ours, process, duckdb, zcat] = times;
        let alone = ours - start;
        println!(
            "{:26} {:>7.0} ms {:>7.0} ms {:>7.0} ms {:>7.0} ms {:>9.2} {:>6.0} ms {:>7.1}",
            question.name,
            ours * 1e3,
            process * 1e3,
            alone * 1e3,
            duckdb * 1e3,
            alone / duckdb,
            zcat * 1e3,
            zcat / ours
        );
    }
}

fn questions(store: &str, ndjson: &Path) -> Vec<Question> {
    let query = |sql: &str| ["query", "-qs", store, sql].map(str::to_owned).to_vec();
    let parquet = format!("read_parquet('{store}/date=*/*.parquet')");
    let zcat = format!("zcat {}", ndjson.display());
    let count = "select category, count(*) from {} group by category order by category";
    let errors = format!(
        "select host, count(*) from {{}} where severity_number >= 17 and timestamp >= '{DAY}T23:00:00Z' group by host order by host"
    );
    vec![
        Question {
            name: "count by category",
            logboom: query(&count.replace("{}", "logs")),
            duckdb: count.replace("{}", &parquet),
            zcat: format!(
                "{zcat} | grep -oE '\"category\":\"[^\"]*\"' | awk '{{n[$0]++}} END {{for (c in n) print c, n[c]}}'"
            ),
        },
        Question {
            name: "grep of a rare string",
            logboom: ["grep", "-qs", store, RARE, "--category", RARE_CATEGORY].map(str::to_owned).to_vec(),
            duckdb: format!(
                "select timestamp, host, category, body from {parquet} where category = '{RARE_CATEGORY}' and contains(body, '{RARE}')"
            ),
            zcat: format!("{zcat} | grep -F '{RARE}' | grep -F '\"category\":\"{RARE_CATEGORY}\"'"),
        },
        Question {
            name: "the same in SQL",
            logboom: query(&format!(
                "select timestamp, host, category, body from logs where category = '{RARE_CATEGORY}' and body like '%{RARE}%'"
            )),
            duckdb: format!(
                "select timestamp, host, category, body from {parquet} where category = '{RARE_CATEGORY}' and body like '%{RARE}%'"
            ),
            zcat: format!("{zcat} | grep -F '{RARE}' | grep -F '\"category\":\"{RARE_CATEGORY}\"'"),
        },
        Question {
            name: "errors by host, last hour",
            logboom: query(&errors.replace("{}", "logs")),
            duckdb: errors.replace("{}", &parquet),
            zcat: format!(
                "{zcat} | grep -F '\"timestamp\":\"{DAY}T23:' | grep -F '\"severity_number\":17' | grep -oE '\"host\":\"[^\"]*\"' | sort | uniq -c"
            ),
        },
    ]
}

fn best(rounds: usize, run: impl Fn() -> f64) -> f64 {
    (0..rounds.max(1)).map(|_| run()).fold(f64::INFINITY, f64::min)
}

fn logboom(args: &[String]) -> f64 {
    timed(Command::new(env!("CARGO_BIN_EXE_logboom")).args(args))
}

/// Seconds from the start of a process to its end.
fn timed(command: &mut Command) -> f64 {
    let start = Instant::now();
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output().expect("it can be run");
    let time = start.elapsed().as_secs_f64();
    assert!(output.status.success() && !output.stdout.is_empty(), "{command:?}: {}", output.status);
    time
}

/// Seconds that DuckDB takes for a query and all of its rows: with the process, and without.
fn duckdb(sql: &str) -> (f64, f64) {
    const SCRIPT: &str = "import duckdb, sys, time
connection = duckdb.connect()
start = time.monotonic()
rows = connection.execute(sys.argv[1]).fetchall()
print(time.monotonic() - start)
assert rows";
    let python = std::env::var("LOGBOOM_BENCH_PYTHON").unwrap_or_else(|_| "python3".into());
    let start = Instant::now();
    let output = Command::new(&python).args(["-c", SCRIPT, sql]).output().expect("a Python that has duckdb");
    let process = start.elapsed().as_secs_f64();
    let said = String::from_utf8_lossy(&output.stdout);
    let alone = said.trim().parse().unwrap_or_else(|_| {
        panic!("{python} cannot ask DuckDB (pip install duckdb): {}", String::from_utf8_lossy(&output.stderr))
    });
    (process, alone)
}
