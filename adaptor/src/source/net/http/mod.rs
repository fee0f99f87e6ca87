//! HTTP on a listener: 1.1, and 2 with prior knowledge or by ALPN, told apart by the first bytes.
//!
//! Owns the deadlines and bounds that every HTTP listener has; what is asked and answered is the handler's business. A
//! handler gets an [`Ask`], reads its body with [`Ask::body`], and returns an [`Answer`]:
//!
//! ```text
//! serve_http(listener, allowed, Door::new("name", counters, Limits::default()), stop, |ask| async move { … }).await
//! ```
//!
//! There need be no source: `Listener::Tcp(listener, None)` takes any `tokio::net::TcpListener`.

mod answer;
mod ask;
mod pulse;
mod store;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use logboom_security::Stream;
use logboom_wire::decompress::Bounds;
use tokio::io::AsyncReadExt;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

pub(crate) use answer::{Answer, empty, error, json, text};
pub(crate) use ask::{Ask, Refusal, authorized, encoding, media_type};
use pulse::{Overdue, Pulse, Watched};
pub(in crate::source) use store::Taker;

use super::listener::serve_named;
use super::{Allowed, Connection, DRAIN_QUIET, DRAIN_TIME, Listener};
use crate::counters::Counters;

/// What ALPN may choose from, where a listener has TLS.
pub(crate) const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// Streams that an HTTP/2 connection may have open at once.
const STREAMS_MAX: u32 = 64;
/// Requests that a listener serves at once, on all of its connections.
const REQUESTS_MAX: usize = 4096;
/// What the head of an HTTP/1 request may have, in bytes, and what is read of a body at once.
const BUFFER_BYTES: usize = 64 << 10;
/// What an HTTP/2 peer may send before it is read: on one stream, and on a connection.
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 1 << 20;
/// What an HTTP/2 request's head may have, in bytes.
const HEAD_BYTES_MAX: u32 = 32 << 10;
/// Records that a request may have: each takes memory, however small it is.
const RECORDS_MAX: usize = 256 << 10;
/// Likewise categories with their attributes, and the bytes of these.
const KEYS_MAX: usize = 10_000;
const KEY_BYTES_MAX: usize = 8 << 20;
/// What requests may take of memory is this, or four of the largest bodies where that is more.
const BODIES_BYTES: usize = 64 << 20;
/// How long requests in work have for their answers when the listener is stopped.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);
/// How an HTTP/2 connection begins: RFC 9113, section 3.4.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What a request may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Bytes of a body, as it comes and decompressed.
    pub(crate) body_max: usize,
    /// How many times its compressed size a body may have, where that is much.
    pub(crate) ratio_max: usize,
    /// From the first byte of an HTTP/1 request to the end of its head.
    pub(crate) head: Duration,
    /// For a body, or for every 64 KiB of it.
    pub(crate) body: Duration,
    /// For a peer to read what it is answered.
    pub(crate) write: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_max: 1 << 20,
            ratio_max: 500,
            head: Duration::from_secs(10),
            body: Duration::from_secs(60),
            write: Duration::from_secs(10),
        }
    }
}

impl Limits {
    fn decompressed(&self) -> Bounds {
        Bounds { bytes_max: self.body_max, ratio_max: self.ratio_max }
    }
}

/// What the connections of a listener share.
pub(crate) struct Door {
    name: Arc<str>,
    counters: Arc<Counters>,
    limits: Limits,
    /// Bytes that bodies may still take.
    room: Arc<Semaphore>,
    /// Requests that may still come.
    requests: Semaphore,
    /// Bodies that may still be decompressed at the same time: a bomb takes a while until it is found out, and must not
    /// keep all threads from everybody else.
    decompressions: Semaphore,
}

impl Door {
    /// `name` is what the log calls the listener.
    pub(crate) fn new(name: &str, counters: Arc<Counters>, limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            name: name.into(),
            counters,
            limits,
            room: Arc::new(Semaphore::new(room_bytes(&limits))),
            requests: Semaphore::new(REQUESTS_MAX),
            decompressions: Semaphore::new(available_parallelism().map_or(1, |threads| threads.get().div_ceil(2))),
        })
    }
}

/// The memory of all requests of a listener.
fn room_bytes(limits: &Limits) -> usize {
    BODIES_BYTES.max(4 * limits.body_max)
}

/// Has `handler` answer every request until `stop`; then those that were sent by then, and returns when all connections
/// have ended.
pub(crate) async fn serve_http<F>(
    listener: Listener,
    allowed: Allowed,
    door: Arc<Door>,
    stop: CancellationToken,
    handler: impl Fn(Ask) -> F + Send + Sync + 'static,
) where
    F: Future<Output = Response<Answer>> + Send + 'static,
{
    let (name, counters, handler) = (door.name.clone(), door.counters.clone(), Arc::new(handler));
    let serve = move |connection| connection_of(door.clone(), connection, handler.clone());
    serve_named(listener, allowed, &name, counters, stop, serve).await;
}

/// Serves a connection to its end.
async fn connection_of<F>(
    door: Arc<Door>,
    connection: Connection,
    handler: Arc<impl Fn(Ask) -> F + Send + Sync + 'static>,
) where
    F: Future<Output = Response<Answer>> + Send + 'static,
{
    let Connection { stream, peer, idle, stop, .. } = connection;
    let pulse = Arc::new(Pulse::new());
    let mut stream = Watched::new(stream, pulse.clone());
    let late = |http2| overdue(pulse.clone(), door.limits, idle, http2);
    let http2 = tokio::select! {
        biased;
        begun = is_http2(&mut stream) => match begun {
            Ok(http2) => http2,
            Err(_) => return,
        },
        overdue = late(false) => return door.close(overdue),
        () = quiet(&stop, &pulse) => return,
    };
    let service = service_fn({
        let (door, pulse, stop) = (door.clone(), pulse.clone(), stop.clone());
        move |request| answered(door.clone(), pulse.clone(), peer, stop.clone(), request, handler.clone())
    });
    let io = TokioIo::new(stream);
    let ended = match http2 {
        false => {
            let mut builder = http1::Builder::new();
            // The deadline for heads is ours: theirs would also end connections that are kept alive.
            // Who has said all that it has to say may still wait for the answers.
            builder.header_read_timeout(None).max_buf_size(BUFFER_BYTES).half_close(true);
            drive(builder.serve_connection(io, service), late(false), quiet(&stop, &pulse)).await
        }
        true => {
            let streams = Streams::default();
            let mut builder = http2::Builder::new(streams.clone());
            builder
                .max_concurrent_streams(STREAMS_MAX)
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_header_list_size(HEAD_BYTES_MAX)
                .max_send_buf_size(BUFFER_BYTES);
            let ended = drive(builder.serve_connection(io, service), late(true), quiet(&stop, &pulse)).await;
            streams.end().await;
            ended
        }
    };
    match ended {
        Ok(None) => {}
        Ok(Some(overdue)) => door.close(overdue),
        Err(error) => debug!(listener = &*door.name, %error, "a connection ends"),
    }
}

/// Answers one request.
async fn answered<F>(
    door: Arc<Door>,
    pulse: Arc<Pulse>,
    peer: Option<IpAddr>,
    stop: CancellationToken,
    request: Request<Incoming>,
    handler: Arc<impl Fn(Ask) -> F>,
) -> Result<Response<Answer>, Infallible>
where
    F: Future<Output = Response<Answer>>,
{
    let _in_work = pulse::InWork::new(pulse);
    let Ok(_permit) = door.requests.try_acquire() else {
        return Ok(Refusal::Busy.response());
    };
    Ok(handler(Ask::new(request, peer, door.clone(), stop)).await)
}

impl Door {
    fn close(&self, overdue: Overdue) {
        debug!(listener = &*self.name, ?overdue, "a connection is closed");
        match overdue {
            Overdue::Idle => self.counters.connections_idle.add(1),
            Overdue::Head | Overdue::Write => self.counters.messages_refused.add(1),
        }
    }
}

/// Whether what comes is HTTP/2. What is read for that stays in the stream.
async fn is_http2(stream: &mut Watched<Stream>) -> io::Result<bool> {
    let mut begun = Vec::with_capacity(PREFACE.len());
    while begun.len() < PREFACE.len() && PREFACE.starts_with(&begun) {
        let before = begun.len();
        begun.resize(PREFACE.len(), 0);
        let read = stream.read(&mut begun[before..]).await?;
        begun.truncate(before + read);
        if read == 0 {
            break;
        }
    }
    let http2 = begun == PREFACE;
    stream.unread(begun);
    Ok(http2)
}

/// Returns when the connection must end for the sake of others.
async fn overdue(pulse: Arc<Pulse>, limits: Limits, idle: Duration, http2: bool) -> Overdue {
    let shortest = [limits.head, limits.write, idle].into_iter().filter(|limit| !limit.is_zero()).min();
    let tick = shortest.unwrap_or_default().clamp(Duration::from_millis(20), Duration::from_secs(1));
    loop {
        sleep(tick).await;
        if let Some(overdue) = pulse.overdue(Instant::now(), &limits, idle, http2) {
            return overdue;
        }
    }
}

/// Returns when the listener is stopped and what was sent by then is read.
async fn quiet(stop: &CancellationToken, pulse: &Pulse) {
    stop.cancelled().await;
    let now = Instant::now();
    let end = now + DRAIN_TIME;
    loop {
        let quiet = pulse.read_last().max(now) + DRAIN_QUIET;
        if Instant::now() >= quiet.min(end) {
            return;
        }
        sleep_until(quiet.min(end)).await;
    }
}

/// A connection of either version.
trait Graceful: Future<Output = hyper::Result<()>> {
    /// Takes no more requests.
    fn finish(self: Pin<&mut Self>);
}

impl<I, S> Graceful for http1::Connection<I, S>
where
    S: hyper::service::HttpService<Incoming, ResBody = Answer, Error = Infallible>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, S> Graceful for http2::Connection<I, S, Streams>
where
    S: hyper::service::HttpService<Incoming, ResBody = Answer, Error = Infallible>,
    S::Future: Send + 'static,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Runs a connection to its end.
async fn drive(
    connection: impl Graceful,
    overdue: impl Future<Output = Overdue>,
    quiet: impl Future<Output = ()>,
) -> hyper::Result<Option<Overdue>> {
    let (mut connection, mut overdue, mut quiet) = (pin!(connection), pin!(overdue), pin!(quiet));
    let mut stopping = false;
    let mut end = pin!(None);
    loop {
        let ended = async {
            match end.as_mut().as_pin_mut() {
                Some(end) => end.await,
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            ended = connection.as_mut() => return ended.map(|()| None),
            overdue = &mut overdue => return Ok(Some(overdue)),
            () = ended => return Ok(None),
            () = &mut quiet, if !stopping => {
                stopping = true;
                connection.as_mut().finish();
                end.set(Some(sleep(STOP_TIMEOUT)));
            }
        }
    }
}

/// Runs the streams of an HTTP/2 connection; none outlives it.
#[derive(Clone, Default)]
struct Streams {
    tasks: TaskTracker,
    over: CancellationToken,
}

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        let over = self.over.clone();
        self.tasks.spawn(async move {
            over.run_until_cancelled(stream).await;
        });
    }
}

impl Streams {
    async fn end(self) {
        self.over.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}
