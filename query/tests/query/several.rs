//! Several tables in one session: each by its name, and all records of them as `logs`.

use std::collections::BTreeMap;

use arrow_schema::{DataType, Field};
use logboom_config::Globs;
use logboom_query::{Grep, MatchOptions, Matcher, Output, Session, TimeRange, Wanted};
use logboom_sink::table::Snapshot;
use logboom_sink::{FileFormat, Store};

use crate::fixture::{Table, ask, busy, record};

/// A table of three days in Parquet, one in JSON, and one that has a column of its own.
async fn three() -> (Table, Table, Table) {
    let (mut rest, mut audit, mut web) = (Table::new(), Table::json(), Table::new());
    // Files have random names in truth, and are numbered here.
    web.file(&busy("2026-02-01T00:00:00Z", "web", 1));
    for day in 1..=3 {
        rest.file(&busy(&format!("2026-03-0{day}T00:00:00Z"), "app", 100));
        audit.json_file(&busy(&format!("2026-03-0{day}T00:00:00Z"), "audit", 50)).await;
        web.file(&busy(&format!("2026-03-0{day}T00:00:00Z"), "web", 30));
    }
    web.files.remove(0);
    (rest, audit, web)
}

fn joined((rest, audit, web): &(Table, Table, Table)) -> Session {
    let column = |data_type| vec![std::sync::Arc::new(Field::new("status", data_type, true))];
    let snapshot = Snapshot {
        version: 1,
        format: FileFormat::Parquet,
        files: web.files.clone(),
        columns: column(DataType::Int64),
    };
    let web = Session::over(snapshot, &Store::open_to_read(web.url(), &BTreeMap::new()).unwrap()).unwrap();
    let tables = [("rest", rest.session()), ("audit", audit.session()), ("web", web)];
    Session::joined(tables.map(|(name, session)| (name.to_owned(), session)).into()).unwrap()
}

#[tokio::test]
async fn logs_has_the_records_of_all_and_each_table_has_a_name() {
    let tables = three().await;
    let session = joined(&tables);
    for (sql, expected) in [
        ("select count(*) from logs", "540"),
        ("select count(*) from rest", "300"),
        ("select count(*) from audit", "150"),
        ("select count(*) from web", "90"),
        ("select count(*) from logs where category = 'audit' and date = '2026-03-02'", "50"),
        ("select count(distinct date) from logs", "3"),
        ("select count(*), count(status) from logs", "540,0"),
        ("select count(*) from logs where category like '%b' or category = 'app'", "390"),
        ("select max(body) = (select max(body) from audit) from logs where category = 'audit'", "true"),
        (
            "select attributes['http.status'] as s from logs where category = 'web' and seq = 0 and date = '2026-03-01'",
            "500",
        ),
        ("select count(*) from logs l join rest r on l.body = r.body and l.date = r.date", "300"),
    ] {
        assert_eq!(ask(&session, sql).await.lines().await, [expected], "{sql}");
    }
    let counts = ask(&session, "select category, count(*) from logs group by category order by category").await;
    assert_eq!(counts.lines().await, ["app,300", "audit,150", "web,90"]);
    let columns = ask(&session, "describe logs").await.lines().await;
    assert!(columns.iter().any(|column| column.starts_with("status,Int64,YES")), "{columns:?}");
    assert!(columns.last().unwrap().starts_with("date,"), "{columns:?}");
    let all = ask(&session, "select * from logs where seq = 7 and date = '2026-03-03' order by category").await;
    assert_eq!(all.rows(), 3);
    let limited = ask(&session, "select body from logs limit 5").await;
    assert_eq!(limited.rows(), 5);
}

#[tokio::test]
async fn each_table_is_pruned_by_the_filter_on_all() {
    let tables = three().await;
    for (filter, files) in [
        ("date = '2026-03-02'", 1 + 2 + 1),
        ("category = 'app'", 3),
        ("category = 'audit' and date = '2026-03-02'", 2),
        ("timestamp >= '2026-03-03T00:00:00Z'", 1 + 2 + 1),
        ("category = 'none'", 0),
    ] {
        // A session does not read an index twice.
        let session = joined(&tables);
        let answer = ask(&session, &format!("select max(body) from logs where {filter}")).await;
        assert_eq!(answer.usage.files_read, files, "{filter}");
    }
    let range = TimeRange { since: Some("2026-03-03T00:00:00Z".parse().unwrap()), until: None };
    let session = joined(&tables).within(range);
    let answer = ask(&session, "select count(body) from logs").await;
    assert_eq!((answer.number(), answer.usage.files_read), (180, 4));
    assert_eq!(ask(&session, "select count(*) from audit").await.number(), 50);
}

#[tokio::test]
async fn grep_searches_all_of_them_the_oldest_file_first() {
    let (mut rest, mut audit) = (Table::new(), Table::json());
    rest.file(&[record("2026-03-01T10:00:00Z", "app", "first needle")]);
    rest.file(&[record("2026-03-03T10:00:00Z", "app", "third needle")]);
    audit.json_file(&[record("2026-03-02T10:00:00Z", "audit", "second needle")]).await;
    let tables = [("rest", rest.session()), ("audit", audit.session())];
    let session = Session::joined(tables.map(|(name, session)| (name.to_owned(), session)).into()).unwrap();
    let grep = |categories: Option<&str>| Grep {
        pattern: Matcher::new("needle", MatchOptions::default()).unwrap(),
        categories: categories.map(|glob| Globs::new([glob]).unwrap()),
        hosts: None,
        severities: None,
        time: TimeRange::default(),
        wanted: Wanted::Lines,
    };
    for (categories, expected) in [(None, "first second third"), (Some("au*"), "second"), (Some("app"), "first third")]
    {
        let mut rows = session.grep(grep(categories));
        let mut text = Vec::new();
        Output::Lines.write(rows.schema(), &mut rows, &mut text).await.unwrap();
        let text = String::from_utf8(text).unwrap();
        let found: Vec<_> = text.lines().map(|line| line.split(' ').nth(3).unwrap()).collect();
        assert_eq!(found.join(" "), expected);
    }
}

#[tokio::test]
async fn the_only_table_of_several_that_there_is_has_both_names() {
    let mut table = Table::new();
    table.file(&busy("2026-03-01T00:00:00Z", "app", 10));
    let session = Session::joined(vec![("rest".to_owned(), table.session())]).unwrap();
    for name in ["logs", "rest"] {
        assert_eq!(ask(&session, &format!("select count(*) from {name}")).await.number(), 10);
    }
}
