//! What is answered.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{CONTENT_TYPE, HeaderValue};
use hyper::{HeaderMap, Response, StatusCode};
use serde::Serialize;

/// The body of an answer: some bytes at once, and trailers where HTTP/2 wants some.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) bytes: Bytes,
    pub(crate) trailers: Option<HeaderMap>,
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if !self.bytes.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.bytes)))));
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}

/// An answer without a body.
pub(crate) fn empty(status: StatusCode) -> Response<Answer> {
    let mut response = Response::new(Answer::default());
    *response.status_mut() = status;
    response
}

/// An answer of `bytes` of the media type `kind`.
pub(crate) fn text(status: StatusCode, kind: &'static str, bytes: impl Into<Bytes>) -> Response<Answer> {
    let mut response = Response::new(Answer { bytes: bytes.into(), trailers: None });
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

/// `value` as JSON.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Response<Answer> {
    // Maps with keys that are no texts are all that could fail.
    text(status, "application/json", serde_json::to_vec(value).unwrap_or_default())
}

/// `{"error": message}`.
pub(crate) fn error(status: StatusCode, message: &str) -> Response<Answer> {
    json(status, &serde_json::json!({ "error": message }))
}
