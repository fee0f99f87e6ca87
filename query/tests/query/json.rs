//! Tables whose sink files are JSON: the same answers, and only the bytes that it takes.

use std::fs;

use logboom_sink::json::Member;

use crate::fixture::{Record, Table, ask, busy, record};

fn mixed(start: &str, categories: usize, each: usize) -> Vec<Record> {
    (0..categories).flat_map(|n| busy(start, &format!("app.{n:02}"), each)).collect()
}

/// Its length, for one category.
fn bytes_of(members: &[Member], category: &str) -> u64 {
    let of = |member: &&Member| member.stats.category.as_ref().unwrap().0 == category;
    members.iter().filter(of).map(|member| member.length).sum()
}

#[tokio::test]
async fn one_category_of_a_hundred_is_one_range_of_each_file() {
    let mut table = Table::json();
    let mut wanted = 0;
    for day in 1..=3 {
        let members = table.json_file(&mixed(&format!("2026-03-0{day}T00:00:00Z"), 100, 40)).await;
        assert_eq!(members.len(), 100);
        wanted += bytes_of(&members, "app.42");
    }
    let indexes: u64 = table.files.iter().map(|file| file.size).sum();
    let answer = table.ask("select * from logs where category = 'app.42'").await;
    assert_eq!(answer.rows(), 120);
    println!("{}: {wanted} bytes of members, {indexes} of indexes", answer.usage);
    assert_eq!(answer.usage.bytes_read, wanted + indexes, "the category's bytes and not one more");
    assert_eq!(answer.usage.requests, 3 + 3, "one range of each file, and its index");
    assert_eq!(answer.usage.files_read, 6);

    let answer = table.ask("select body from logs where category in ('app.42', 'app.43')").await;
    assert_eq!((answer.rows(), answer.usage.requests), (240, 3 + 3), "neighbours are one range");
    let all = table.ask("select max(body) from logs").await.usage;
    assert_eq!((all.requests, all.bytes_read), (3 + 3, all.bytes_total), "a file is read as a whole by one request");
}

#[tokio::test]
async fn a_second_query_of_a_session_does_not_fetch_the_indexes_again() {
    let mut table = Table::json();
    let members = table.json_file(&mixed("2026-03-01T00:00:00Z", 4, 100)).await;
    let session = table.session();
    let sql = "select max(body) from logs where category = 'app.02'";
    assert_eq!(ask(&session, sql).await.usage.requests, 2);
    let second = ask(&session, sql).await.usage;
    assert_eq!((second.requests, second.bytes_read), (1, bytes_of(&members, "app.02")));
}

#[tokio::test]
async fn the_answers_are_those_of_the_same_records_in_parquet() {
    let (mut json, mut parquet) = (Table::json(), Table::new());
    for day in 1..=3 {
        let mut records = mixed(&format!("2026-03-0{day}T10:00:00Z"), 5, 300);
        let mut odd = record(&format!("2026-03-0{day}T10:00:00.25Z"), "odd", "line\nfeed \"quoted\" \\ \u{2028} 😀 \0");
        odd.status = Some("\u{1}".into());
        records.push(odd);
        json.json_file(&records).await;
        parquet.file(&records);
    }
    for sql in [
        "select * from logs order by date, category, timestamp, seq",
        "select count(*) from logs",
        "select count(*), min(timestamp), max(timestamp) from logs where date > '2026-03-01'",
        "select date, count(*) from logs group by date order by date",
        "select 1 from logs where date = '2026-03-02' limit 3",
        "select date from logs order by date desc limit 1",
        "select category, host, count(*) from logs group by category, host order by category, host",
        "select body from logs where category = 'odd' order by date",
        "select attributes['http.status'] as s, count(*) from logs group by s order by s",
        "select seq + 1 as next, upper(host) as h from logs where seq = 17 and category = 'app.03' order by date",
        "select count(*) from logs where body like '%f0%' and timestamp >= '2026-03-02T10:01:00Z'",
        "select count(*) from logs where trace_id is not null",
        "select count(*) from logs where severity_number >= 9 and date in ('2026-03-01', '2026-03-03')",
        "select a.body from logs a join logs b on a.body = b.body and a.date = b.date where a.category = 'odd'
         order by a.date",
        "describe logs",
    ] {
        // Only texts from Parquet are views.
        let parquet = parquet.ask(sql).await.lines().await.into_iter();
        let parquet: Vec<_> =
            parquet.map(|line| line.replace("Utf8View", "Utf8").replace("BinaryView", "Binary")).collect();
        assert_eq!(json.ask(sql).await.lines().await, parquet, "{sql}");
    }
}

#[tokio::test]
async fn a_time_range_and_a_date_open_the_files_that_they_meet() {
    let mut table = Table::json();
    for day in 1..=9 {
        table.json_file(&busy(&format!("2026-03-0{day}T00:00:00Z"), "a", 100)).await;
    }
    // An index and a file for each.
    for (filter, files) in [
        ("date = '2026-03-04'", 2),
        ("date >= '2026-03-08'", 4),
        ("extract(day from date) = 5", 2),
        ("date is null", 0),
        ("timestamp >= '2026-03-08T00:00:00Z'", 4),
        ("timestamp >= '2026-03-04T00:01:30Z' and timestamp < '2026-03-05T00:00:00Z'", 2),
        ("observed_timestamp < '2026-03-01T00:00:01Z'", 2),
        ("category = 'b'", 0),
        ("category > 'a' or host = 'web-99'", 0),
        ("host = 'web-3'", 18),
    ] {
        let answer = table.ask(&format!("select max(body), count(*) from logs where {filter}")).await;
        assert_eq!(answer.usage.files_read, files, "{filter}");
    }
}

#[tokio::test]
async fn a_minute_of_a_large_category_costs_the_member_it_lies_in() {
    let mut table = Table::json();
    let members = table.json_file(&busy("2026-03-01T00:00:00Z", "a", 150_000)).await;
    assert!(members.len() > 2, "{}", members.len());
    let sql = "select body from logs where timestamp >= '2026-03-01T00:10:00Z' and timestamp < '2026-03-01T00:11:00Z'";
    let answer = table.ask(sql).await;
    assert_eq!((answer.rows(), answer.usage.requests), (60, 2));
    assert_eq!(answer.usage.bytes_read, members[0].length + table.files[0].size);
}

#[tokio::test]
async fn records_are_counted_by_the_indexes_alone_and_a_limit_reads_the_newest() {
    let mut table = Table::json();
    for day in 1..=9 {
        table.json_file(&busy(&format!("2026-03-0{day}T00:00:00Z"), "a", 100)).await;
    }
    let counted = table.ask("select count(*) from logs").await;
    assert_eq!((counted.number(), counted.usage.files_read), (900, 9));
    let answer = table.ask("select distinct date from (select * from logs limit 100)").await;
    assert_eq!(answer.lines().await, ["2026-03-09"]);
    assert_eq!(answer.usage.files_read, 9 + 1);
    assert_eq!(table.ask("select * from logs limit 150").await.rows(), 150);
}

#[tokio::test]
async fn what_is_damaged_or_gone_is_named_with_its_bytes() {
    let mut table = Table::json();
    let members = table.json_file(&mixed("2026-03-01T00:00:00Z", 4, 100)).await;
    let file = table.folder().join(&*members[0].path);
    let good = fs::read(&file).unwrap();
    let range = |n: usize| format!("{} to {}", members[n].offset, members[n].offset + members[n].length);
    let sql = |n: usize| format!("select max(body) from logs where category = 'app.0{n}'");

    let mut bytes = good.clone();
    bytes[(members[1].offset + members[1].length / 2) as usize] ^= 4;
    fs::write(&file, &bytes).unwrap();
    let error = table.fail(&sql(1)).await;
    assert!(error.contains(&*members[0].path) && error.contains(&range(1)), "{error}");
    assert_eq!(table.ask(&sql(2)).await.rows(), 1, "the other members are as good as they were");

    fs::write(&file, &good[..members[3].offset as usize + 5]).unwrap();
    let error = table.fail(&sql(3)).await;
    assert!(error.contains(&*members[0].path) && error.contains(&range(3)), "{error}");
    fs::write(&file, &good[..members[3].offset as usize - 5]).unwrap();
    let error = table.fail(&sql(3)).await;
    assert!(error.contains(&*members[0].path) && error.contains(&range(3)), "{error}");

    fs::remove_file(&file).unwrap();
    let error = table.fail(&sql(0)).await;
    assert!(error.contains(&*members[0].path) && error.contains(&range(0)), "{error}");

    let index = table.folder().join(&table.files[0].path);
    let mut bytes = fs::read(&index).unwrap();
    let end = bytes.len() - 20;
    bytes[end..].fill(0);
    fs::write(&index, &bytes).unwrap();
    let error = table.fail(&sql(0)).await;
    assert!(error.contains(&table.files[0].path), "{error}");
}

#[tokio::test]
async fn an_empty_table_answers_with_nothing() {
    let table = Table::json();
    assert_eq!(table.ask("select * from logs").await.rows(), 0);
    assert_eq!(table.ask("select count(*) from logs").await.number(), 0);
}
