//! The same questions to a cluster as to this machine: a scheduler and two executors of Ballista, over their own sockets.

#[path = "../tests/query/fixture.rs"]
#[allow(dead_code)]
mod fixture;

use ballista_core::serde::BallistaCodec;
use ballista_core::serde::protobuf::scheduler_grpc_client::SchedulerGrpcClient;
use ballista_executor::new_standalone_executor;
use ballista_scheduler::standalone::new_standalone_scheduler;
use fixture::{Answer, Table, ask, busy};
use futures::TryStreamExt;
use logboom_query::{Cluster, Session, TimeRange};

const EXECUTORS: usize = 2;

async fn cluster() -> Cluster {
    let address = new_standalone_scheduler().await.unwrap();
    let scheduler = format!("http://{address}");
    for _ in 0..EXECUTORS {
        let client = SchedulerGrpcClient::connect(scheduler.clone()).await.unwrap();
        new_standalone_executor(client, 2, BallistaCodec::default()).await.unwrap();
    }
    format!("df://{address}").parse().unwrap()
}

/// Three days of two categories.
fn table() -> Table {
    let mut table = Table::new();
    for day in 1..=3 {
        let start = format!("2026-03-0{day}T00:00:00Z");
        table.file(&[busy(&start, "app", 3000), busy(&start, "web", 2000)].concat());
    }
    table
}

async fn asked_there(session: &Session, cluster: &Cluster, sql: &str) -> Answer {
    let mut rows = session.sql_on(cluster, sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    let batches: Vec<_> = (&mut rows).try_collect().await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    Answer { batches, usage: rows.usage() }
}

async fn refused(session: &Session, cluster: &Cluster, sql: &str) -> String {
    match session.sql_on(cluster, sql).await {
        Ok(_) => panic!("{sql} is answered"),
        Err(error) => error.to_string(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_answers_as_this_machine_does() {
    let (table, cluster) = (table(), cluster().await);
    let session = table.session();
    for sql in [
        "select category, count(*) from logs group by category order by category",
        "select host, count(*), min(timestamp), max(body) from logs where severity_number >= 9 group by host order by host",
        "select body, timestamp, date from logs where category = 'web' order by timestamp desc, body limit 50",
        "select count(*) from logs where attributes['http.status'] = '500' and date >= '2026-03-02'",
        "select count(distinct body) from logs",
        "select count(*) from logs a join logs b on a.body = b.body and a.date = b.date where a.category = 'web'",
        "select body from logs where body like '%0f0%' and category = 'app' order by body",
        "select date, approx_distinct(host) from logs group by date order by date",
        "with d as (select date, count(*) as n from logs group by date) select n from d where n > (select avg(n) - 1 from d) order by date",
        "select count(*) from logs where category = 'nobody'",
    ] {
        let (here, there) = (ask(&session, sql).await, asked_there(&session, &cluster, sql).await);
        assert_eq!(there.lines().await, here.lines().await, "{sql}");
        assert!(here.rows() > 0, "{sql}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_reads_no_file() {
    let (table, cluster) = (table(), cluster().await);
    let sql = "select count(*) from logs where body like '%7%' and timestamp >= '2026-03-02T00:10:00Z'";
    let range = TimeRange { until: Some("2026-03-03T00:20:00Z".parse().unwrap()), ..TimeRange::default() };
    let answer = asked_there(&table.session().within(range), &cluster, sql).await;
    assert_eq!(answer.number(), ask(&table.session().within(range), sql).await.number());
    assert_eq!((answer.usage.files_read, answer.usage.bytes_read), (0, 0));
    assert!(answer.usage.to_string().ends_with("read by the cluster"), "{}", answer.usage);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_no_file_is_answered_here() {
    let cluster: Cluster = "df://nobody.invalid".parse().unwrap();
    let table = table();
    let answer = asked_there(&table.session(), &cluster, "describe logs").await;
    assert!(answer.rows() > 10);
    assert!(refused(&table.session(), &cluster, "drop table logs").await.contains("refused"));
    let error = refused(&table.session(), &cluster, "select max(body) from logs").await;
    assert!(error.starts_with("the cluster at http://nobody.invalid:50050 cannot answer: "), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_executors_cannot_do_is_said_before_they_are_asked() {
    let cluster: Cluster = "df://nobody.invalid".parse().unwrap();
    let error = refused(&table().session(), &cluster, "select body ->> 'msg' from logs").await;
    assert!(error.contains("does not have the function `json_as_text`; ask without --remote"), "{error}");
    let mut json = Table::json();
    json.json_file(&busy("2026-03-01T00:00:00Z", "app", 10)).await;
    let error = refused(&json.session(), &cluster, "select max(body) from logs").await;
    assert!(error.contains("`format = \"json\"`; ask without --remote"), "{error}");
}
