//! Tables of other versions, and with columns that only they have.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::civil::date;
use logboom_config::{Promoted, PromotedType, Sink};
use logboom_sink::table::{self, Batch, DataFile, Outcome, SnapshotFile, TableOptions, View};
use logboom_sink::{FileSettings, Store, merge};
use logboom_wire::block::{BlockPlace, Encoder};
use logboom_wire::{Record, Rows, RunKey, StreamId};

use crate::fixture::{Table, ask, busy};

const STREAM: StreamId = StreamId::from_bytes([7; 16]);

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_every_version_is_read() {
    let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/../sink/tests/golden/v1");
    let session = logboom_query::open(golden, &BTreeMap::new()).await.unwrap();
    let sql = "select category, host, body, severity_number, attributes['http.status'], stream, seq, date from logs order by body";
    let lines = ask(&session, sql).await.lines().await;
    let stream = |n: u8| StreamId::from_bytes([n; 16]);
    let line = |body: &str, of: u8, seq: u64| format!("web,host,{body},9,200,{},{seq},2026-01-02", stream(of));
    assert_eq!(lines, [line("one", 1, 1), line("three", 1, 2), line("two", 2, 5)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_column_that_a_table_got_later_is_null_in_the_files_before() {
    // A file from before, with a hundred records.
    let mut table = Table::new();
    let store = Store::open(table.url(), &BTreeMap::new()).unwrap();
    let mut view = View::open_or_create(&store, &TableOptions::default()).await.unwrap();
    let SnapshotFile { path, size, date: day, stats, crc32c, .. } =
        table.file(&busy("2026-03-01T00:00:00Z", "a", 100)).clone();
    let file = DataFile { path, size, date: day, stats: stats.unwrap(), crc32c };
    commit(&mut view, &[file], 1).await;

    let promote =
        |attribute: &str, column: &str, kind| Promoted { attribute: attribute.into(), column: column.into(), kind };
    let mut sink = Sink::at(table.url());
    sink.promote =
        vec![promote("status", "status", PromotedType::Int), promote("user", "user_name", PromotedType::String)];
    let mut view = View::open_or_create(&store, &TableOptions::from(&sink)).await.unwrap();
    let mut rows = Rows::default();
    for (n, status) in ["200", "500", "?"].into_iter().enumerate() {
        let attributes = [("status", status), ("user", "ann")];
        rows.push(&Record {
            observed: n as i64,
            body: b"new",
            attributes: &attributes[..=(n % 2)],
            ..Record::default()
        });
    }
    let key = RunKey { category: "b".into(), source: "s".into(), attributes: vec![] };
    let place = BlockPlace { stream: STREAM, number: 2, first_record: 1000, host: "h" };
    let block = Encoder::default().encode(place, [(Arc::new(key), rows)], vec![]).unwrap();
    let files = merge(&store, &[block], date(2026, 3, 2), &FileSettings::from(&sink)).await.unwrap();
    commit(&mut view, &files, 2).await;

    let session = logboom_query::open(table.url(), &BTreeMap::new()).await.unwrap();
    let lines = async |sql: &str| ask(&session, sql).await.lines().await;
    assert_eq!(lines("select count(*), count(status), sum(status), count(user_name) from logs").await, ["103,2,700,1"]);
    assert_eq!(
        lines("select status, user_name from logs where category = 'b' order by seq").await,
        ["200,", "500,ann", ","]
    );
    assert_eq!(lines("select count(*) from logs where status is null").await, ["101"]);
    assert_eq!(lines("select body from logs where status >= 500 and date = '2026-03-02'").await, ["new"]);
    assert_eq!(lines("select count(*) from logs where status >= 500 and category = 'a'").await, ["0"]);
    // The last column is still the day, in every file.
    let all = lines("select * from logs where status = 200").await;
    assert!(all.len() == 1 && all[0].ends_with(",2026-03-02"), "{all:?}");
}

async fn commit(view: &mut View, files: &[DataFile], mark: u64) {
    let begun = view.begin_files();
    let outcome = table::commit(view, Batch { files, marks: &[(STREAM, mark)], begun }).await.unwrap();
    assert!(matches!(outcome, Outcome::Committed { .. }), "{outcome:?}");
}
