//! That a query reads only what can answer it.

use crate::fixture::{PAGE_ROWS, Table, busy};

fn mixed(start: &str, categories: usize, records_each: usize) -> Table {
    let mut table = Table::new();
    let records: Vec<_> = (0..categories).flat_map(|n| busy(start, &format!("app.{n:02}"), records_each)).collect();
    table.file(&records);
    table
}

#[tokio::test]
async fn one_category_of_twenty_costs_less_than_a_fifth_of_the_file() {
    let table = mixed("2026-03-01T00:00:00Z", 20, 4_000);
    let size = table.files[0].size;
    let answer = table.ask("select * from logs where category = 'app.07'").await;
    assert_eq!(answer.rows(), 4_000);
    let percent = answer.usage.bytes_read * 100 / size;
    println!("one category of twenty, every column: {} of {size} bytes, {percent} %", answer.usage.bytes_read);
    assert!(answer.usage.bytes_read * 5 < size, "{percent} %");

    let answer = table.ask("select count(*) from logs where category = 'app.07'").await;
    assert_eq!(answer.number(), 4_000);
    let percent = answer.usage.bytes_read * 100 / size;
    println!("the same, only counted: {} of {size} bytes, {percent} %", answer.usage.bytes_read);
    assert!(answer.usage.bytes_read * 20 < size, "{percent} %");
}

#[tokio::test]
async fn a_filter_on_the_date_opens_the_files_of_that_day() {
    let mut table = Table::new();
    for day in 1..=9 {
        table.file(&busy(&format!("2026-03-0{day}T00:00:00Z"), "a", 100));
    }
    for (filter, files) in [
        ("date = '2026-03-04'", 1),
        ("date = date '2026-03-04'", 1),
        ("date >= '2026-03-08'", 2),
        ("date between '2026-03-02' and '2026-03-04'", 3),
        ("date in ('2026-03-01', '2026-03-09')", 2),
        ("date_trunc('month', date) = '2026-03-01'", 9),
        ("extract(day from date) = 5", 1),
        ("date = '2026-04-01'", 0),
        ("date is null", 0),
    ] {
        let answer = table.ask(&format!("select max(body), count(*) from logs where {filter}")).await;
        assert_eq!(answer.usage.files_read, files, "{filter}");
    }
}

#[tokio::test]
async fn a_time_range_opens_the_files_whose_bounds_meet_it() {
    let mut table = Table::new();
    for hour in 10..20 {
        table.file(&busy(&format!("2026-03-01T{hour}:00:00Z"), "a", 60));
    }
    for (filter, files) in [
        ("timestamp >= '2026-03-01T18:00:00Z'", 2),
        ("timestamp >= '2026-03-01 12:00:00' and timestamp < '2026-03-01 13:00:00'", 1),
        ("timestamp between timestamp '2026-03-01T12:00:30Z' and timestamp '2026-03-01T13:00:30Z'", 2),
        ("timestamp > to_timestamp('2026-03-01T18:30:00Z')", 1),
        ("observed_timestamp < '2026-03-01T10:00:01Z'", 1),
        ("category = 'b'", 0),
        ("category > 'a' or host = 'web-99'", 0),
        ("host = 'web-3'", 10),
        ("trace_id is not null", 0),
    ] {
        let answer = table.ask(&format!("select max(body) from logs where {filter}")).await;
        assert_eq!(answer.usage.files_read, files, "{filter}");
    }
}

#[tokio::test]
async fn a_minute_of_a_file_costs_the_pages_it_lies_on() {
    let table = mixed("2026-03-01T00:00:00Z", 2, 40_000);
    let size = table.files[0].size;
    let sql = "select * from logs where timestamp >= '2026-03-01T05:00:00Z' and timestamp < '2026-03-01T05:01:00Z'";
    let answer = table.ask(sql).await;
    assert_eq!(answer.rows(), 120);
    let percent = answer.usage.bytes_read * 100 / size;
    println!(
        "a minute of {} hours in pages of {PAGE_ROWS}: {} of {size} bytes, {percent} %",
        40_000 / 3_600,
        answer.usage.bytes_read
    );
    assert!(answer.usage.bytes_read * 10 < size, "{percent} %");
}

#[tokio::test]
async fn a_rare_match_fetches_the_other_columns_only_where_it_lies() {
    let table = mixed("2026-03-01T00:00:00Z", 1, 40_000);
    let all = table.ask("select max(body) from logs").await.usage;
    let one = table.ask("select body from logs where seq = 12345").await;
    assert_eq!(one.rows(), 1);
    println!("the body of one record: {} bytes, of all: {}", one.usage.bytes_read, all.bytes_read);
    assert!(one.usage.bytes_read * 5 < all.bytes_read);
}

#[tokio::test]
async fn counting_everything_or_whole_days_reads_nothing() {
    let mut table = Table::new();
    for day in 1..=3 {
        table.file(&busy(&format!("2026-03-0{day}T00:00:00Z"), "a", 100 * day));
    }
    for (sql, count) in [
        ("select count(*) from logs", 600),
        ("select count(*) from logs where date >= '2026-03-02'", 500),
        ("select count(*) from logs where date = '2020-01-01'", 0),
    ] {
        let answer = table.ask(sql).await;
        assert_eq!(answer.number(), count, "{sql}");
        assert_eq!((answer.usage.files_read, answer.usage.bytes_read), (0, 0), "{sql}");
        assert_eq!(answer.usage.files_total, 3);
    }
}

#[tokio::test]
async fn a_limit_opens_no_more_files_than_it_takes_and_the_newest_first() {
    let mut table = Table::new();
    for day in 1..=9 {
        table.file(&busy(&format!("2026-03-0{day}T00:00:00Z"), "a", 100));
    }
    let answer = table.ask("select distinct date from (select * from logs limit 100)").await;
    assert_eq!(answer.lines().await, ["2026-03-09"]);
    assert_eq!(answer.usage.files_read, 1);
    assert_eq!(table.ask("select * from logs limit 150").await.usage.files_read, 2);
    assert_eq!(table.ask("select * from logs where date < '2026-03-05' limit 1").await.usage.files_read, 1);
}

#[tokio::test]
async fn the_newest_records_are_found_without_reading_old_files() {
    let mut table = Table::new();
    for day in 10..30 {
        table.file(&busy(&format!("2026-03-{day}T00:00:00Z"), "a", 2_000));
    }
    let answer = table.ask("select timestamp, body from logs order by timestamp desc limit 5").await;
    assert_eq!(answer.rows(), 5);
    assert!(answer.lines().await[0].starts_with("2026-03-29T00:33:19Z,"));
    println!("the last five records of 20 files: {}", answer.usage);
    assert!(answer.usage.files_read <= 6, "{}", answer.usage);
}

#[tokio::test]
async fn a_second_query_of_a_session_does_not_fetch_the_footers_again() {
    let table = mixed("2026-03-01T00:00:00Z", 4, 2_000);
    let session = table.session();
    let sql = "select max(body) from logs where category = 'app.02'";
    let first = crate::fixture::ask(&session, sql).await.usage;
    let second = crate::fixture::ask(&session, sql).await.usage;
    assert!(second.bytes_read < first.bytes_read && second.requests < first.requests, "{first:?} {second:?}");
}
