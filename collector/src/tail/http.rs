//! The collector's HTTP port.
//!
//! | request | answer |
//! |---|---|
//! | `GET /` | a short help |
//! | `GET /health` | 200 while the collector runs |
//! | `GET /tail?category=GLOB&host=GLOB&severity=CONDITION&pattern=REGEX&last=N` | 200: records as lines of JSON, for as long as the peer listens. An empty line is a sign of life; `{"missed":N}` says that N records were passed over because the peer is too slow. 400 where the query is wrong, 503 where too many follow already |
//!
//! | `GET /metrics` | 200: what was refused at both ports, by reason, as Prometheus reads it |
//!
//! Where the settings have tokens or clients, all but `/health` asks who it is: by a token as a bearer's, by the certificate
//! of the connection, or both; 401 for who cannot say, 403 for who may not see records, 429 for who failed too often. Browsers
//! are kept out, for any page can send them here: a request with an `Origin` is refused, and where nobody is asked so is
//! one for a host by another name than loopback's where the port is on loopback.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::stream;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{
    ALLOW, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, ORIGIN, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use logboom_config::{Collector as Settings, is_loopback_name};
use logboom_security::Certificate;
use logboom_wire::Block;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, info, warn};

use super::filter::Filter;
use super::{Following, Tail, lines};
use crate::door::{Access, Credentials, Door, Grant, Reason};

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
GET /metrics  what was refused, for Prometheus
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
    door: Arc<Door>,
    /// Whether only this host gets here.
    local: bool,
    stop: CancellationToken,
}

impl Bound {
    /// Answers requests until `stop`.
    pub async fn serve(self, tail: Tail, door: Arc<Door>, stop: CancellationToken) {
        let local = self.address.ip().to_canonical().is_loopback();
        let shared = Arc::new(Shared { tail, door, local, stop });
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

/// What the requests of one connection share.
#[derive(Clone)]
struct Peer {
    address: SocketAddr,
    certificate: Option<Certificate>,
    taken: Taken,
}

/// What a peer is told that speaks in the clear where TLS is spoken.
fn farewell(reason: &str) -> Vec<u8> {
    let text = format!("{reason}; ask https://\n");
    let head = "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain; charset=utf-8\r\n";
    format!("{head}Content-Length: {}\r\n\r\n{text}", text.len()).into_bytes()
}

async fn serve_connection(socket: TcpStream, peer: SocketAddr, shared: Arc<Shared>) {
    let _ = socket.set_nodelay(true);
    let (taken, stop) = (Taken::default(), shared.stop.clone());
    let accepting = shared.door.accept(socket, peer, farewell);
    let Some(Some(stream)) = stop.run_until_cancelled(accepting).await else { return };
    let service = service_fn({
        let peer = Peer { address: peer, certificate: stream.certificate(), taken: taken.clone() };
        move |request| {
            let answer = shared.answer(&request, &peer);
            std::future::ready(Ok::<_, Infallible>(answer))
        }
    });
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(HEAD_BYTES_MAX);
    let connection = builder.serve_connection(TokioIo::new(stream), service);
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
    fn answer(&self, request: &Request<Incoming>, peer: &Peer) -> Answer {
        let path = request.uri().path();
        let visitor = match self.identify(request.headers(), path, peer) {
            Ok(visitor) => visitor,
            Err(refusal) => return *refusal,
        };
        if request.method() != Method::GET {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET"));
            return answer;
        }
        match path {
            "/" => text(StatusCode::OK, HELP),
            "/health" => text(StatusCode::OK, "ok\n"),
            "/metrics" => metrics(&self.door),
            "/tail" => match (Filter::parse(request.uri().query().unwrap_or_default()), visitor.grant.tail()) {
                (Err(error), _) => text(StatusCode::BAD_REQUEST, format!("{error}\n")),
                (_, Err(error)) => {
                    self.door.refuse(peer.address, Reason::Category, &error);
                    text(StatusCode::FORBIDDEN, format!("{error}\n"))
                }
                (Ok(filter), Ok(allowed)) => self.follow(filter.within(allowed), visitor, peer),
            },
            _ => text(StatusCode::NOT_FOUND, "there are /health, /metrics and /tail\n"),
        }
    }

    /// Who asks; an answer if that cannot be said.
    fn identify(&self, headers: &HeaderMap, path: &str, peer: &Peer) -> Result<Visitor, Box<Answer>> {
        let refuse = |status, message: String| Err(Box::new(text(status, message)));
        if headers.contains_key(ORIGIN) {
            return refuse(StatusCode::FORBIDDEN, "no browser may ask here: the request has an Origin\n".into());
        }
        let access = self.door.access();
        if access.is_open() {
            let mut hosts = headers.get_all(HOST).iter().map(|host| host.to_str().unwrap_or_default());
            if self.local && !hosts.all(is_loopback_name) {
                let message = "the request is for another host; ask for localhost or 127.0.0.1\n";
                return refuse(StatusCode::FORBIDDEN, message.into());
            }
        }
        let shown = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()?.trim().split_once(' '));
        let token =
            shown.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer")).map_or("", |(_, token)| token.trim());
        let credentials = Credentials::new(token, peer.certificate.clone());
        if path == "/health" {
            return Ok(Visitor { access, credentials, grant: Grant::default() });
        }
        if !access.is_open() && !self.door.may_try(peer.address) {
            let mut answer = text(StatusCode::TOO_MANY_REQUESTS, "there were too many wrong tokens; wait a minute\n");
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("60"));
            return Err(Box::new(answer));
        }
        match access.identify(&credentials) {
            Ok(grant) => Ok(Visitor { access, credentials, grant }),
            Err(reason) => {
                match token.is_empty() {
                    true => self.door.refuse(peer.address, Reason::Token, reason),
                    false => self.door.failed(peer.address, Reason::Token, reason),
                }
                let message = format!("{reason}; send one that the settings of the collector have, as bearer\n");
                let mut answer = text(StatusCode::UNAUTHORIZED, message);
                answer.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                Err(Box::new(answer))
            }
        }
    }

    fn follow(&self, filter: Filter, visitor: Visitor, peer: &Peer) -> Answer {
        let filter = Arc::new(filter);
        let Some(following) = self.tail.follow(&filter) else {
            return text(StatusCode::SERVICE_UNAVAILABLE, "too many follow already; end one of them\n");
        };
        let state = Stream {
            following,
            filter,
            begun: false,
            taken: peer.taken.clone(),
            stop: self.stop.clone(),
            door: self.door.clone(),
            visitor,
            checked: Instant::now(),
        };
        let frames = stream::unfold(state, |mut state| async {
            let text = state.next().await?;
            Some((Ok::<_, Infallible>(Frame::data(text)), state))
        });
        let mut answer = Response::new(StreamBody::new(frames).boxed_unsync());
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
        answer
    }
}

fn metrics(door: &Door) -> Answer {
    let mut out = String::from(
        "# HELP logboom_collector_refused_total Connections, streams and requests that were refused.\n\
         # TYPE logboom_collector_refused_total counter\n",
    );
    for (reason, count) in door.counts() {
        out += &format!("logboom_collector_refused_total{{reason=\"{reason}\"}} {count}\n");
    }
    text(StatusCode::OK, out)
}

/// Who asks, and what that one may do.
struct Visitor {
    access: Arc<Access>,
    credentials: Credentials,
    grant: Grant,
}

/// What one follower is sent.
struct Stream {
    following: Following,
    filter: Arc<Filter>,
    begun: bool,
    taken: Taken,
    stop: CancellationToken,
    door: Arc<Door>,
    visitor: Visitor,
    /// When it was last asked whether the follower may still see records.
    checked: Instant,
}

impl Stream {
    /// Whether the follower still may what it might when it began; if that has changed it has to ask again.
    fn still_may(&mut self) -> bool {
        if self.checked.elapsed() < SIGN_OF_LIFE {
            return true;
        }
        self.checked = Instant::now();
        let (access, credentials) = (self.door.access(), &self.visitor.credentials);
        let changed = !Arc::ptr_eq(&access, &self.visitor.access)
            && access.identify(credentials).map(|grant| !grant.same_as(&self.visitor.grant)).unwrap_or(true);
        let expired = credentials.certificate.as_ref().is_some_and(|it| self.door.check(it).is_err());
        !changed && !expired
    }

    /// The next lines; `None` at the end.
    async fn next(&mut self) -> Option<Bytes> {
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        if !self.still_may() {
            return None;
        }
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
