//! What a query may not do, and how errors read.

use logboom_query::Error;

use crate::fixture::{Table, record};

fn table() -> Table {
    let mut table = Table::new();
    table.file(&[record("2026-03-01T10:00:00Z", "web", "hello")]);
    table
}

#[tokio::test]
async fn a_statement_that_would_change_something_is_refused_by_its_name() {
    let table = table();
    for sql in [
        "insert into logs select * from logs",
        "delete from logs",
        "update logs set body = ''",
        "drop table logs",
        "create table x as select * from logs",
        "create view x as select * from logs",
        "create external table x stored as parquet location '/tmp/x'",
        "copy logs to '/tmp/x.parquet'",
        "copy (select 1) to '/tmp/x.csv'",
        "set datafusion.execution.batch_size = 1",
        "reset datafusion.execution.batch_size",
        "begin",
        "truncate table logs",
        "prepare p as select 1",
        "explain insert into logs select * from logs",
        "explain analyze delete from logs",
    ] {
        let error = table.refuse(sql).await;
        assert!(matches!(error, Error::ReadOnly { .. }), "{sql}: {error}");
        let verb = sql.split_whitespace().find(|word| !["explain", "analyze"].contains(word)).unwrap();
        assert!(error.to_string().starts_with(&format!("{} is refused", verb.to_uppercase())), "{sql}: {error}");
    }
    assert_eq!(table.ask("select count(*) from logs").await.number(), 1);
}

#[tokio::test]
async fn a_file_of_the_machine_is_not_a_table() {
    let error = table().refuse("select * from '/etc/passwd'").await.to_string();
    assert!(error.contains("not found"), "{error}");
}

#[tokio::test]
async fn an_error_in_a_statement_is_one_line_that_names_the_mistake() {
    let table = table();
    for (sql, named) in [
        ("selec 1", "selec"),
        ("select bodi from logs", "bodi"),
        ("select * from log", "log"),
        ("select nosuch(body) from logs", "nosuch"),
        ("select 1; select 2", "single"),
        ("", "No SQL"),
        ("select * from logs where", "EOF"),
    ] {
        let text = table.refuse(sql).await.to_string();
        assert!(text.to_lowercase().contains(&named.to_lowercase()), "{sql}: {text}");
        assert!(!text.contains("Error(\""), "{sql}: {text}");
        assert!(!text.contains('\n') && !text.to_lowercase().contains("backtrace"), "{sql}: {text}");
        println!("{sql:30} {text}");
    }
}

#[tokio::test]
async fn an_error_while_rows_are_read_is_one_line_too() {
    let table = table();
    let mut rows = table.session().sql("select cast(body as int) from logs").await.unwrap();
    let mut out = Vec::new();
    let error = logboom_query::Output::Csv.write(rows.schema(), &mut rows, &mut out).await.unwrap_err();
    let text = error.to_string();
    assert!(text.contains("hello") && !text.contains('\n'), "{text}");
}
