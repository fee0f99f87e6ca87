//! OTLP over gRPC: one unary method, on any HTTP/2 connection.
//! <https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>
//!
//! A message is a byte that says whether it is compressed, its length in four bytes, and itself. A status stands in the
//! trailers, or in the headers where there is no message.

use std::fmt::Write;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::http::HeaderName;
use hyper::{HeaderMap, Method, Response, StatusCode, Version};
use logboom_wire::decompress::Compression;

use super::http::response;
use super::{Encoding, Export};
use crate::source::net::http::{Answer, Ask, Refusal, authorized, empty, encoding};
use crate::source::protobuf::{put_bytes, put_varint};

const EXPORT: &str = "/opentelemetry.proto.collector.logs.v1.LogsService/Export";
const MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");
const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const ACCEPT: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const ACCEPTED: HeaderValue = HeaderValue::from_static("identity,gzip,deflate,zstd");
/// Before a message: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

pub(super) async fn answer(export: &Export, mut ask: Ask) -> Response<Answer> {
    if ask.head.version != Version::HTTP_2 {
        return empty(StatusCode::HTTP_VERSION_NOT_SUPPORTED);
    }
    match stored(export, &mut ask).await {
        Ok(rejected) => {
            let message = response(rejected);
            let mut bytes = vec![0];
            bytes.extend_from_slice(&(message.len() as u32).to_be_bytes());
            bytes.extend_from_slice(&message);
            let trailers = HeaderMap::from_iter([(STATUS, HeaderValue::from_static("0"))]);
            grpc(Response::new(Answer { bytes: bytes.into(), trailers: Some(trailers) }))
        }
        Err(refusal) => {
            ask.count_refused(&export.inlet, &refusal);
            refused(&refusal)
        }
    }
}

async fn stored(export: &Export, ask: &mut Ask) -> Result<usize, Refusal> {
    if ask.head.uri.path() != EXPORT {
        return Err(Refusal::NotFound);
    }
    if ask.head.method != Method::POST {
        return Err(Refusal::Method("POST"));
    }
    if !authorized(&ask.head.headers, export.tokens.as_ref()) {
        return Err(Refusal::Unauthorized);
    }
    let body = ask.raw_body().await?;
    let message = message(ask, &body).await?;
    drop(body);
    export.store(ask, Encoding::Protobuf, message).await
}

/// The one message of the body.
async fn message(ask: &mut Ask, body: &Bytes) -> Result<Bytes, Refusal> {
    let Some((&[compressed, a, b, c, d], message)) = body.split_first_chunk::<PREFIX_BYTES>() else {
        return Err(Refusal::Malformed("the message is cut".into()));
    };
    let length = u32::from_be_bytes([a, b, c, d]) as usize;
    if length > ask.body_max() {
        return Err(Refusal::TooLarge(ask.body_max()));
    }
    if length != message.len() {
        return Err(Refusal::Malformed("the message is not as long as it says, or there are several".into()));
    }
    let name = ask.head.headers.get(ENCODING).and_then(|value| value.to_str().ok()).unwrap_or("identity");
    match (compressed, encoding(name)) {
        (0, _) | (1, Some(None)) => Ok(body.slice(PREFIX_BYTES..)),
        // What gRPC calls Snappy has frames.
        (1, None | Some(Some(Compression::Snappy))) => Err(Refusal::Encoding),
        (1, Some(Some(compression))) => ask.decompressed(compression, message).await,
        _ => Err(Refusal::Malformed("the message is neither compressed nor not".into())),
    }
}

/// The status code of gRPC.
pub(super) fn code(refusal: &Refusal) -> u64 {
    match refusal {
        // INVALID_ARGUMENT
        Refusal::Cut | Refusal::Damaged(_) | Refusal::Malformed(_) => 3,
        // DEADLINE_EXCEEDED
        Refusal::Slow => 4,
        // RESOURCE_EXHAUSTED. Without a `RetryInfo`, clients do not send it again.
        Refusal::TooLarge(_) | Refusal::TooDense(_) | Refusal::TooMany => 8,
        // UNIMPLEMENTED
        Refusal::Encoding | Refusal::MediaType(_) | Refusal::NotFound | Refusal::Method(_) => 12,
        // UNAVAILABLE
        Refusal::Busy | Refusal::Full | Refusal::Later => 14,
        // UNAUTHENTICATED
        Refusal::Unauthorized => 16,
    }
}

fn refused(refusal: &Refusal) -> Response<Answer> {
    let (code, message) = (code(refusal), refusal.to_string());
    let mut response = grpc(empty(StatusCode::OK));
    let headers = response.headers_mut();
    headers.insert(STATUS, HeaderValue::from(code));
    if let Ok(message) = HeaderValue::from_str(&percent_encoded(&message)) {
        headers.insert(MESSAGE, message);
    }
    if let Ok(details) = HeaderValue::from_str(&STANDARD_NO_PAD.encode(status(code, &message, refusal.is_passing()))) {
        headers.insert(DETAILS, details);
    }
    response
}

fn grpc(mut response: Response<Answer>) -> Response<Answer> {
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response.headers_mut().insert(ACCEPT, ACCEPTED);
    response
}

/// A `google.rpc.Status`, with a `RetryInfo` of one second where it is worth to come `again`.
fn status(code: u64, message: &str, again: bool) -> Vec<u8> {
    let mut status = Vec::new();
    put_varint(&mut status, 1, code);
    put_bytes(&mut status, 2, message.as_bytes());
    if again {
        let (mut delay, mut info, mut any) = (Vec::new(), Vec::new(), Vec::new());
        put_varint(&mut delay, 1, 1);
        put_bytes(&mut info, 1, &delay);
        put_bytes(&mut any, 1, b"type.googleapis.com/google.rpc.RetryInfo");
        put_bytes(&mut any, 2, &info);
        put_bytes(&mut status, 3, &any);
    }
    status
}

fn percent_encoded(message: &str) -> String {
    let mut encoded = String::new();
    for byte in message.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(byte.into()),
            byte => drop(write!(encoded, "%{byte:02X}")),
        }
    }
    encoded
}
