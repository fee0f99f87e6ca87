//! OTLP over gRPC.

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use logboom_config::Tokens;
use prost::Message;

use super::messages::{Status, body};
use crate::source::net::http::testing::{Client, Headers, Reply};
use crate::source::testing::{Rig, gzip};

const EXPORT: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";

fn frame(compressed: u8, message: &[u8]) -> Vec<u8> {
    let mut frame = vec![compressed];
    frame.extend_from_slice(&(message.len() as u32).to_be_bytes());
    frame.extend_from_slice(message);
    frame
}

async fn call(client: &mut Client, headers: &[(&str, &str)], body: Vec<u8>) -> Reply {
    let headers: Vec<_> = [("content-type", "application/grpc"), ("te", "trailers")].iter().chain(headers).collect();
    let headers: Vec<_> = headers.into_iter().copied().collect();
    let reply = client.ask("POST", EXPORT, &headers, body).await.unwrap();
    assert_eq!((reply.status.as_u16(), reply.header("content-type")), (200, "application/grpc"));
    reply
}

#[tokio::test]
async fn a_call_succeeds_once_its_records_are_durable_and_not_before() {
    let rig = Rig::new();
    let (address, running) = rig.otlp(|_| {}, |_| {}).await;
    let mut client = Client::http2(address).await;
    let reply = rig.not_before_durable(call(&mut client, &[], frame(0, &body("one")))).await;
    assert_eq!((&reply.body[..], &reply.trailers["grpc-status"]), (&[0; 5][..], &"0".parse().unwrap()));
    let two = frame(1, &gzip(&body("two")));
    let three = frame(1, &zstd::encode_all(&*body("three"), 1).unwrap());
    for (encoding, body) in [("gzip", two), ("zstd", three), ("gzip", frame(0, &body("four")))] {
        assert_eq!(call(&mut client, &[("grpc-encoding", encoding)], body).await.trailer("grpc-status"), "0");
    }
    let empty = frame(0, &[]);
    assert_eq!(call(&mut client, &[], empty).await.trailer("grpc-status"), "0");
    assert_eq!(rig.bodies(4).await, ["one", "two", "three", "four"]);
    rig.stop(running).await;
}

#[tokio::test]
async fn calls_of_one_connection_run_side_by_side() {
    let rig = Rig::new();
    let (address, running) = rig.otlp(|_| {}, |_| {}).await;
    let Client::Http2(sender) = Client::http2(address).await else { unreachable!() };
    let calls = (0..50).map(|n| {
        let mut client = Client::Http2(sender.clone());
        async move { call(&mut client, &[], frame(0, &body(&n.to_string()))).await.trailer("grpc-status").to_owned() }
    });
    assert_eq!(futures::future::join_all(calls).await, vec!["0"; 50]);
    let mut numbers: Vec<u32> = rig.bodies(50).await.iter().map(|body| body.parse().unwrap()).collect();
    numbers.sort();
    assert_eq!(numbers, (0..50).collect::<Vec<_>>());
    rig.stop(running).await;
}

#[tokio::test]
async fn a_full_spool_is_unavailable_and_says_when_to_come_again() {
    let rig = Rig::new();
    let (address, running) = rig.otlp(|_| {}, |_| {}).await;
    let mut client = Client::http2(address).await;
    rig.context.intake.refuse_all(true);
    let reply = call(&mut client, &[], frame(0, &body("x"))).await;
    assert_eq!((reply.trailer("grpc-status"), reply.trailer("grpc-message")), ("14", "the spool is full; try again"));
    let details = STANDARD_NO_PAD.decode(reply.trailer("grpc-status-details-bin")).unwrap();
    let status = Status::decode(&*details).unwrap();
    assert_eq!((status.code, &*status.details[0].type_url), (14, "type.googleapis.com/google.rpc.RetryInfo"));
    assert_eq!(status.details[0].value, [0x0a, 2, 8, 1]);
    rig.context.intake.refuse_all(false);
    assert_eq!(call(&mut client, &[], frame(0, &body("x"))).await.trailer("grpc-status"), "0");
    rig.context.intake.close();
    assert_eq!(call(&mut client, &[], frame(0, &body("y"))).await.trailer("grpc-status"), "14");
    rig.stop(running).await;
}

#[tokio::test]
async fn every_fault_has_its_status() {
    let rig = Rig::new();
    let (address, running) = rig
        .otlp(
            |_| {},
            |otlp| {
                otlp.token = Some(Tokens::of("swordfish"));
                otlp.max_frame = 64 << 10;
            },
        )
        .await;
    let mut client = Client::http2(address).await;
    let token = ("authorization", "Bearer swordfish");
    let zstd = [token, ("grpc-encoding", "zstd")];
    let bomb = frame(1, &zstd::encode_all(&vec![0; 1 << 20][..], 1).unwrap());
    let mut cut = frame(0, &body("x"));
    cut.pop();
    let cases: [(&str, Headers<'_>, Vec<u8>); 11] = [
        ("16", &[], frame(0, &body("x"))),
        ("16", &[("authorization", "Bearer x")], frame(0, &body("x"))),
        ("8", &[token], frame(0, &vec![0; 65 << 10])),
        ("8", &[token], vec![0, 0xff, 0xff, 0xff, 0xff]),
        ("8", &zstd, bomb),
        ("3", &[token], vec![]),
        ("3", &[token], cut),
        ("3", &[token], frame(0, b"\x0a\xff")),
        ("3", &zstd, frame(1, b"no zstd")),
        ("12", &[token, ("grpc-encoding", "br")], frame(1, b"x")),
        ("0", &[token], frame(0, &body("x"))),
    ];
    for (status, headers, body) in cases {
        let reply = call(&mut client, headers, body).await;
        assert_eq!(reply.trailer("grpc-status"), status, "{reply:?}");
    }
    let other = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
    let reply = client.ask("POST", other, &[("content-type", "application/grpc")], frame(0, &[])).await.unwrap();
    assert_eq!(reply.trailer("grpc-status"), "12");
    let mut old = Client::http1(address).await;
    assert_eq!(old.post(EXPORT, "application/grpc", frame(0, &[])).await.status.as_u16(), 505);
    assert_eq!(rig.context.counters.messages_refused.get(), 11);
    assert_eq!(rig.bodies(1).await, ["x"]);
    rig.stop(running).await;
}
