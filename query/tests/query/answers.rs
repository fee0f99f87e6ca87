//! What SQL can ask, and that the answers are right.

use jiff::{SignedDuration, Timestamp};
use logboom_query::TimeRange;

use crate::fixture::{Table, ask, busy, record};

fn three_days() -> Table {
    let mut table = Table::new();
    let mut failed = record("2026-03-01T10:00:00Z", "billing", "card declined for order 17");
    failed.status = Some("402".to_owned());
    table.file(&[failed, record("2026-03-01T11:00:00Z", "nginx.access", "GET / 200")]);
    table.file(&[record("2026-03-02T10:00:00Z", "nginx.access", "GET /cart 500")]);
    table.file(&[record("2026-03-03T10:30:00.25Z", "billing", "paid order 18")]);
    table
}

#[tokio::test]
async fn a_row_has_the_columns_of_its_record_and_the_day_of_its_folder() {
    let table = three_days();
    let sql = "select timestamp, category, host, body, date from logs where category = 'billing' order by timestamp";
    assert_eq!(
        table.ask(sql).await.lines().await,
        [
            "2026-03-01T10:00:00Z,billing,web-1,card declined for order 17,2026-03-01",
            "2026-03-03T10:30:00.250Z,billing,web-1,paid order 18,2026-03-03",
        ]
    );
    assert_eq!(table.ask("select * from logs").await.batches[0].num_columns(), 15);
}

#[tokio::test]
async fn an_attribute_is_read_by_its_key() {
    let table = three_days();
    let sql = "select attributes['http.status'] from logs where attributes['http.status'] = '402'";
    assert_eq!(table.ask(sql).await.lines().await, ["402"]);
    let sql = "select count(*) from logs where attributes['http.status'] is null";
    assert_eq!(table.ask(sql).await.number(), 3);
    let sql =
        "select attributes['http.status'] as status, count(*) from logs group by status order by status nulls first";
    assert_eq!(table.ask(sql).await.lines().await, [",3", "402,1"]);
}

#[tokio::test]
async fn text_is_searched_with_like_and_with_regular_expressions() {
    let table = three_days();
    for (filter, rows) in [
        ("body like '%order%'", 2),
        ("body ilike 'get %'", 2),
        ("body ~ 'order 1[78]$'", 2),
        ("regexp_like(body, '/cart\\s+5\\d\\d')", 1),
        ("body not like 'GET%' and category like 'bill%'", 2),
        ("strpos(body, 'declined') > 0", 1),
    ] {
        let sql = format!("select * from logs where {filter}");
        assert_eq!(table.ask(&sql).await.rows(), rows, "{filter}");
    }
}

#[tokio::test]
async fn records_are_counted_by_hour_and_by_day() {
    let table = three_days();
    let sql = "select date_trunc('hour', timestamp) as hour, count(*) as n from logs
               group by hour order by hour desc limit 2";
    assert_eq!(table.ask(sql).await.lines().await, ["2026-03-03T10:00:00Z,1", "2026-03-02T10:00:00Z,1"]);
    let sql = "select date, count(*) from logs group by date order by date";
    assert_eq!(table.ask(sql).await.lines().await, ["2026-03-01,2", "2026-03-02,1", "2026-03-03,1"]);
    let sql = "select date_bin(interval '30 minutes', timestamp) as t, count(*) from logs
               where date > '2026-03-02' group by t";
    assert_eq!(table.ask(sql).await.lines().await, ["2026-03-03T10:30:00Z,1"]);
}

#[tokio::test]
async fn the_last_hour_is_counted_back_from_now() {
    let mut table = Table::new();
    for minutes in [5, 30, 90] {
        let instant = Timestamp::now() - SignedDuration::from_mins(minutes);
        table.file(&[record(&instant.to_string(), "web", &format!("{minutes} minutes ago"))]);
    }
    let sql = "select body from logs where timestamp > now() - interval '1 hour' order by timestamp desc";
    let answer = table.ask(sql).await;
    assert_eq!(answer.lines().await, ["5 minutes ago", "30 minutes ago"]);
    assert_eq!(answer.usage.files_read, 2, "the third file is older by its statistics");
}

#[tokio::test]
async fn explain_shows_the_scan_and_explain_analyze_its_costs() {
    let table = three_days();
    let plan = table.ask("explain select * from logs where category = 'billing' and body like '%x%'").await;
    let plan = plan.lines().await.join("\n");
    assert!(plan.contains("DataSourceExec") && plan.contains("pruning_predicate"), "{plan}");
    let analyzed = table.ask("explain analyze select count(*) from logs where category = 'billing'").await;
    let analyzed = analyzed.lines().await.join("\n");
    assert!(analyzed.contains("bytes_scanned"), "{analyzed}");
}

#[tokio::test]
async fn the_table_and_its_columns_can_be_asked_for() {
    let table = three_days();
    let columns = table.ask("describe logs").await.lines().await;
    assert!(columns[0].starts_with("timestamp,"), "{columns:?}");
    assert_eq!(columns.len(), 15);
    assert!(table.ask("show tables").await.lines().await.iter().any(|line| line.contains("logs")));
}

#[tokio::test]
async fn an_empty_table_answers_with_nothing() {
    let table = Table::new();
    assert_eq!(table.ask("select * from logs").await.rows(), 0);
    assert_eq!(table.ask("select count(*) from logs where date > '2026-01-01'").await.number(), 0);
}

#[tokio::test]
async fn a_file_without_statistics_is_read_like_any_other() {
    let mut table = three_days();
    table.files[1].stats = None;
    assert_eq!(table.ask("select count(*) from logs").await.number(), 4);
    let some = table.ask("select body from logs where category = 'nginx.access'").await;
    assert_eq!((some.rows(), some.usage.files_read), (2, 2), "the others are still pruned by theirs");
    assert_eq!(table.ask("select * from logs limit 3").await.rows(), 3);
}

#[tokio::test]
async fn an_extreme_is_never_taken_from_a_bound_that_is_wider_than_the_records() {
    let mut table = three_days();
    for file in &mut table.files {
        let bounds = file.stats.as_mut().unwrap().timestamp.as_mut().unwrap();
        *bounds = (bounds.0 - 1_000_000, bounds.1 + 1_000_000);
    }
    let sql = "select min(timestamp), max(timestamp) from logs";
    assert_eq!(table.ask(sql).await.lines().await, ["2026-03-01T10:00:00Z,2026-03-03T10:30:00.250Z"]);
}

#[tokio::test]
async fn queries_of_one_session_may_run_at_the_same_time_and_are_billed_apart() {
    let mut table = Table::new();
    table.file(&busy("2026-03-01T00:00:00Z", "a", 1_000));
    table.file(&busy("2026-03-02T00:00:00Z", "a", 1_000));
    let session = table.session();
    let (one, both) = tokio::join!(
        ask(&session, "select max(body) from logs where date = '2026-03-01'"),
        ask(&session, "select max(body) from logs"),
    );
    assert_eq!((one.usage.files_read, both.usage.files_read), (1, 2));
}

#[tokio::test]
async fn json_in_bodies_is_read_by_functions_and_arrows() {
    let mut table = Table::new();
    table.file(&[
        record("2026-03-01T10:00:00Z", "app", r#"{"user":{"id":7,"tags":["a","b"]},"ms":1.5,"ok":true,"msg":"x\ny"}"#),
        record("2026-03-01T10:00:01Z", "app", "plain text"),
    ]);
    for (expression, expected) in [
        ("json_get_int(body, 'user', 'id')", "7"),
        ("json_get_str(body, 'user', 'tags', 1)", "b"),
        ("json_get_float(body, 'ms')", "1.5"),
        ("json_get_float(body, 'user', 'id')", "7.0"),
        ("json_get_bool(body, 'ok')", "true"),
        ("json_get_json(body, 'user', 'tags')", r#""[""a"",""b""]""#),
        ("body -> 'user' ->> 'id'", "7"),
        ("body ->> 'ms'", "1.5"),
        ("json_length(body, 'user')", "2"),
        ("json_contains(body, 'user', 'id')", "true"),
        ("json_get_int(body, 'ms')", ""),
        ("json_get_str(body, 'user', 'id')", ""),
    ] {
        let sql = format!("SELECT {expression} AS value, 1 FROM logs ORDER BY timestamp");
        let lines = table.ask(&sql).await.lines().await;
        assert_eq!(lines[0], format!("{expected},1"), "{expression}");
        let of_plain = if expression.starts_with("json_contains") { "false,1" } else { ",1" };
        assert_eq!(lines[1], of_plain, "{expression}");
    }
    let sql = "SELECT count(*) FROM logs WHERE json_get_int(body, 'user', 'id') > 5 AND (body ->> 'ok') = 'true'";
    assert_eq!(table.ask(sql).await.number(), 1);
    assert!(table.session().sql("SELECT json_get_int(seq, 'a') FROM logs").await.is_err());
}

#[tokio::test]
async fn a_session_within_a_time_range_sees_only_that_and_opens_only_its_files() {
    let mut table = Table::new();
    for hour in 10..20 {
        table.file(&busy(&format!("2026-03-01T{hour}:00:00Z"), "a", 60));
    }
    let at = |text: &str| Some(text.parse::<Timestamp>().unwrap());
    let range = TimeRange { since: at("2026-03-01T12:00:30Z"), until: at("2026-03-01T13:00:10Z") };
    let session = table.session().within(range);
    let answer = ask(&session, "SELECT count(*), min(body) FROM logs WHERE category = 'a'").await;
    assert_eq!(answer.number(), 40);
    assert_eq!(answer.usage.files_read, 2);
    let answer = ask(&session, "SELECT * FROM logs").await;
    assert_eq!((answer.rows(), answer.batches[0].num_columns()), (40, 15));
}

#[tokio::test]
async fn a_trace_is_found_by_its_id() {
    let mut table = Table::new();
    table.file(&[record("2026-03-01T10:00:00Z", "app", "no trace")]);
    let trace = table.session().trace(&"4bf92f3577b34da6a3ce929d0e0e4736".parse().unwrap()).await.unwrap();
    assert_eq!(trace.records(), 0);
    assert_eq!(trace.usage.files_read, 0, "the log knows that the file has no trace at all");
}

#[tokio::test]
async fn categories_are_counted_by_whole_row_groups_and_the_counts_are_the_same() {
    let mut table = Table::new();
    for day in 1..=3 {
        let mut records = busy(&format!("2026-03-0{day}T00:00:00Z"), "app", 3_000);
        records.extend(busy(&format!("2026-03-0{day}T00:00:00Z"), &"x".repeat(100), 10 * day));
        records.extend(busy(&format!("2026-03-0{day}T00:00:00Z"), "y", 20));
        table.file(&records);
    }
    // `host || ''` is no column, so that one is counted record by record.
    for rest in ["", "WHERE date >= '2026-03-02'", "WHERE timestamp >= '2026-03-02T00:00:05Z'", "WHERE host = 'web-1'"]
    {
        let by = |group: &str| {
            format!("SELECT {group} AS c, count(*) AS n, count(1) FROM logs {rest} GROUP BY {group} ORDER BY c")
        };
        let quick = table.ask(&by("category")).await;
        let slow = table.ask(&by("category || ''")).await;
        assert_eq!(quick.lines().await, slow.lines().await, "{rest}");
        assert_eq!(quick.rows(), 3, "{rest}");
    }
    let all = "SELECT category, count(*) FROM logs GROUP BY category";
    let (quick, columns) = (table.ask(all).await.usage, table.ask("SELECT max(category) FROM logs").await.usage);
    println!("{quick}, and to read the column: {columns}");
    let sql = "SELECT sum(n) FROM (SELECT category, count(*) AS n FROM logs GROUP BY category HAVING count(*) > 60)"
        .to_owned();
    assert_eq!(table.ask(&sql).await.number(), 9_000);
    let sql = "SELECT count(*) FROM (SELECT category, count(body_bytes) FROM logs GROUP BY category)";
    assert_eq!(table.ask(sql).await.number(), 3);
}
