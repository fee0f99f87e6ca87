//! Tables that were really committed, opened by their place.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use logboom_query::{AsOf, Error, Session};
use logboom_sink::Store;
use logboom_sink::table::{self, Batch, DataFile, Outcome, SnapshotFile, TableOptions, View};
use logboom_wire::StreamId;

use crate::fixture::{Table, ask, busy, record};

async fn view(table: &Table) -> View {
    let store = Store::open(table.url(), &BTreeMap::new()).unwrap();
    View::open_or_create(&store, &TableOptions::default()).await.unwrap()
}

async fn commit(view: &mut View, file: &SnapshotFile, mark: u64) {
    let SnapshotFile { path, size, date, stats, crc32c, .. } = file.clone();
    let files = [DataFile { path, size, date, stats: stats.unwrap(), crc32c }];
    let marks = [(StreamId::from_bytes([7; 16]), mark)];
    let begun = view.begin_files();
    let outcome = table::commit(view, Batch { files: &files, marks: &marks, begun }).await.unwrap();
    assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
}

async fn open(table: &Table) -> Session {
    logboom_query::open(table.url(), &BTreeMap::new()).await.unwrap()
}

const COUNT: &str = "select count(*) from logs where body is not null";

#[tokio::test]
async fn a_session_sees_what_was_committed_before_it_and_nothing_later() {
    let mut table = Table::new();
    let mut view = view(&table).await;
    commit(&mut view, &table.file(&busy("2026-03-01T00:00:00Z", "a", 100)).clone(), 1).await;
    let before = open(&table).await;
    // A sink file that nobody has committed is no part of the table.
    let second = table.file(&busy("2026-03-02T00:00:00Z", "b", 10)).clone();
    assert_eq!(ask(&open(&table).await, COUNT).await.number(), 100);
    commit(&mut view, &second, 2).await;

    let after = open(&table).await;
    assert_eq!(ask(&before, COUNT).await.number(), 100);
    assert_eq!(ask(&after, COUNT).await.number(), 110);
    assert!(before.version() < after.version());
}

#[tokio::test]
async fn the_logs_statistics_prune_and_count_without_reading() {
    let mut table = Table::new();
    let mut view = view(&table).await;
    for day in 1..=4 {
        let file = table.file(&busy(&format!("2026-03-0{day}T00:00:00.000001Z"), &format!("c{day}"), 100)).clone();
        commit(&mut view, &file, day).await;
    }
    let session = open(&table).await;
    let all = ask(&session, "select count(*) from logs").await;
    assert_eq!((all.number(), all.usage.bytes_read, all.usage.files_total), (400, 0, 4));
    for (filter, files, rows) in [
        ("date = '2026-03-02'", 1, 100),
        ("category = 'c3'", 1, 100),
        ("timestamp >= '2026-03-04T00:01:39.000001Z'", 1, 1),
        ("timestamp > '2026-03-04T00:01:39.000001Z'", 1, 0),
        ("timestamp > '2026-03-05'", 0, 0),
    ] {
        // Opened anew, or the footers that an earlier query has fetched answer for free.
        let answer = ask(&open(&table).await, &format!("select body from logs where {filter}")).await;
        assert_eq!((answer.usage.files_read, answer.rows()), (files, rows), "{filter}");
    }
}

#[tokio::test]
async fn a_table_that_holds_nothing_yet_answers_with_nothing() {
    let table = Table::new();
    view(&table).await;
    assert_eq!(ask(&open(&table).await, "select * from logs").await.rows(), 0);
}

#[tokio::test]
async fn a_place_without_a_table_is_named_with_a_hint() {
    let empty = Table::new();
    let missing = format!("{}/nothing/here", empty.url());
    for url in [empty.url(), &missing] {
        let error = logboom_query::open(url, &BTreeMap::new()).await.unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, Error::NoTable { .. }), "{text}");
        assert!(
            text.contains(url) && text.contains("nothing has been committed") && text.contains("--store"),
            "{text}"
        );
    }
    assert!(!std::path::Path::new(&missing).exists());
    let error = logboom_query::open("ftp://host/logs", &BTreeMap::new()).await.unwrap_err();
    assert!(matches!(error, Error::Table { .. }) && error.to_string().contains("ftp"), "{error}");
}

#[tokio::test]
async fn a_committed_file_that_is_gone_is_named_in_one_line() {
    let mut table = Table::new();
    let mut view = view(&table).await;
    let file = table.file(&[record("2026-03-01T00:00:00Z", "a", "lost")]).clone();
    commit(&mut view, &file, 1).await;
    std::fs::remove_file(std::path::Path::new(table.url()).join(&file.path)).unwrap();
    let session = open(&table).await;
    let mut rows = session.sql("select body from logs").await.unwrap();
    let error = logboom_query::Output::Json.write(rows.schema(), &mut rows, &mut Vec::new()).await.unwrap_err();
    let text = error.to_string();
    println!("{text}");
    assert!(text.contains(&file.path) && !text.contains('\n'), "{text}");
}

#[tokio::test]
async fn a_table_is_asked_as_it_was_at_a_time_or_at_a_version() {
    let mut table = Table::new();
    let mut view = view(&table).await;
    let start: Timestamp = "2026-03-01T00:00:00Z".parse().unwrap();
    let hour = |n: i64| start + SignedDuration::from_hours(n);
    // The table itself is the first commit.
    assert_eq!(view.version(), 0);
    for n in 1..=3 {
        let file = table.file(&busy("2026-03-01T00:00:00Z", "a", 100)).clone();
        commit(&mut view, &file, n).await;
    }
    // An hour apart, but the clock of the store was set back before the last one.
    for (version, hours) in [0, 1, 3, 2].into_iter().enumerate() {
        let path = format!("{}/_delta_log/{version:020}.json", table.url());
        let file = std::fs::File::options().append(true).open(path).unwrap();
        file.set_modified(std::time::SystemTime::from(hour(hours))).unwrap();
    }
    let count = async |as_of: AsOf| {
        let session = logboom_query::open_as_of(table.url(), &BTreeMap::new(), as_of).await?;
        Ok::<_, Error>(ask(&session, COUNT).await.number())
    };
    for (as_of, records) in [
        (AsOf::Instant(hour(0)), 0),
        (AsOf::Instant(hour(1)), 100),
        (AsOf::Instant(hour(2)), 100),
        (AsOf::Instant(hour(3)), 300),
        (AsOf::Instant(hour(999)), 300),
        (AsOf::Version(2), 200),
    ] {
        assert_eq!(count(as_of).await.unwrap(), records, "{as_of:?}");
    }
    let error = count(AsOf::Instant(hour(-1))).await.unwrap_err().to_string();
    assert!(error.contains("2026-02-28T23:00:00Z") && error.contains("2026-03-01T00:00:00Z"), "{error}");
    let error = count(AsOf::Version(9)).await.unwrap_err().to_string();
    assert!(!error.contains('\n'), "{error}");
}
