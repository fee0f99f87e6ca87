//! Logs over HTTP: our own intake, and those of Elasticsearch, Loki and Splunk, for the shippers that know one of these.
//!
//! | path | what |
//! |---|---|
//! | `POST /v1/logs/{category}` | lines or JSON, see [`plain`] |
//! | `POST /_bulk`, `POST /{index}/_bulk` | Elasticsearch, see [`bulk`]; what clients ask before, too |
//! | `POST /loki/api/v1/push` | Loki, see [`loki`] |
//! | `POST /services/collector…` | Splunk's HTTP Event Collector, see [`splunk`] |
//!
//! Each answers success only when all records of the request are on disk, and refuses in its own words.

mod bulk;
mod document;
mod loki;
mod plain;
mod splunk;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use futures::FutureExt;
use hyper::{Method, Response};
use logboom_config::{HttpSource, Source, Tokens};
use logboom_security::Live;
use tokio_util::sync::CancellationToken;

use super::net::bind_tcp;
use super::net::http::{Answer, Ask, Door, Limits, PROTOCOLS, Refusal, authorized, serve_http};
use super::{Context, Inlet, Malformed, Running};

/// What the connections share.
struct Shared {
    inlet: Arc<Inlet>,
    tokens: Option<Live<Tokens>>,
    /// Numbers of acknowledgements, for Splunk.
    acks: AtomicU64,
}

/// What a request speaks.
#[derive(Clone, Copy)]
enum Dialect {
    Plain,
    Elasticsearch,
    Loki,
    Splunk,
}

/// Opens the source.
///
/// # Errors
/// Says what is wrong with the address or the TLS files and how to mend it.
pub(super) fn open(
    source: Source,
    settings: HttpSource,
    context: Context,
    stop: CancellationToken,
) -> Result<Running, String> {
    let (listener, allowed) = bind_tcp(&source.name, &settings.tcp, &PROTOCOLS)?;
    let what = format!("tokens of source `{}`", source.name);
    let tokens = settings.token.map(|tokens| Live::tokens(what, tokens)).transpose()?;
    let limits = Limits { body_max: settings.max_frame, ratio_max: settings.max_ratio, ..Limits::default() };
    let door = Door::new(&source.name, context.counters.clone(), limits);
    let inlet = Inlet::new(source, context);
    let shared = Arc::new(Shared { inlet, tokens, acks: AtomicU64::new(0) });
    Ok(serve_http(listener, allowed, door, stop, move |ask| answer(shared.clone(), ask)).boxed())
}

async fn answer(shared: Arc<Shared>, mut ask: Ask) -> Response<Answer> {
    let dialect = dialect(ask.head.uri.path());
    let answered = match dialect {
        Dialect::Plain => plain::answer(&shared, &mut ask).await,
        Dialect::Elasticsearch => bulk::answer(&shared, &mut ask).await,
        Dialect::Loki => loki::answer(&shared, &mut ask).await,
        Dialect::Splunk => splunk::answer(&shared, &mut ask).await,
    };
    answered.unwrap_or_else(|refusal| {
        ask.count_refused(&shared.inlet, &refusal);
        match dialect {
            Dialect::Plain => refusal.response(),
            Dialect::Elasticsearch => bulk::refused(&refusal),
            Dialect::Loki => loki::refused(&refusal),
            Dialect::Splunk => splunk::refused(&refusal),
        }
    })
}

fn dialect(path: &str) -> Dialect {
    if path.starts_with("/services/collector") {
        Dialect::Splunk
    } else if path.starts_with("/loki/") || path == "/ready" {
        Dialect::Loki
    } else if path.starts_with("/v1/") {
        Dialect::Plain
    } else {
        // An index can have any name.
        Dialect::Elasticsearch
    }
}

impl Shared {
    /// Whether the request may be served, with `method`.
    fn admit(&self, ask: &Ask, method: Method, allowed: &'static str) -> Result<(), Refusal> {
        if ask.head.method != method {
            return Err(Refusal::Method(allowed));
        }
        self.authorize(ask)
    }

    fn authorize(&self, ask: &Ask) -> Result<(), Refusal> {
        match authorized(&ask.head.headers, self.tokens.as_ref()) {
            true => Ok(()),
            false => Err(Refusal::Unauthorized),
        }
    }
}

/// The text that a piece of a path or a query stands for. `plus` is a space in a query.
fn percent_decoded(piece: &str, plus: u8) -> Result<String, Malformed> {
    const WRONG: Malformed = Malformed::fixed("the path or the query is not percent-encoded UTF-8");
    let mut decoded = Vec::with_capacity(piece.len());
    let mut bytes = piece.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'+' => plus,
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                let (high, low) = (digit().ok_or(WRONG)?, digit().ok_or(WRONG)?);
                (high << 4 | low) as u8
            }
            byte => byte,
        });
    }
    String::from_utf8(decoded).map_err(|_| WRONG)
}
