//! Requests to a real listener, against a writer that can be held back.

use hyper::StatusCode;
use logboom_config::Tokens;
use serde_json::json;

use super::decoding::push_request;
use crate::source::net::http::testing::{Client, Headers, Reply, drops_long_lines};
use crate::source::testing::{A_WHILE, Rig, Seen};

const NDJSON: &str = "application/x-ndjson";
const JSON: &str = "application/json";

/// One request of each intake, with one record.
fn one_of_each() -> [(&'static str, &'static str, Vec<u8>, u16); 8] {
    let push = r#"{"streams":[{"stream":{"app":"cat"},"values":[["1","x"]]}]}"#;
    let push_proto =
        snap::raw::Encoder::new().compress_vec(&push_request(r#"{app="cat"}"#, &[(1, b"x", &[])])).unwrap();
    [
        ("/v1/logs/cat", NDJSON, b"{\"msg\":\"x\"}".into(), 200),
        ("/v1/logs/cat", "text/plain", b"x".into(), 200),
        ("/v1/logs/cat", "application/octet-stream", b"x".into(), 200),
        ("/cat/_bulk", NDJSON, b"{\"create\":{}}\n{\"message\":\"x\"}\n".into(), 200),
        ("/loki/api/v1/push", JSON, push.into(), 204),
        ("/loki/api/v1/push", "application/x-protobuf", push_proto, 204),
        ("/services/collector/event", JSON, br#"{"event":"x","index":"cat"}"#.into(), 200),
        ("/services/collector/raw?index=cat", "text/plain", b"x\n".into(), 200),
    ]
}

async fn post(client: &mut Client, path: &str, kind: &str, body: &[u8]) -> Reply {
    client.post(path, kind, body.to_vec()).await
}

#[tokio::test]
async fn nothing_is_answered_ok_before_its_records_are_durable() {
    let rig = Rig::new();
    let (address, running) = rig.http(|_| {}, |_| {}).await;
    for (path, kind, body, status) in one_of_each() {
        let mut client = Client::http1(address).await;
        let reply = rig.not_before_durable(post(&mut client, path, kind, &body)).await;
        assert_eq!(reply.status.as_u16(), status, "{path}: {}", reply.text());
    }
    let seen = rig.records(8).await;
    assert!(seen.iter().all(|seen| (&*seen.category, &*seen.body) == ("cat", "x")), "{seen:?}");
    rig.stop(running).await;
}

#[tokio::test]
async fn a_full_spool_and_an_end_show_in_the_words_of_each() {
    let rig = Rig::new();
    let (address, running) = rig.http(|_| {}, |_| {}).await;
    let mut client = Client::http1(address).await;
    rig.context.intake.refuse_all(true);
    for (path, kind, body, _) in one_of_each() {
        let reply = post(&mut client, path, kind, &body).await;
        assert_eq!(reply.header("retry-after"), "1", "{path}");
        let splunk = path.starts_with("/services");
        assert_eq!(reply.status.as_u16(), if splunk { 503 } else { 429 }, "{path}");
        match path {
            "/cat/_bulk" => assert_eq!(reply.json()["error"]["type"], "es_rejected_execution_exception"),
            _ if splunk => assert_eq!(reply.json()["code"], 9),
            "/v1/logs/cat" => assert_eq!(reply.json(), json!({ "error": "the spool is full; try again" })),
            _ => assert_eq!(reply.text(), "the spool is full; try again\n"),
        }
    }
    rig.context.intake.refuse_all(false);
    rig.context.intake.close();
    for (path, kind, body, _) in one_of_each() {
        let reply = post(&mut client, path, kind, &body).await;
        assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (503, "1"), "{path}");
    }
    rig.stop(running).await;
    assert!(rig.synced.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_disk_that_takes_too_long_is_no_success_and_holds_up_no_end() {
    let rig = Rig::new();
    let (address, running) = rig.http(|_| {}, |_| {}).await;
    rig.hold(true);
    let mut client = Client::http1(address).await;
    let reply = post(&mut client, "/v1/logs/a", "text/plain", b"x").await;
    assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (503, "1"));
    let (answer, ()) = tokio::join!(client.ask("POST", "/v1/logs/a", &[("content-type", "text/plain")], "y"), async {
        tokio::time::sleep(A_WHILE).await;
        rig.stop(running).await;
    });
    assert!(answer.is_err_and(|error| !error.is_empty()), "it ended without an answer");
}

#[tokio::test]
async fn the_plain_intake_takes_each_content_type_and_says_how_many_records_there_were() {
    let rig = Rig::new();
    let (address, running) = rig.http(|_| {}, |_| {}).await;
    let mut client = Client::http1(address).await;
    let one = |records| json!({ "records": records });
    assert_eq!(post(&mut client, "/v1/logs/a%2Fb", NDJSON, b"{\"msg\":\"1\"}\n{\"msg\":\"2\"}\n").await.json(), one(2));
    assert_eq!(post(&mut client, "/v1/logs/a%2Fb", JSON, b"[{\"msg\":\"3\"}]").await.json(), one(1));
    assert_eq!(post(&mut client, "/v1/logs", "text/plain; charset=utf-8", b"4\n5").await.json(), one(2));
    assert_eq!(post(&mut client, "/v1/logs/", "text/plain", b"").await.json(), one(0));
    let gzip = [("content-type", "text/plain"), ("content-encoding", "zstd")];
    let six = zstd::encode_all(&b"6"[..], 1).unwrap();
    assert_eq!(client.ask("POST", "/v1/logs", &gzip, six).await.unwrap().json(), one(1));
    let slash = |body| Seen::new("a/b", body);
    let own = |body| Seen::new("in", body);
    assert_eq!(rig.records(6).await, [slash("1"), slash("2"), slash("3"), own("4"), own("5"), own("6")]);
    rig.stop(running).await;
}

#[tokio::test]
async fn what_is_wrong_is_said() {
    let rig = Rig::new();
    let (address, running) = rig
        .http(
            |_| {},
            |http| {
                http.token = Some(Tokens::of("swordfish"));
                http.max_frame = 64 << 10;
            },
        )
        .await;
    let token = ("authorization", "Bearer swordfish");
    let large = vec![b'x'; 65 << 10];
    let bomb = zstd::encode_all(&vec![b'x'; 1 << 20][..], 1).unwrap();
    let cases: [(u16, &str, &str, Headers<'_>, &[u8]); 22] = [
        (401, "POST", "/v1/logs/a", &[], b"x"),
        (401, "POST", "/_bulk", &[("authorization", "Basic eDp5")], b"x"),
        (401, "GET", "/", &[], b""),
        (401, "POST", "/loki/api/v1/push", &[], b"x"),
        (401, "POST", "/services/collector", &[("authorization", "Splunk x")], b"x"),
        (404, "POST", "/v1/metrics", &[token], b"x"),
        (404, "GET", "/a/_search", &[token], b""),
        (404, "POST", "/a/b/_bulk", &[token], b""),
        (404, "POST", "/loki/api/v1/query", &[token], b""),
        (404, "POST", "/services/collector/x", &[token], b""),
        (405, "GET", "/v1/logs/a", &[token], b""),
        (405, "GET", "/_bulk", &[token], b""),
        (405, "POST", "/", &[token], b""),
        (415, "POST", "/v1/logs/a", &[token, ("content-type", "image/png")], b"x"),
        (415, "POST", "/v1/logs/a", &[token, ("content-encoding", "br")], b"x"),
        (415, "POST", "/loki/api/v1/push", &[token, ("content-type", "text/plain")], b"x"),
        (400, "POST", "/v1/logs/%ff", &[token], b"x"),
        (400, "POST", "/v1/logs/a%00", &[token], b"x"),
        (400, "POST", "/v1/logs/a", &[token, ("content-type", JSON)], b"{"),
        (400, "POST", "/loki/api/v1/push", &[token, ("content-type", "application/x-protobuf")], b"\xff\xff"),
        (413, "POST", "/v1/logs/a", &[token], &large),
        (413, "POST", "/_bulk", &[token, ("content-encoding", "zstd")], &bomb),
    ];
    for (status, method, path, headers, body) in cases {
        for mut client in [Client::http1(address).await, Client::http2(address).await] {
            let reply = client.ask(method, path, headers, body.to_vec()).await.unwrap();
            assert_eq!(reply.status.as_u16(), status, "{method} {path}: {}", reply.text());
            assert_eq!(reply.header("retry-after"), "");
            assert!(!reply.body.is_empty());
        }
    }
    assert_eq!(rig.context.counters.messages_refused.get(), 2 * 22);
    let mut client = Client::http1(address).await;
    assert_eq!(client.ask("POST", "/v1/logs/a", &[token], "x").await.unwrap().status, StatusCode::OK);
    assert_eq!(rig.bodies(1).await, ["x"]);
    rig.stop(running).await;
}

#[tokio::test]
async fn clients_of_elasticsearch_find_what_they_look_for() {
    let rig = Rig::new();
    let (address, running) = rig.http(|_| {}, |_| {}).await;
    let mut client = Client::http1(address).await;
    for path in ["/", "/_license", "/_cluster/health", "/_xpack"] {
        let reply = client.get(path).await;
        assert_eq!((reply.status, reply.header("x-elastic-product")), (StatusCode::OK, "Elasticsearch"));
        assert!(reply.json().is_object());
    }
    assert_eq!(client.get("/").await.json()["version"]["number"], "8.19.0");
    assert_eq!(client.ask("HEAD", "/", &[], "").await.unwrap().status, StatusCode::OK);
    rig.stop(running).await;
}

#[tokio::test]
async fn each_action_of_a_bulk_has_its_answer_in_order() {
    let rig = Rig::new();
    let (address, running) = rig.http(drops_long_lines, |_| {}).await;
    let mut client = Client::http1(address).await;
    let body = format!(
        "{}\n{}\n{}\n{}\n{}\n{{\"message\":\"{}\"}}\n{}\n{}\n",
        r#"{"create":{"_id":"1"}}"#,
        r#"{"message":"x"}"#,
        r#"{"delete":{"_index":"other","_id":"2"}}"#,
        r#"{"update":{"_id":"3"}}"#,
        "{\"doc\":{}}\n{\"index\":{}}",
        "x".repeat(65),
        r#"{"index":{"_id":"5"}}"#,
        "no JSON",
    );
    let reply = post(&mut client, "/cat/_bulk", NDJSON, body.as_bytes()).await.json();
    assert_eq!(reply["errors"], true);
    let items = reply["items"].as_array().unwrap();
    let found: Vec<_> = items
        .iter()
        .map(|item| {
            let (action, item) = item.as_object().unwrap().iter().next().unwrap();
            (action.as_str(), item["status"].as_u64().unwrap(), item["_index"].as_str().unwrap())
        })
        .collect();
    let expected = [
        ("create", 201, "cat"),
        ("delete", 400, "other"),
        ("update", 400, "cat"),
        ("index", 400, "cat"),
        ("index", 400, "cat"),
    ];
    assert_eq!(found, expected);
    assert_eq!(rig.bodies(1).await, ["x"]);
    let reply = post(&mut client, "/_bulk", NDJSON, b"{\"create\":{}}\n{}\n").await.json();
    assert_eq!(reply["items"][0]["create"]["error"]["reason"], "the index is missing");
    rig.stop(running).await;
}

#[tokio::test]
async fn records_that_are_dropped_by_policy_are_said_so() {
    let rig = Rig::new();
    let (address, running) = rig.http(drops_long_lines, |_| {}).await;
    let mut client = Client::http1(address).await;
    let body = format!("kept\n{}\n", "x".repeat(65));
    let reply = post(&mut client, "/v1/logs", "text/plain", body.as_bytes()).await;
    assert_eq!(reply.json(), json!({ "records": 1, "dropped": 1 }));
    rig.stop(running).await;
}

#[tokio::test]
async fn splunk_acknowledges_what_it_said_it_would() {
    let rig = Rig::new();
    let (address, running) = rig.http(|_| {}, |_| {}).await;
    let mut client = Client::http1(address).await;
    let success = json!({ "text": "Success", "code": 0 });
    assert_eq!(post(&mut client, "/services/collector", JSON, b"{\"event\":\"x\"}").await.json(), success);
    let raw = "/services/collector/raw/1.0?channel=c&host=a+b&sourcetype=t&other";
    assert_eq!(post(&mut client, raw, "", b"one\ntwo\n").await.json()["ackId"], 0);
    let acks = post(&mut client, "/services/collector/ack?channel=c", JSON, b"{\"acks\":[0,7]}").await;
    assert_eq!(acks.json(), json!({ "acks": { "0": true, "7": true } }));
    assert_eq!(client.get("/services/collector/health").await.json()["code"], 17);
    let options = client.ask("OPTIONS", "/services/collector/event/1.0", &[], "").await.unwrap();
    assert_eq!(options.status, StatusCode::OK);
    assert_eq!(post(&mut client, "/services/collector", JSON, b"").await.json()["code"], 6);
    let line = |body| Seen::new("t", body).with("host.name", "a b").with("com.splunk.sourcetype", "t");
    assert_eq!(rig.records(3).await, [Seen::new("in", "x"), line("one"), line("two")]);
    rig.stop(running).await;
}
