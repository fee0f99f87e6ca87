//! What `grep` finds, and what it reads for that.

use futures::TryStreamExt;
use jiff::Timestamp;
use logboom_config::Globs;
use logboom_query::{Grep, MatchOptions, Matcher, Output, TimeRange, Usage, Wanted};

use crate::fixture::{Record, Table, busy, record};

fn grep(pattern: &str) -> Grep {
    Grep {
        pattern: Matcher::new(pattern, MatchOptions::default()).unwrap(),
        categories: None,
        hosts: None,
        severities: None,
        time: TimeRange::default(),
        wanted: Wanted::Lines,
    }
}

fn globs(text: &str) -> Option<Globs> {
    Some(Globs::new([text]).unwrap())
}

fn at(text: &str) -> Option<Timestamp> {
    Some(text.parse().unwrap())
}

async fn lines(table: &Table, grep: Grep) -> (Vec<String>, Usage) {
    let mut rows = table.session().grep(grep);
    let mut text = Vec::new();
    Output::Lines.write(rows.schema(), &mut rows, &mut text).await.unwrap();
    (String::from_utf8(text).unwrap().lines().map(str::to_owned).collect(), rows.usage())
}

fn small() -> Table {
    let mut table = Table::new();
    let second = |host: &str, mut record: Record| {
        record.host = host.to_owned();
        record
    };
    table.file(&[
        second("db-1", record("2026-03-02T10:00:00Z", "app", "late timeout")),
        record("2026-03-02T11:00:00Z", "nginx.access", "GET /timeout"),
    ]);
    table.file(&[
        record("2026-03-01T10:00:00Z", "app", "timeout after 30 ms"),
        record("2026-03-01T12:00:00Z", "nginx.access", "GET /"),
        record("2026-03-01T13:00:00Z", "nginx.error", "upstream timed out\n  at line 2"),
    ]);
    table
}

#[tokio::test]
async fn matches_come_as_lines_the_oldest_file_first() {
    let (found, usage) = lines(&small(), grep("time(out|d out)")).await;
    assert_eq!(
        found,
        [
            "2026-03-01T10:00:00Z web-1 app timeout after 30 ms",
            "2026-03-01T13:00:00Z web-1 nginx.error upstream timed out",
            "      at line 2",
            "2026-03-02T10:00:00Z db-1 app late timeout",
            "2026-03-02T11:00:00Z web-1 nginx.access GET /timeout",
        ]
    );
    assert_eq!(usage.files_read, 2);
}

#[tokio::test]
async fn only_the_categories_hosts_severities_and_times_that_are_asked_for() {
    let table = small();
    let found = |grep: Grep| async { lines(&table, grep).await.0.len() };
    assert_eq!(found(Grep { categories: globs("nginx.*"), ..grep("GET") }).await, 2);
    assert_eq!(found(Grep { categories: globs("{app,nginx.access}"), ..grep("") }).await, 4);
    assert_eq!(found(Grep { hosts: globs("db-*"), ..grep("timeout") }).await, 1);
    assert_eq!(found(Grep { severities: Some(">=info".parse().unwrap()), ..grep("") }).await, 6);
    assert_eq!(found(Grep { severities: Some(">=warn".parse().unwrap()), ..grep("") }).await, 0);
    let time = TimeRange { since: at("2026-03-01T12:00:00Z"), until: at("2026-03-02T11:00:00Z") };
    assert_eq!(found(Grep { time, ..grep("^(GET|late)") }).await, 2);
    assert_eq!(found(Grep { categories: globs("none"), ..grep("") }).await, 0);
}

#[tokio::test]
async fn a_limit_ends_the_search_and_a_count_has_no_columns() {
    let table = small();
    let rows = table.session().grep(grep("timeout")).limited(2);
    let batches: Vec<_> = rows.try_collect().await.unwrap();
    assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 2);
    let rows = table.session().grep(Grep { wanted: Wanted::Count, ..grep("timeout") });
    let batches: Vec<_> = rows.try_collect().await.unwrap();
    assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 3);
    assert!(batches.iter().all(|batch| batch.num_columns() == 0));
}

#[tokio::test]
async fn matches_are_sorted_by_time_over_files_and_categories() {
    let table = small();
    let mut rows = table.session().grep(Grep { categories: globs("nginx.*"), ..grep("") }).sorted_by_time();
    let mut text = Vec::new();
    Output::Lines.write(rows.schema(), &mut rows, &mut text).await.unwrap();
    let text = String::from_utf8(text).unwrap();
    let times: Vec<_> = text.lines().filter(|line| line.starts_with("2026")).collect();
    assert_eq!(times.len(), 3);
    assert!(times.is_sorted(), "{text}");
}

#[tokio::test]
async fn what_grep_finds_is_what_sql_finds() {
    let mut table = Table::new();
    for day in 1..4 {
        let records: Vec<_> =
            (0..5).flat_map(|n| busy(&format!("2026-03-0{day}T00:00:00Z"), &format!("app.{n}"), 3_000)).collect();
        table.file(&records);
    }
    for (pattern, condition) in [
        ("a0f", "body LIKE '%a0f%'"),
        ("^request [0-4]", "body ~ '^request [0-4]'"),
        ("(00|11)[a-c]$", "body ~ '(00|11)[a-c]$'"),
    ] {
        let sql = format!(
            "SELECT count(*) FROM logs WHERE {condition} AND category LIKE 'app.1%' AND host = 'web-3'
             AND timestamp >= '2026-03-01T00:10:00Z' AND timestamp < '2026-03-03T00:20:00Z'"
        );
        let expected = table.ask(&sql).await.number();
        let time = TimeRange { since: at("2026-03-01T00:10:00Z"), until: at("2026-03-03T00:20:00Z") };
        let asked = Grep { categories: globs("app.1*"), hosts: globs("web-3"), time, ..grep(pattern) };
        let (found, _) = lines(&table, asked).await;
        assert_eq!(found.len() as i64, expected, "{pattern}");
        assert!(expected > 0, "{pattern}");
    }
}

#[tokio::test]
async fn a_rare_match_in_one_category_costs_that_categorys_bodies() {
    let mut table = Table::new();
    let mut records: Vec<_> = (0..10).flat_map(|n| busy("2026-03-01T00:00:00Z", &format!("app.{n}"), 4_000)).collect();
    records[4 * 4_000 + 77].body.push_str(" needle");
    table.file(&records);
    let size = table.files[0].size;
    let (found, usage) = lines(&table, Grep { categories: globs("app.4"), ..grep("needle") }).await;
    assert_eq!(found.len(), 1);
    println!("a needle in one of ten categories: {} of {size} bytes", usage.bytes_read);
    assert!(usage.bytes_read * 6 < size, "{} of {size}", usage.bytes_read);
    let (found, usage) = lines(&table, Grep { categories: globs("db.*"), ..grep("needle") }).await;
    assert_eq!((found.len(), usage.bytes_read), (0, 0));
}

#[tokio::test]
async fn on_a_terminal_a_line_cannot_move_the_cursor() {
    let mut table = Table::new();
    table.file(&[record("2026-03-01T10:00:00Z", "app", "a\u{1b}[2Jb\r\u{9b}c\u{202e}d")]);
    for output in [Output::Lines, Output::Json, Output::Csv, Output::Table] {
        let wanted = if output == Output::Lines { Wanted::Lines } else { Wanted::Records };
        let mut rows = table.session().grep(Grep { wanted, ..grep("") });
        let mut text = Vec::new();
        output.write_to_terminal(rows.schema(), &mut rows, &mut text).await.unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(!text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{text:?}");
        if output == Output::Json {
            assert!(text.contains(r"a\u001b[2Jb\r\u009bc\u202ed"), "{text}");
        }
    }
}

#[tokio::test]
async fn in_files_of_json_it_finds_what_it_finds_in_parquet() {
    let (mut json, mut parquet) = (Table::json(), Table::new());
    for day in 1..4 {
        let mut records: Vec<_> =
            (0..5).flat_map(|n| busy(&format!("2026-03-0{day}T00:00:00Z"), &format!("app.{n}"), 800)).collect();
        records.push(record(&format!("2026-03-0{day}T13:00:00Z"), "nginx.error", "upstream a0f\n  at line 2"));
        json.json_file(&records).await;
        parquet.file(&records);
    }
    let time = TimeRange { since: at("2026-03-01T00:10:00Z"), until: at("2026-03-03T00:20:00Z") };
    let none = || grep("a0f");
    for (n, asked) in [
        none as fn() -> Grep,
        || Grep { categories: globs("app.1*"), ..grep("0[a-c]$") },
        || Grep { hosts: globs("web-3"), ..grep("a0f") },
        || Grep { severities: Some(">=warn".parse().unwrap()), ..grep("") },
        || Grep { severities: Some(">=info".parse().unwrap()), ..grep("a0f") },
        || Grep { categories: globs("none"), ..grep("") },
    ]
    .into_iter()
    .enumerate()
    {
        for time in [TimeRange::default(), time] {
            for wanted in [Wanted::Lines, Wanted::Records, Wanted::Count] {
                let ask = || Grep { time, wanted, ..asked() };
                let mut answers = Vec::new();
                for table in [&json, &parquet] {
                    let mut rows = table.session().grep(ask());
                    let output = if wanted == Wanted::Lines { Output::Lines } else { Output::Json };
                    let mut text = Vec::new();
                    let count = output.write(rows.schema(), &mut rows, &mut text).await.unwrap();
                    answers.push((count, String::from_utf8(text).unwrap()));
                }
                assert_eq!(answers[0], answers[1], "{n} {time:?} {wanted:?}");
                assert_eq!(answers[0].0 > 0, ![3, 5].contains(&n), "{n} {time:?}");
            }
        }
    }
}

#[tokio::test]
async fn in_files_of_json_it_reads_the_members_of_a_category() {
    let mut table = Table::json();
    let mut records: Vec<_> = (0..10).flat_map(|n| busy("2026-03-01T00:00:00Z", &format!("app.{n}"), 1_000)).collect();
    records[4 * 1_000 + 77].body.push_str(" needle");
    let members = table.json_file(&records).await;
    let (found, usage) = lines(&table, Grep { categories: globs("app.4"), ..grep("needle") }).await;
    assert_eq!(found.len(), 1);
    assert_eq!((usage.requests, usage.bytes_read), (2, table.files[0].size + members[4].length));
    let (found, usage) = lines(&table, Grep { categories: globs("db.*"), ..grep("needle") }).await;
    assert_eq!((found.len(), usage.bytes_read), (0, 0));
    let path = table.folder().join(&*members[0].path);
    std::fs::write(&path, &std::fs::read(&path).unwrap()[..1000]).unwrap();
    let mut rows = table.session().grep(grep("needle"));
    let error = Output::Lines.write(rows.schema(), &mut rows, &mut Vec::new()).await.unwrap_err().to_string();
    assert!(error.contains(&*members[0].path), "{error}");
}
