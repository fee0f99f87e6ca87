//! How answers look.

use std::io::{self, Write};

use bytes::Bytes;
use futures::StreamExt;
use logboom_query::Output;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::fixture::{Table, busy, print, record};

fn table() -> Table {
    let mut table = Table::new();
    let mut nasty = record("2026-03-01T10:00:00Z", "web", "a \u{1b}[31mred\u{1b}[0m, \"line\"\nand\tanother");
    nasty.status = Some("\u{1b}]0;title\u{7}".to_owned());
    table.file(&[nasty, record("2026-03-01T10:00:01.5Z", "web", "plain")]);
    table
}

const SQL: &str = "select timestamp, body, attributes, trace_id from logs order by timestamp";

#[tokio::test]
async fn a_table_is_aligned_and_shows_escape_sequences_instead_of_obeying_them() {
    let text = print(&table(), Output::Table, SQL).await;
    assert_eq!(
        text,
        r#"
+--------------------------+----------------------------------+------------------------------------+----------+
| timestamp                | body                             | attributes                         | trace_id |
+--------------------------+----------------------------------+------------------------------------+----------+
| 2026-03-01T10:00:00Z     | a \u{1b}[31mred\u{1b}[0m, "line" | {http.status: \u{1b}]0;title\u{7}} |          |
|                          | and\tanother                     |                                    |          |
| 2026-03-01T10:00:01.500Z | plain                            | {}                                 |          |
+--------------------------+----------------------------------+------------------------------------+----------+
"#
        .trim_start()
    );
}

#[tokio::test]
async fn a_column_is_named_harmlessly_too() {
    let text = print(&table(), Output::Table, "select 1 as \"\u{1b}[2J\"").await;
    assert!(text.contains("\\u{1b}[2J") && !text.contains('\u{1b}'), "{text:?}");
}

#[tokio::test]
async fn json_is_one_object_per_line_and_keeps_every_character() {
    let text = print(&table(), Output::Json, SQL).await;
    assert_eq!(
        text.lines().collect::<Vec<_>>(),
        [
            r#"{"timestamp":"2026-03-01T10:00:00Z","body":"a \u001b[31mred\u001b[0m, \"line\"\nand\tanother","attributes":{"http.status":"\u001b]0;title\u0007"}}"#,
            r#"{"timestamp":"2026-03-01T10:00:01.500Z","body":"plain","attributes":{}}"#,
        ]
    );
}

#[tokio::test]
async fn csv_has_a_header_and_maps_as_json() {
    let text = print(&table(), Output::Csv, SQL).await;
    assert_eq!(
        text,
        "timestamp,body,attributes,trace_id\n\
         2026-03-01T10:00:00Z,\"a \u{1b}[31mred\u{1b}[0m, \"\"line\"\"\nand\tanother\",\
         \"{\"\"http.status\"\":\"\"\\u001b]0;title\\u0007\"\"}\",\n\
         2026-03-01T10:00:01.500Z,plain,{},\n"
    );
}

#[tokio::test]
async fn an_empty_answer_still_has_its_header() {
    let table = Table::new();
    let sql = "select category, body from logs";
    assert_eq!(print(&table, Output::Csv, sql).await, "category,body\n");
    assert_eq!(print(&table, Output::Json, sql).await, "");
    assert_eq!(
        print(&table, Output::Table, sql).await,
        "+----------+------+\n| category | body |\n+----------+------+\n+----------+------+\n"
    );
}

#[tokio::test]
async fn a_plan_keeps_its_lines() {
    let text = print(&table(), Output::Table, "explain select count(body) from logs where body like 'a%'").await;
    assert!(text.lines().count() > 10 && !text.contains("\\n"), "{text}");
}

#[tokio::test]
async fn a_long_answer_comes_in_several_tables_with_every_row_once() {
    let mut table = Table::new();
    table.file(&busy("2026-03-01T00:00:00Z", "a", 20_000));
    let text = print(&table, Output::Table, "select seq from logs").await;
    let mut rows: Vec<i64> = text.lines().filter_map(|line| line.trim_matches(['|', ' ']).parse().ok()).collect();
    rows.sort_unstable();
    assert_eq!(rows, (0..20_000).collect::<Vec<_>>());
    assert!(text.lines().filter(|line| line.contains("seq")).count() > 1);
}

struct Head(usize);

impl Write for Head {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        self.0 -= 1;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_reader_that_goes_away_ends_the_answer_and_is_no_error() {
    let mut table = Table::new();
    table.file(&busy("2026-03-01T00:00:00Z", "a", 20_000));
    for output in [Output::Table, Output::Json, Output::Csv] {
        let mut rows = table.session().sql("select * from logs").await.unwrap();
        output.write(rows.schema(), &mut rows, &mut Head(1)).await.unwrap();
        assert!(rows.next().await.is_some(), "{output:?}: the rest is not read");
    }
}

#[test]
fn an_output_is_chosen_by_name() {
    assert_eq!("json".parse(), Ok(Output::Json));
    assert_eq!("csv".parse(), Ok(Output::Csv));
    assert_eq!("table".parse(), Ok(Output::Table));
    assert!("xml".parse::<Output>().unwrap_err().contains("table, json, csv or parquet"));
}

#[tokio::test]
async fn parquet_is_read_back_row_by_row() {
    let mut table = Table::new();
    table.file(&busy("2026-03-01T00:00:00Z", "app", 5_000));
    let mut rows = table.session().sql("SELECT * FROM logs ORDER BY seq").await.unwrap();
    let mut file = Vec::new();
    assert_eq!(Output::Parquet.write(rows.schema(), &mut rows, &mut file).await.unwrap(), 5_000);
    let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::from(file)).unwrap().build().unwrap();
    let batches: Vec<_> = reader.map(|batch| batch.unwrap()).collect();
    assert_eq!(batches.iter().map(|batch| batch.num_rows()).sum::<usize>(), 5_000);
    assert_eq!(batches[0].schema().fields().len(), 15);

    let mut rows = table.session().sql("SELECT body FROM logs WHERE body = 'none'").await.unwrap();
    let mut file = Vec::new();
    Output::Parquet.write(rows.schema(), &mut rows, &mut file).await.unwrap();
    assert_eq!(ParquetRecordBatchReaderBuilder::try_new(Bytes::from(file)).unwrap().build().unwrap().count(), 0);
}
