//! OTLP over HTTP.

use logboom_config::Tokens;
use prost::Message;

use super::messages::{Response, Status, body, plain, request, text};
use crate::source::net::http::testing::{Client, Headers, drops_long_lines};
use crate::source::testing::{PATIENCE, Rig, Seen};

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"json"}}]}]}]}"#;

/// A method, a path and headers.
type Asked<'a> = (&'a str, &'a str, Headers<'a>);

#[tokio::test]
async fn a_request_is_answered_in_its_encoding_once_its_records_are_durable_and_not_before() {
    let rig = Rig::new();
    let (address, running) = rig.otlp(|_| {}, |_| {}).await;
    let mut client = Client::http1(address).await;
    let reply = rig.not_before_durable(client.post("/v1/logs", PROTOBUF, body("one"))).await;
    assert_eq!((reply.status.as_u16(), reply.header("content-type"), reply.body.len()), (200, PROTOBUF, 0));
    let reply = client.post("/v1/logs", "application/json; charset=utf-8", JSON).await;
    assert_eq!((reply.status.as_u16(), reply.header("content-type"), &*reply.text()), (200, "application/json", "{}"));
    let compressed = zstd::encode_all(&*body("two"), 1).unwrap();
    let headers = [("content-type", PROTOBUF), ("content-encoding", "zstd")];
    assert_eq!(client.ask("POST", "/v1/logs", &headers, compressed).await.unwrap().status.as_u16(), 200);
    let shop = |body| Seen::new("shop", body).with("service.name", "shop");
    assert_eq!(rig.records(3).await, [shop("one"), Seen::new("in", "json"), shop("two")]);
    rig.stop(running).await;
}

#[tokio::test]
async fn a_full_spool_is_said_so_and_the_client_comes_again() {
    let rig = Rig::new();
    let (address, running) = rig.otlp(|_| {}, |_| {}).await;
    let mut client = Client::http1(address).await;
    rig.context.intake.refuse_all(true);
    let reply = client.post("/v1/logs", PROTOBUF, body("x")).await;
    assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (429, "1"));
    assert_eq!(Status::decode(reply.body).unwrap().code, 14);
    let reply = client.post("/v1/logs", "application/json", JSON).await;
    assert_eq!((reply.status.as_u16(), &reply.json()["code"]), (429, &14.into()));
    rig.context.intake.refuse_all(false);
    assert_eq!(client.post("/v1/logs", PROTOBUF, body("x")).await.status.as_u16(), 200);
    assert_eq!(rig.bodies(1).await, ["x"]);
    rig.stop(running).await;
    rig.context.intake.close();
}

#[tokio::test]
async fn when_the_adaptor_shuts_down_the_outcome_is_unknown_and_so_it_is_not_ok() {
    let rig = Rig::new();
    let (address, _running) = rig.otlp(|_| {}, |_| {}).await;
    let mut client = Client::http1(address).await;
    rig.context.intake.close();
    let reply = client.post("/v1/logs", PROTOBUF, body("x")).await;
    assert_eq!((reply.status.as_u16(), reply.header("retry-after")), (503, "1"));
}

#[tokio::test]
async fn what_is_wrong_is_said_and_never_to_be_sent_again() {
    let rig = Rig::new();
    let (address, running) = rig.otlp(|_| {}, |otlp| otlp.token = Some(Tokens::of("swordfish"))).await;
    let mut client = Client::http1(address).await;
    let token = ("authorization", "Bearer swordfish");
    let large = vec![0; (16 << 20) + 1];
    let gzip = [("content-type", PROTOBUF), ("content-encoding", "gzip"), token];
    let cases: [(u16, i32, Asked<'_>, Vec<u8>); 8] = [
        (401, 16, ("POST", "/v1/logs", &[("content-type", PROTOBUF)]), body("x")),
        (404, 12, ("POST", "/v1/traces", &[("content-type", PROTOBUF), token]), body("x")),
        (405, 12, ("GET", "/v1/logs", &[("content-type", PROTOBUF), token]), vec![]),
        (415, 12, ("POST", "/v1/logs", &[("content-type", "text/plain"), token]), body("x")),
        (400, 3, ("POST", "/v1/logs", &[("content-type", PROTOBUF), token]), b"\x0a\xff".to_vec()),
        (400, 3, ("POST", "/v1/logs", &gzip), b"no gzip".to_vec()),
        (413, 8, ("POST", "/v1/logs", &[("content-type", PROTOBUF), token]), large),
        (200, 0, ("POST", "/v1/logs", &[("content-type", PROTOBUF), token]), body("x")),
    ];
    for (status, code, (method, path, headers), body) in cases {
        let reply = match client.ask(method, path, headers, body.clone()).await {
            Ok(reply) => reply,
            // A connection whose request was not read to its end cannot be used again.
            Err(_) => {
                client = Client::http1(address).await;
                client.ask(method, path, headers, body).await.unwrap()
            }
        };
        assert_eq!(reply.status.as_u16(), status, "{}", reply.text());
        assert!(reply.header("retry-after").is_empty());
        match reply.header("content-type") {
            PROTOBUF => assert_eq!(Status::decode(reply.body).unwrap().code, code),
            _ => assert_eq!(reply.json()["code"], code),
        }
    }
    assert_eq!(rig.context.counters.messages_refused.get(), 7);
    assert_eq!(rig.bodies(1).await, ["x"]);
    rig.stop(running).await;
}

#[tokio::test]
async fn records_that_are_dropped_by_policy_are_a_partial_success() {
    let rig = Rig::new();
    let (address, running) = rig.otlp(drops_long_lines, |_| {}).await;
    let mut client = Client::http1(address).await;
    let records = vec![plain(text("kept")), plain(text(&"x".repeat(65)))];
    let reply = client.post("/v1/logs", PROTOBUF, request("shop", records).encode_to_vec()).await;
    let partial = Response::decode(reply.body).unwrap().partial_success.unwrap();
    assert_eq!((reply.status.as_u16(), partial.rejected_log_records), (200, 1));
    assert!(partial.error_message.contains("max_line"), "{partial:?}");
    assert_eq!(rig.bodies(1).await, ["kept"]);
    tokio::time::timeout(PATIENCE, rig.stop(running)).await.unwrap();
}
