//! OpenTelemetry logs: OTLP over gRPC and over HTTP, in Protocol Buffers and in JSON.
//! <https://opentelemetry.io/docs/specs/otlp/>
//!
//! Both listeners answer both ways, told apart by the content type, so that a client with the wrong one of the two ports
//! is served all the same. What becomes of a log record:
//!
//! | OTLP | becomes |
//! |---|---|
//! | `time_unix_nano`, or else `observed_time_unix_nano` | the timestamp |
//! | `severity_number`, `severity_text`, `trace_id`, `span_id` | the same; an id of a wrong length is left out |
//! | `body` | the body: a text or bytes as they are, anything else as JSON |
//! | attributes of the record and of its resource | attributes: a text as it is, bytes in base64, anything else as JSON |
//! | the scope's `name`, `version` and attributes | attributes `otel.scope.name`, `otel.scope.version`, `otel.scope.` and the key |
//! | `event_name`, `flags`, `dropped_attributes_count` | attributes `otel.event_name`, … where they are set |
//!
//! Schema URLs are not kept.

mod grpc;
mod http;
mod json;
mod proto;
mod record;
#[cfg(test)]
mod tests;
mod value;

use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::join_all;
use hyper::Response;
use logboom_config::{OtlpSource, Source, Tokens};
use logboom_security::Live;
use tokio_util::sync::CancellationToken;

use super::net::bind_tcp;
use super::net::http::{Answer, Ask, Door, Limits, PROTOCOLS, Refusal, Taker, media_type, serve_http};
use super::{Context, Inlet, Running};

/// How requests are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Protobuf,
    Json,
}

/// What the listeners share.
struct Export {
    inlet: Arc<Inlet>,
    tokens: Option<Live<Tokens>>,
}

/// Opens the source.
///
/// # Errors
/// Says what is wrong with an address or the TLS files and how to mend it.
pub(super) fn open(
    source: Source,
    settings: OtlpSource,
    context: Context,
    stop: CancellationToken,
) -> Result<Running, String> {
    let listeners = [&settings.grpc, &settings.http].into_iter().flatten();
    let bound = listeners.map(|tcp| bind_tcp(&source.name, tcp, &PROTOCOLS)).collect::<Result<Vec<_>, _>>()?;
    let what = format!("tokens of source `{}`", source.name);
    let tokens = settings.token.map(|tokens| Live::tokens(what, tokens)).transpose()?;
    let limits = Limits { body_max: settings.max_frame, ratio_max: settings.max_ratio, ..Limits::default() };
    let door = Door::new(&source.name, context.counters.clone(), limits);
    let export = Arc::new(Export { inlet: Inlet::new(source, context), tokens });
    let serve = bound.into_iter().map(move |(listener, allowed)| {
        let export = export.clone();
        let answer = move |ask| answer(export.clone(), ask);
        serve_http(listener, allowed, door.clone(), stop.clone(), answer)
    });
    Ok(join_all(serve.collect::<Vec<_>>()).map(drop).boxed())
}

async fn answer(export: Arc<Export>, ask: Ask) -> Response<Answer> {
    match media_type(&ask.head.headers).starts_with("application/grpc") {
        true => grpc::answer(&export, ask).await,
        false => http::answer(&export, ask).await,
    }
}

impl Export {
    /// Stores the records of a request, which is `bytes`. How many were rejected.
    async fn store(&self, ask: &mut Ask, encoding: Encoding, bytes: Bytes) -> Result<usize, Refusal> {
        let mut taker = Taker::new(&self.inlet);
        match encoding {
            Encoding::Protobuf => proto::read(&bytes, &mut taker)?,
            Encoding::Json => json::read(&bytes, &mut taker)?,
        }
        drop(bytes);
        let rejected = taker.rejected();
        taker.store(&self.inlet, ask).await?;
        Ok(rejected)
    }
}

/// Why records are rejected though the rest of their request is stored.
fn reason(rejected: usize) -> String {
    format!("{rejected} records have bodies longer than `max_line` of the source, which drops such")
}
