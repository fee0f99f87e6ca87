//! What is asked: a request, and the bounds that its body is read within.

use std::borrow::Cow;
use std::future::poll_fn;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming};
use hyper::header::{
    ALLOW, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, EXPECT, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE,
};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Request, Response, StatusCode};
use logboom_config::{TokenHash, Tokens};
use logboom_security::Live;
use logboom_wire::decompress::{Compression, DecompressError, decompress};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{Answer, DRAIN_TIME, Door, RECORDS_MAX, error, room_bytes};
use crate::source::{Inlet, Malformed};

/// A body must go on by this many bytes within each of its deadlines.
const PROGRESS_BYTES: usize = 64 << 10;
/// The least that a body takes of the memory for bodies.
const ROOM_BYTES_MIN: usize = 4 << 10;
/// How long a body waits for memory.
const ROOM_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a body that nobody wants is read on, so that its sender gets to read why.
const DISCARD_TIME: Duration = Duration::from_secs(2);

/// A request.
pub(crate) struct Ask {
    /// Method, URI and headers.
    pub(crate) head: Parts,
    /// Who asks, where that has an address.
    pub(crate) peer: Option<IpAddr>,
    body: Incoming,
    door: Arc<Door>,
    /// What its body takes of the memory for bodies, until the request is answered.
    taken: Option<OwnedSemaphorePermit>,
    stop: CancellationToken,
}

/// Why a request is not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// The body is larger than allowed.
    #[error("the body has more than {0} bytes; send smaller requests, or set a larger `max_frame`")]
    TooLarge(usize),
    /// The body is larger, for its compressed size, than allowed.
    #[error(
        "the body has more than 4 MiB and more than {0} times its size when decompressed; compress it less, or set a larger `max_ratio`"
    )]
    TooDense(usize),
    /// There are more records in it than a request may have.
    #[error("the body has more than {RECORDS_MAX} records; send smaller requests")]
    TooMany,
    /// The body came too slowly.
    #[error("the body did not arrive in time")]
    Slow,
    /// There are too many requests.
    #[error("there are too many requests at once; try again")]
    Busy,
    /// The body ended early.
    #[error("the body is cut")]
    Cut,
    /// The body is in an encoding that is not known here.
    #[error("the content encoding is none of identity, gzip, deflate, zstd and snappy")]
    Encoding,
    /// The body cannot be decompressed.
    #[error("the body is damaged: {0}")]
    Damaged(DecompressError),
    /// The body is not what it is said to be.
    #[error("{0}")]
    Malformed(Cow<'static, str>),
    /// The token is missing or wrong.
    #[error("show the token of this listener, as `Authorization: Bearer` and the token")]
    Unauthorized,
    /// There is nothing at this path.
    #[error("there is nothing at this path")]
    NotFound,
    /// Another method is wanted.
    #[error("use {0}")]
    Method(&'static str),
    /// Another media type is wanted.
    #[error("the content type must be {0}")]
    MediaType(&'static str),
    /// The spool is full; nothing was taken.
    #[error("the spool is full; try again")]
    Full,
    /// It is not known whether the records will be kept.
    #[error("the records could not be stored in time; try again")]
    Later,
}

impl Refusal {
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::TooLarge(_) | Self::TooDense(_) | Self::TooMany => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Busy | Self::Later => StatusCode::SERVICE_UNAVAILABLE,
            Self::Cut | Self::Damaged(_) | Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Encoding | Self::MediaType(_) => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Unauthorized => StatusCode::UNAUTHORIZED,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::Method(_) => StatusCode::METHOD_NOT_ALLOWED,
            Self::Full => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// Whether the same request may succeed later.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Busy | Self::Full | Self::Later)
    }

    /// Gives `response` the status and the headers of this.
    pub(crate) fn on(&self, mut response: Response<Answer>) -> Response<Answer> {
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        match self {
            Self::Busy | Self::Full | Self::Later => drop(headers.insert(RETRY_AFTER, HeaderValue::from_static("1"))),
            Self::Unauthorized => drop(headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
            Self::Method(allowed) => drop(headers.insert(ALLOW, HeaderValue::from_static(allowed))),
            _ => {}
        }
        response
    }

    /// With the reason as `{"error": "…"}`.
    pub(crate) fn response(&self) -> Response<Answer> {
        self.on(error(self.status(), &self.to_string()))
    }
}

impl From<Malformed> for Refusal {
    fn from(Malformed(reason): Malformed) -> Self {
        Self::Malformed(reason)
    }
}

impl Ask {
    pub(super) fn new(
        request: Request<Incoming>,
        peer: Option<IpAddr>,
        door: Arc<Door>,
        stop: CancellationToken,
    ) -> Self {
        let (head, body) = request.into_parts();
        Self { head, peer, body, door, taken: None, stop }
    }

    /// The whole body, decompressed as its `Content-Encoding` says.
    pub(crate) async fn body(&mut self) -> Result<Bytes, Refusal> {
        let compression = content_encoding(&self.head.headers)?;
        let bytes = self.raw_body().await?;
        match compression {
            None => Ok(bytes),
            Some(compression) => self.decompressed(compression, &bytes).await,
        }
    }

    /// The whole body as it comes.
    pub(crate) async fn raw_body(&mut self) -> Result<Bytes, Refusal> {
        let max = self.door.limits.body_max;
        if self.body.size_hint().lower() > max as u64 {
            return Err(Refusal::TooLarge(max));
        }
        let (mut first, mut bytes) = (Bytes::new(), Vec::new());
        let (mut due, mut since_due, mut stopping) = (Instant::now() + self.door.limits.body, 0, false);
        loop {
            let (body, stop) = (&mut self.body, &self.stop);
            let frame = tokio::select! {
                biased;
                frame = timeout_at(due, next(body)) => frame.map_err(|_| Refusal::Slow)?,
                () = stop.cancelled(), if !stopping => {
                    stopping = true;
                    due = due.min(Instant::now() + DRAIN_TIME);
                    continue;
                }
            };
            let data = match frame {
                None => break,
                Some(Err(_)) => return Err(Refusal::Cut),
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => data,
                    Err(_) => continue,
                },
            };
            let total = first.len() + bytes.len() + data.len();
            if total > max {
                return Err(Refusal::TooLarge(max));
            }
            self.take_room(total.max(ROOM_BYTES_MIN).next_power_of_two()).await?;
            since_due += data.len();
            if since_due >= PROGRESS_BYTES && !stopping {
                (due, since_due) = (Instant::now() + self.door.limits.body, 0);
            }
            // A body that comes at once is not copied.
            if total == data.len() {
                first = data;
                continue;
            }
            if bytes.is_empty() {
                bytes.reserve(total);
                bytes.extend_from_slice(&std::mem::take(&mut first));
            }
            bytes.extend_from_slice(&data);
        }
        Ok(if bytes.is_empty() { first } else { bytes.into() })
    }

    /// What is behind `compressed`, which is of this request's body.
    pub(crate) async fn decompressed(&mut self, how: Compression, compressed: &[u8]) -> Result<Bytes, Refusal> {
        // The semaphore is never closed.
        let permit = self.door.decompressions.acquire().await.ok();
        let decompressed = decompress(how, compressed, self.door.limits.decompressed());
        drop(permit);
        let bytes = decompressed.map_err(|error| match error {
            DecompressError::TooLarge(max) => Refusal::TooLarge(max),
            DecompressError::TooDense(max) => Refusal::TooDense(max),
            error => Refusal::Damaged(error),
        })?;
        self.take_room(compressed.len() + bytes.len()).await?;
        Ok(bytes.into())
    }

    /// The most bytes of a body.
    pub(crate) fn body_max(&self) -> usize {
        self.door.limits.body_max
    }

    /// Reads on for a moment what will not be used: one who is still sending would not read an answer.
    pub(crate) async fn discard(&mut self) {
        // Who asks first whether to send needs no more than the answer.
        if self.body.is_end_stream() || self.head.headers.contains_key(EXPECT) {
            return;
        }
        let body = &mut self.body;
        let _ = timeout(DISCARD_TIME, async { while let Some(Ok(_)) = next(body).await {} }).await;
    }

    /// Counts a refusal, and says so to whoever looks for it.
    pub(in crate::source) fn count_refused(&self, inlet: &Inlet, refusal: &Refusal) {
        let (source, peer, path) = (inlet.name(), self.peer, self.head.uri.path());
        debug!(source, ?peer, ?path, reason = ?refusal.to_string(), "a request is refused");
        // Records that a full spool refuses are counted where that is found out.
        if !refusal.is_passing() {
            inlet.counters().messages_refused.add(1);
        }
    }

    /// Has `bytes` of the listener's memory be this request's until it is answered, waiting a moment where there is too
    /// little.
    pub(super) async fn take_room(&mut self, bytes: usize) -> Result<(), Refusal> {
        // One request alone must not wait for ever.
        let bytes = bytes.min(room_bytes(&self.door.limits));
        let has = self.taken.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let Some(missing) = bytes.checked_sub(has).filter(|&missing| missing > 0) else { return Ok(()) };
        let missing = u32::try_from(missing).map_err(|_| Refusal::Busy)?;
        match timeout(ROOM_TIMEOUT, self.door.room.clone().acquire_many_owned(missing)).await {
            Ok(Ok(permit)) => match &mut self.taken {
                Some(taken) => taken.merge(permit),
                None => self.taken = Some(permit),
            },
            _ => return Err(Refusal::Busy),
        }
        Ok(())
    }
}

async fn next(body: &mut Incoming) -> Option<hyper::Result<Frame<Bytes>>> {
    poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await
}

/// How a body is compressed, by its `Content-Encoding`. `snappy` is the block format, as Prometheus and Loki use it.
fn content_encoding(headers: &HeaderMap) -> Result<Option<Compression>, Refusal> {
    let mut values = headers.get_all(CONTENT_ENCODING).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Refusal::Encoding);
    }
    let value = value.to_str().map_err(|_| Refusal::Encoding)?.trim();
    encoding(value).ok_or(Refusal::Encoding)
}

/// The compression of this name; none for `identity`. `None`: there is no such.
pub(crate) fn encoding(name: &str) -> Option<Option<Compression>> {
    let known = [
        ("gzip", Compression::Gzip),
        ("x-gzip", Compression::Gzip),
        ("deflate", Compression::Zlib),
        ("zstd", Compression::Zstd),
        ("snappy", Compression::Snappy),
    ];
    if name.is_empty() || name.eq_ignore_ascii_case("identity") {
        return Some(None);
    }
    known.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, compression)| Some(*compression))
}

/// The media type of a body in lower case, without its parameters; empty where it has none.
pub(crate) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

/// Whether a request may be served: it shows one of `tokens`, if there are any. It may do so as `Bearer`, `Splunk` or
/// `ApiKey`, or as the password of `Basic`, whatever its user. The time that this takes does not tell how near a guess is.
pub(crate) fn authorized(headers: &HeaderMap, tokens: Option<&Live<Tokens>>) -> bool {
    let Some(tokens) = tokens else { return true };
    let Some((scheme, shown)) =
        headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).and_then(|value| value.trim().split_once(' '))
    else {
        return false;
    };
    let (shown, tokens) = (shown.trim(), tokens.current());
    if scheme.eq_ignore_ascii_case("basic") {
        let decoded = STANDARD.decode(shown).unwrap_or_default();
        let password = memchr::memchr(b':', &decoded).and_then(|colon| str::from_utf8(&decoded[colon + 1..]).ok());
        return password.is_some_and(|password| tokens.contain(&TokenHash::of(password)));
    }
    let known = ["bearer", "splunk", "apikey"].iter().any(|known| scheme.eq_ignore_ascii_case(known));
    known && tokens.contain(&TokenHash::of(shown))
}
