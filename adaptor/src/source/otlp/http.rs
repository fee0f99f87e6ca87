//! OTLP over HTTP: `POST /v1/logs`. <https://opentelemetry.io/docs/specs/otlp/#otlphttp>

use hyper::{Method, Response, StatusCode};
use serde_json::json;

use super::{Encoding, Export, reason};
use crate::source::net::http::{Answer, Ask, Refusal, authorized, json as json_answer, media_type, text};
use crate::source::protobuf::{put_bytes, put_varint};

const PROTOBUF: &str = "application/x-protobuf";

/// Answers in the encoding of the request, errors as `google.rpc.Status`.
pub(super) async fn answer(export: &Export, mut ask: Ask) -> Response<Answer> {
    let encoding = encoding(&ask);
    match stored(export, &mut ask, encoding.as_ref().ok().copied()).await {
        Ok(rejected) => success(encoding.unwrap_or(Encoding::Protobuf), rejected),
        Err(refusal) => {
            ask.count_refused(&export.inlet, &refusal);
            ask.discard().await;
            refused(encoding.unwrap_or(Encoding::Json), &refusal)
        }
    }
}

fn encoding(ask: &Ask) -> Result<Encoding, Refusal> {
    match &*media_type(&ask.head.headers) {
        PROTOBUF | "application/protobuf" => Ok(Encoding::Protobuf),
        "application/json" => Ok(Encoding::Json),
        _ => Err(Refusal::MediaType("application/x-protobuf or application/json")),
    }
}

async fn stored(export: &Export, ask: &mut Ask, encoding: Option<Encoding>) -> Result<usize, Refusal> {
    if ask.head.uri.path() != "/v1/logs" {
        return Err(Refusal::NotFound);
    }
    if ask.head.method != Method::POST {
        return Err(Refusal::Method("POST"));
    }
    if !authorized(&ask.head.headers, export.tokens.as_ref()) {
        return Err(Refusal::Unauthorized);
    }
    let encoding = encoding.ok_or(Refusal::MediaType("application/x-protobuf or application/json"))?;
    let body = ask.body().await?;
    export.store(ask, encoding, body).await
}

/// An `ExportLogsServiceResponse`.
fn success(encoding: Encoding, rejected: usize) -> Response<Answer> {
    match encoding {
        Encoding::Protobuf => text(StatusCode::OK, PROTOBUF, response(rejected)),
        Encoding::Json if rejected == 0 => json_answer(StatusCode::OK, &json!({})),
        Encoding::Json => {
            let partial = json!({ "rejectedLogRecords": rejected.to_string(), "errorMessage": reason(rejected) });
            json_answer(StatusCode::OK, &json!({ "partialSuccess": partial }))
        }
    }
}

/// An `ExportLogsServiceResponse` in Protocol Buffers.
pub(super) fn response(rejected: usize) -> Vec<u8> {
    let (mut response, mut partial) = (Vec::new(), Vec::new());
    if rejected > 0 {
        put_varint(&mut partial, 1, rejected as u64);
        put_bytes(&mut partial, 2, reason(rejected).as_bytes());
        put_bytes(&mut response, 1, &partial);
    }
    response
}

fn refused(encoding: Encoding, refusal: &Refusal) -> Response<Answer> {
    let (code, message) = (super::grpc::code(refusal), refusal.to_string());
    refusal.on(match encoding {
        Encoding::Protobuf => {
            let mut status = Vec::new();
            put_varint(&mut status, 1, code);
            put_bytes(&mut status, 2, message.as_bytes());
            text(refusal.status(), PROTOBUF, status)
        }
        Encoding::Json => json_answer(refusal.status(), &json!({ "code": code, "message": message })),
    })
}
