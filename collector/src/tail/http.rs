//! The collector's HTTP port.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | a short help |
//! | `GET /health` | 200 while the collector runs |
//! | `GET /tail?category=GLOB&host=GLOB&severity=CONDITION&pattern=REGEX&last=N` | 200: records as lines of JSON, for as long as the peer listens. An empty line is a sign of life; `{"missed":N}` says that N records were passed over because the peer is too slow. 400 where the query is wrong, 503 where too many follow already |
//!
//! With a token, all but `/health` asks for it as a bearer's. Browsers are kept out, for any page can send them here: a
//! request with an `Origin` is refused, and without a token so is one for a host by another name than loopback's where
//! the port is on loopback.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use constant_time_eq::constant_time_eq;
use futures::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, ORIGIN, WWW_AUTHENTICATE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use logboom_config::{Collector as Settings, Secret, is_loopback_name};
use logboom_wire::Block;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::filter::Filter;
use super::{Following, Tail, lines};

/// Connections at once.
const CONNECTIONS_MAX: usize = 64;
/// For the head of a request, also the first one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Between signs of life.
const SIGN_OF_LIFE: Duration = Duration::from_secs(5);
/// A follower that takes nothing for this long is gone.
const DEAF_MAX: Duration = Duration::from_secs(60);
/// The most bytes of a request's head.
const HEAD_BYTES_MAX: usize = 16 << 10;
const HELP: &str = "\
Logboom collector

GET /health   whether it runs
GET /tail     records as they come in; ?category=GLOB&host=GLOB&severity=>=warn&pattern=REGEX&last=N
";

type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// The port, bound.
pub struct Bound {
    listener: TcpListener,
    /// Where it is.
    pub address: SocketAddr,
}

/// Binds the port that the settings ask for. The default one may be another collector's: then there is none.
///
/// # Errors
/// What the system says about an address that was given.
pub async fn bind(settings: &Settings) -> Result<Option<Bound>, std::io::Error> {
    let Some(wanted) = settings.http else { return Ok(None) };
    match TcpListener::bind(wanted).await {
        Ok(listener) => {
            let address = listener.local_addr()?;
            info!(%address, "live tail listens (HTTP)");
            Ok(Some(Bound { listener, address }))
        }
        Err(error) if settings.http == Settings::default().http => {
            info!(address = %wanted, %error, "no live tail: cannot listen at its default address; set `collector.http`");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// What all requests share.
struct Shared {
    tail: Tail,
    token: Option<Secret>,
    /// Whether only this host gets here.
    local: bool,
    stop: CancellationToken,
}

impl Bound {
    /// Answers requests until `stop`.
    pub async fn serve(self, tail: Tail, token: Option<Secret>, stop: CancellationToken) {
        let local = self.address.ip().to_canonical().is_loopback();
        let shared = Arc::new(Shared { tail, token, local, stop });
        let (connections, room) = (TaskTracker::new(), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
        loop {
            let accepted = tokio::select! {
                biased;
                () = shared.stop.cancelled() => break,
                accepted = self.listener.accept() => accepted,
            };
            match (accepted, room.clone().try_acquire_owned()) {
                (Ok((socket, peer)), Ok(permit)) => {
                    let shared = shared.clone();
                    connections.spawn(async move {
                        let _permit = permit;
                        serve_connection(socket, peer, shared).await;
                    });
                }
                (Ok((_, peer)), Err(_)) => warn!(%peer, CONNECTIONS_MAX, "too many connections for the tail; hung up"),
                (Err(error), _) => {
                    warn!(%error, "cannot accept a connection for the tail");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
        connections.close();
        connections.wait().await;
    }
}

/// When a peer last took something that followed.
type Taken = Arc<Mutex<Option<Instant>>>;

async fn serve_connection(socket: TcpStream, peer: SocketAddr, shared: Arc<Shared>) {
    let _ = socket.set_nodelay(true);
    let (taken, stop) = (Taken::default(), shared.stop.clone());
    let service = service_fn({
        let taken = taken.clone();
        move |request| {
            let answer = shared.answer(&request, &taken);
            std::future::ready(Ok::<_, Infallible>(answer))
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES_MAX);
    let connection = builder.serve_connection(TokioIo::new(socket), service);
    let ended = tokio::select! {
        ended = connection => ended,
        () = deaf(&taken) => return debug!(%peer, "a follower takes nothing any more"),
        // The streams end by themselves; who then says nothing more is not waited for.
        () = async { stop.cancelled().await; tokio::time::sleep(Duration::from_secs(1)).await } => Ok(()),
    };
    if let Err(error) = ended {
        debug!(%peer, %error, "a connection for the tail ended");
    }
}

/// Returns once a follower has taken nothing for too long.
async fn deaf(taken: &Taken) {
    loop {
        tokio::time::sleep(SIGN_OF_LIFE).await;
        let last = *taken.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| last.elapsed() > DEAF_MAX) {
            return;
        }
    }
}

impl Shared {
    fn answer(&self, request: &Request<Incoming>, taken: &Taken) -> Answer {
        let path = request.uri().path();
        if let Some(refusal) = self.refuse(request.headers(), path) {
            return refusal;
        }
        if request.method() != Method::GET {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
            return answer;
        }
        match path {
            "/" => text(StatusCode::OK, HELP),
            "/health" => text(StatusCode::OK, "ok\n"),
            "/tail" => match Filter::parse(request.uri().query().unwrap_or_default()) {
                Ok(filter) => self.follow(filter, taken),
                Err(error) => text(StatusCode::BAD_REQUEST, format!("{error}\n")),
            },
            _ => text(StatusCode::NOT_FOUND, "there are /health and /tail\n"),
        }
    }

    fn refuse(&self, headers: &HeaderMap, path: &str) -> Option<Answer> {
        if headers.contains_key(ORIGIN) {
            return Some(text(StatusCode::FORBIDDEN, "no browser may ask here: the request has an Origin\n"));
        }
        let Some(token) = &self.token else {
            let mut hosts = headers.get_all(HOST).iter().map(|host| host.to_str().unwrap_or_default());
            let other = self.local && !hosts.all(is_loopback_name);
            let message = "the request is for another host; ask for localhost or 127.0.0.1\n";
            return other.then(|| text(StatusCode::FORBIDDEN, message));
        };
        let shown = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.trim().split_once(' '));
        let right = shown.is_some_and(|(scheme, shown)| {
            scheme.eq_ignore_ascii_case("bearer")
                && constant_time_eq(shown.trim().as_bytes(), token.expose().as_bytes())
        });
        if right || path == "/health" {
            return None;
        }
        let mut answer = text(StatusCode::UNAUTHORIZED, "send the token of `collector.token_file` as bearer\n");
        answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        Some(answer)
    }

    fn follow(&self, filter: Filter, taken: &Taken) -> Answer {
        let filter = Arc::new(filter);
        let Some(following) = self.tail.follow(&filter) else {
            return text(StatusCode::SERVICE_UNAVAILABLE, "too many follow already; end one of them\n");
        };
        let state = Stream { following, filter, begun: false, taken: taken.clone(), stop: self.stop.clone() };
        let frames = stream::unfold(state, |mut state| async {
            let text = state.next().await?;
            Some((Ok::<_, Infallible>(Frame::data(text)), state))
        });
        let mut answer = Response::new(StreamBody::new(frames).boxed_unsync());
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        answer
    }
}

/// What one follower is sent.
struct Stream {
    following: Following,
    filter: Arc<Filter>,
    begun: bool,
    taken: Taken,
    stop: CancellationToken,
}

impl Stream {
    /// The next lines; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        if !std::mem::replace(&mut self.begun, true) {
            let recent = self.following.take_recent();
            let last = self.filter.last;
            if last > 0 && !recent.is_empty() {
                return Some(self.render(recent.into(), last).await);
            }
        }
        let missed = self.following.take_missed();
        if missed > 0 {
            return Some(lines::missed(missed).into());
        }
        tokio::select! {
            biased;
            () = self.stop.cancelled() => None,
            block = self.following.next() => Some(self.render(vec![block?], usize::MAX).await),
            () = tokio::time::sleep(SIGN_OF_LIFE) => Some(Bytes::from_static(b"\n")),
        }
    }

    /// The last `last` lines of these blocks; a sign of life if there is none.
    async fn render(&self, blocks: Vec<Block>, last: usize) -> Bytes {
        let filter = self.filter.clone();
        let rendered = tokio::task::spawn_blocking(move || {
            let mut all = Vec::new();
            for block in &blocks {
                match lines::render(block, &filter) {
                    Ok(lines) => all.extend(lines),
                    Err(error) => warn!(stream = %block.header().stream, block = block.header().number, %error,
                        "a block cannot be shown"),
                }
            }
            let text = all[all.len().saturating_sub(last)..].concat();
            Bytes::from(if text.is_empty() { b"\n".to_vec() } else { text })
        });
        rendered.await.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(text.into()).boxed_unsync());
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer
}
