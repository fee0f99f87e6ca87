//! Live control: HTTP at which sources are listed, added and removed while the adaptor runs, and counters are read.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | a short help |
//! | `GET /health` | 200 once the adaptor takes records, 503 while it ends |
//! | `GET /sources` | 200: an array of sources, with their counters |
//! | `GET /sources/{name}` | 200: one of them; 404 |
//! | `POST /sources` | 201: the source of the body, which runs now and after a restart. 400 where its settings are wrong, 403 where it runs a program and whoever asks may not, 409 where its name or its address is taken or it cannot be opened, 503 where it must be tried again, 507 where the spool's disk takes no more |
//! | `DELETE /sources/{name}` | 200: it has handed over what it took and is closed; 404; 503, 507 |
//! | `GET /metrics` | 200: counters and gauges as Prometheus reads them |
//!
//! The body of `POST` is a table with the keys of `[[adaptor.source]]` in TOML, or as a JSON object. An error is
//! `{"error": "one line"}`.
//!
//! Who may: at the Unix socket, whoever may open it (mode 0600). At the TCP port, whoever is on this host and knows the
//! token if there is one; without a token, no program can be had to run there, for the adaptor may be root. Browsers are
//! kept out, for any page can send them there: a request with an `Origin` is refused, and so is one for a host by another
//! name than loopback's, which a rebound name would be.

#[cfg(test)]
mod tests;
mod view;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper::header::{ALLOW, HOST, HeaderValue, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::http::request::Parts;
use hyper::{Method, Response, StatusCode};
use logboom_config::{Adaptor as Settings, Tokens, UnixSource, is_loopback_name};
use logboom_security::Live;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::counters::Counters;
use crate::source::net::http::{Answer, Ask, Door, Limits, authorized, empty, error, json, serve_http, text};
use crate::source::net::{Allowed, Listener, bind_unix_stream};
use crate::sources::{Refusal, Sources};
use crate::spool::Spool;

/// The most bytes of a source's settings.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Connections at once, at each listener.
const CONNECTIONS_MAX: usize = 64;
/// A connection without a request for this long is closed.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);
/// What the log calls the listeners.
const NAME: &str = "control";
const PLAIN: &str = "text/plain; charset=utf-8";
const HELP: &str = "\
Logboom adaptor, live control

GET    /health          whether it takes records
GET    /metrics         counters for Prometheus
GET    /sources         every source with its counters
GET    /sources/NAME    one of them
POST   /sources         add a source: its settings in TOML or JSON, as under [[adaptor.source]]
DELETE /sources/NAME    remove a source once it has handed over what it took
";

/// What all requests share.
pub(crate) struct Control {
    sources: Arc<Sources>,
    spool: Arc<Spool>,
    tokens: Option<Live<Tokens>>,
    ready: AtomicBool,
}

/// The listeners that are bound.
#[derive(Default)]
pub(crate) struct Bound {
    /// Each with whether only the adaptor's user gets to it.
    listeners: Vec<(Listener, bool)>,
    /// The tokens that the TCP one asks for.
    pub(crate) tokens: Option<Live<Tokens>>,
    /// Where the TCP one is.
    pub(crate) address: Option<SocketAddr>,
}

/// Binds what the settings ask for. The default port may be taken by another adaptor: that is a warning.
///
/// # Errors
/// Says what is wrong with an address that was given, and how to mend it.
pub(crate) async fn bind(settings: &Settings) -> Result<Bound, String> {
    let tokens = settings.control_token.clone().map(|tokens| Live::tokens("tokens of `adaptor.control`", tokens));
    let mut bound = Bound { tokens: tokens.transpose()?, ..Bound::default() };
    if let Some(path) = &settings.control_socket {
        let unix = UnixSource { mode: 0o600, ..UnixSource::at(path) };
        let (listener, _) =
            bind_unix_stream(NAME, &unix).map_err(|error| format!("`adaptor.control_socket`: {error}"))?;
        bound.listeners.push((listener, true));
    }
    if let Some(address) = settings.control {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                let address = listener.local_addr().unwrap_or(address);
                info!(%address, "control listens (HTTP)");
                bound.listeners.push((Listener::Tcp(listener, None), false));
                bound.address = Some(address);
            }
            Err(error) if settings.control != Settings::default().control => {
                return Err(format!(
                    "`adaptor.control`: cannot listen at {address}: {error}; set another port, or \"\" for none"
                ));
            }
            Err(error) => {
                warn!(%address, %error, "no live control: cannot listen at its default address; set `adaptor.control`")
            }
        }
    }
    Ok(bound)
}

impl Control {
    pub(crate) fn new(sources: Arc<Sources>, spool: Arc<Spool>, tokens: Option<Live<Tokens>>) -> Arc<Self> {
        Arc::new(Self { sources, spool, tokens, ready: AtomicBool::new(true) })
    }

    /// The adaptor is about to end.
    pub(crate) fn end(&self) {
        self.ready.store(false, Ordering::Relaxed);
    }

    /// Answers requests at all that is bound until `stop`.
    pub(crate) async fn serve(self: Arc<Self>, bound: Bound, stop: CancellationToken) {
        let mut serving = JoinSet::new();
        for (listener, private) in bound.listeners {
            let limits = Limits { body_max: BODY_BYTES_MAX, ..Limits::default() };
            let door = Door::new(NAME, Arc::new(Counters::default()), limits);
            let allowed = Allowed { connections: CONNECTIONS_MAX, idle: IDLE_TIMEOUT };
            let control = self.clone();
            serving.spawn(serve_http(listener, allowed, door, stop.clone(), move |ask| {
                // What is begun is ended, also when nobody waits for the answer any more.
                let answering = tokio::spawn(control.clone().answer(ask, private));
                async move {
                    answering.await.unwrap_or_else(|_| error(StatusCode::INTERNAL_SERVER_ERROR, "an internal error"))
                }
            }));
        }
        while serving.join_next().await.is_some() {}
    }

    async fn answer(self: Arc<Self>, mut ask: Ask, private: bool) -> Response<Answer> {
        if !private && let Some(refusal) = self.refuse(&ask.head) {
            return refusal;
        }
        let trusted = private || self.tokens.is_some();
        let path = ask.head.uri.path().to_owned();
        let name = path.strip_prefix("/sources/").map(decoded);
        match (&ask.head.method, path.as_str(), name) {
            (&Method::GET, "/", _) => text(StatusCode::OK, PLAIN, HELP),
            (&Method::GET, "/health", _) => match self.ready.load(Ordering::Relaxed) {
                true => text(StatusCode::OK, PLAIN, "ready\n"),
                false => text(StatusCode::SERVICE_UNAVAILABLE, PLAIN, "ending\n"),
            },
            (&Method::GET, "/metrics", _) => {
                text(StatusCode::OK, view::METRICS, view::metrics(&self.sources, &self.spool))
            }
            (&Method::GET, "/sources", _) => {
                let sources: Vec<_> = self.sources.list().iter().map(view::source).collect();
                json(StatusCode::OK, &sources)
            }
            (&Method::POST, "/sources", _) => match ask.body().await {
                Ok(body) => self.add(&body, trusted).await,
                Err(refusal) => refusal.response(),
            },
            (&Method::GET, _, Some(Some(name))) => match self.sources.list().iter().find(|s| s.source.name == name) {
                Some(source) => json(StatusCode::OK, &view::source(source)),
                None => refused(&Refusal::Unknown(name)),
            },
            (&Method::DELETE, _, Some(Some(name))) => match self.sources.remove(&name).await {
                Ok(added) => {
                    let until = if added { "it is added again" } else { "the next start, for it is in the settings" };
                    json(StatusCode::OK, &serde_json::json!({ "removed": name, "until": until }))
                }
                Err(refusal) => refused(&refusal),
            },
            (_, "/" | "/health" | "/metrics", _) => not_allowed("GET"),
            (_, "/sources", _) => not_allowed("GET, POST"),
            (_, _, Some(Some(_))) => not_allowed("GET, DELETE"),
            _ => error(StatusCode::NOT_FOUND, "there is nothing here; see GET /"),
        }
    }

    async fn add(&self, body: &[u8], trusted: bool) -> Response<Answer> {
        let settings = match toml_of(body) {
            Ok(settings) => settings,
            Err(reason) => return error(StatusCode::BAD_REQUEST, &reason),
        };
        match self.sources.add(&settings, trusted).await {
            Ok(source) => json(StatusCode::CREATED, &view::source(&source)),
            Err(refusal) => refused(&refusal),
        }
    }

    /// Why a request at the TCP port is not served, if it is not.
    fn refuse(&self, head: &Parts) -> Option<Response<Answer>> {
        if head.headers.contains_key(ORIGIN) {
            return Some(error(StatusCode::FORBIDDEN, "no browser may ask here: the request has an Origin"));
        }
        let hosts = head.headers.get_all(HOST).iter().map(|host| host.to_str().unwrap_or_default());
        let authority = head.uri.authority().map(|authority| authority.as_str());
        if !hosts.chain(authority).all(is_loopback_name) {
            let message = "the request is for another host; ask for localhost or 127.0.0.1";
            return Some(error(StatusCode::FORBIDDEN, message));
        }
        if head.uri.path() != "/health" && !authorized(&head.headers, self.tokens.as_ref()) {
            let mut answer =
                error(StatusCode::UNAUTHORIZED, "send the token of `adaptor.control_token_file` as bearer");
            answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return Some(answer);
        }
        None
    }
}

/// The settings of a source in TOML, whichever way they came.
fn toml_of(body: &[u8]) -> Result<String, String> {
    match body.trim_ascii_start().first() {
        Some(b'{') => {
            let table: toml::Table = serde_json::from_slice(body)
                .map_err(|error| format!("the body is not a JSON object that settings can be: {error}"))?;
            toml::to_string(&table).map_err(|error| format!("the body cannot be settings: {error}"))
        }
        _ => {
            let text = std::str::from_utf8(body).map_err(|_| "the body is not UTF-8")?;
            Ok(text.to_owned())
        }
    }
}

fn refused(refusal: &Refusal) -> Response<Answer> {
    let status = match refusal {
        Refusal::Wrong(_) => StatusCode::BAD_REQUEST,
        Refusal::Forbidden => StatusCode::FORBIDDEN,
        Refusal::Conflict(_) => StatusCode::CONFLICT,
        Refusal::Unknown(_) => StatusCode::NOT_FOUND,
        Refusal::Busy(_) => StatusCode::SERVICE_UNAVAILABLE,
        Refusal::Unwritable { .. } => StatusCode::INSUFFICIENT_STORAGE,
    };
    let mut answer = error(status, &refusal.to_string());
    if status == StatusCode::SERVICE_UNAVAILABLE {
        answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("5"));
    }
    answer
}

fn not_allowed(methods: &'static str) -> Response<Answer> {
    let mut answer = empty(StatusCode::METHOD_NOT_ALLOWED);
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(methods));
    answer
}

/// A segment of a path without its percent signs. `None` where it is none.
fn decoded(segment: &str) -> Option<String> {
    if segment.is_empty() || segment.contains('/') {
        return None;
    }
    percent_encoding::percent_decode_str(segment).decode_utf8().ok().map(|name| name.into_owned())
}
