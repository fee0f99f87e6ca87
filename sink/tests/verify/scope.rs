//! Questions about a host, a stream, a time, a version, and several tables.

use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use logboom_sink::verify::{Progress, Scope, verify};

use crate::verify::table::{HOSTS, START, Table, lost, plain, stream};

/// The stream of host 1 lacks the numbers from 150 to 159.
async fn with_a_gap() -> Table {
    let mut table = Table::new().await;
    for _ in 0..4 {
        // Of one category, so that numbers go with times.
        let rows: Vec<_> = (0..100).map(|_| ("app", vec![])).collect();
        let blocks = [0, 1, 2].map(|n| table.block(n, &rows));
        table.commit(&blocks).await;
    }
    let path = table.files().await[1].path.clone();
    let of = stream(1).to_string();
    table
        .rewrite(&path, |rows, row| {
            let seq = rows["seq"].as_primitive::<Int64Type>().value(row);
            rows["stream"].as_string::<i32>().value(row) != of || !(150..160).contains(&seq)
        })
        .await;
    table
}

fn second(seq: i64) -> Option<i64> {
    Some((START + seq) * 1_000_000)
}

#[tokio::test]
async fn only_the_host_or_the_stream_that_is_asked_for_is_judged() {
    let table = with_a_gap().await;
    for (n, host) in HOSTS.into_iter().enumerate() {
        let by_host = Scope { host: Some(host.into()), ..Scope::default() };
        let by_stream = Scope { stream: Some(stream(n as u8)), ..Scope::default() };
        for scope in [by_host, by_stream] {
            let report = table.verify_in(scope).await;
            Table::assert_found(&report, if n == 1 { 10 } else { 0 }, 0, 0);
            assert_eq!(report.streams().count(), 1);
            assert_eq!(report.streams().next().unwrap().1.last, 399);
        }
    }
    let nobody = table.verify_in(Scope { host: Some("web-9".into()), ..Scope::default() }).await;
    assert!(nobody.complete && nobody.hosts.is_empty());
}

#[tokio::test]
async fn a_gap_is_found_from_every_time_that_it_touches_and_from_no_other() {
    let table = with_a_gap().await;
    // Bounds in the log are whole milliseconds; times are compared with those of the rows, which are whole seconds.
    for (from, to, gap) in [
        (None, None, true),
        (None, second(150), true),
        (second(160), None, true),
        (second(155), second(165), true),
        (second(140), second(151), true),
        (second(140), second(149), false),
        (None, second(149), false),
        (second(161), None, false),
        (second(300), second(310), false),
    ] {
        let report = table.verify_in(Scope { since: from, until: to, quick: true, ..Scope::default() }).await;
        println!("{from:?} to {to:?}");
        Table::assert_found(&report, if gap { 10 } else { 0 }, 0, 0);
    }
}

#[tokio::test]
async fn a_time_in_the_midst_of_a_sound_table_reads_only_the_files_of_that_time() {
    let table = Table::of_commits(4).await;
    let scope = Scope { since: second(210), until: second(250), ..Scope::default() };
    let report = table.verify_in(scope).await;
    Table::assert_found(&report, 0, 0, 0);
    let judged: Vec<_> = report.streams().map(|(_, stream)| (stream.first, stream.last)).collect();
    // No row before 200 was read, so all before it was in question, and read after all.
    println!("{judged:?}");
    assert!(judged.iter().all(|(first, last)| *first <= 210 && *last >= 249));
}

#[tokio::test]
async fn a_loss_record_outside_of_the_time_explains_a_gap_in_it() {
    let mut table = Table::new().await;
    let first = table.block(0, &plain(100));
    drop(table.block(0, &plain(50)));
    let last = table.block(0, &plain(100));
    table.commit(&[first, last]).await;
    let mut rows = plain(99);
    rows.push(lost(stream(0), 100, 149, "drop_oldest"));
    let later = table.block(0, &rows);
    table.commit(&[later]).await;
    let report = table.verify_in(Scope { until: second(200), ..Scope::default() }).await;
    Table::assert_found(&report, 0, 0, 0);
    assert_eq!(report.explained()["drop_oldest"], 50);
}

#[tokio::test]
async fn an_older_version_is_judged_as_it_was() {
    let table = Table::of_commits(3).await;
    let report = table.verify_in(Scope { version: Some(2), ..Scope::default() }).await;
    Table::assert_found(&report, 0, 0, 0);
    assert_eq!((report.tables[0].version, report.streams().next().unwrap().1.last), (2, 199));
}

#[tokio::test]
async fn of_several_tables_each_record_is_in_one() {
    let (mut one, mut other) = (Table::new().await, Table::new().await);
    let blocks = [one.block(0, &plain(100)), one.block(0, &plain(100)), one.block(0, &plain(100))];
    one.commit(&[blocks[0].clone(), blocks[2].clone()]).await;
    other.commit(&[blocks[1].clone()]).await;
    Table::assert_found(&one.verify().await, 100, 0, 0);
    let both = [one.store.clone(), other.store.clone()];
    let report = verify(&both, &Scope::default(), &Arc::new(Progress::default())).await.unwrap();
    Table::assert_found(&report, 0, 0, 0);
    other.commit(&[one.block(0, &plain(1)), blocks[2].clone()]).await;
    let report = verify(&both, &Scope::default(), &Arc::new(Progress::default())).await.unwrap();
    Table::assert_found(&report, 0, 100, 0);
}
