//! What a connection has done last, and when that is too long ago.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::Limits;

/// What happened on a connection.
pub(super) struct Pulse(Mutex<State>);

struct State {
    /// Requests in work.
    requests: usize,
    /// When the first byte came that belongs to no request yet.
    head_since: Option<Instant>,
    read_last: Instant,
    /// Since when the peer takes nothing.
    write_since: Option<Instant>,
}

/// Why a connection must end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Overdue {
    /// The head of a request takes too long.
    Head,
    /// Nothing comes.
    Idle,
    /// The peer does not read its answers.
    Write,
}

impl Pulse {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State { requests: 0, head_since: None, read_last: Instant::now(), write_since: None }))
    }

    /// Whether something is overdue at `now`. Zero `idle` is for ever. On HTTP/2 bytes may come without a request.
    pub(super) fn overdue(&self, now: Instant, limits: &Limits, idle: Duration, http2: bool) -> Option<Overdue> {
        let state = self.state();
        let longer = |since: Option<Instant>, limit| since.is_some_and(|since| now.duration_since(since) >= limit);
        if !http2 && longer(state.head_since, limits.head) {
            return Some(Overdue::Head);
        }
        if longer(state.write_since, limits.write) {
            return Some(Overdue::Write);
        }
        (state.requests == 0 && !idle.is_zero() && longer(Some(state.read_last), idle)).then_some(Overdue::Idle)
    }

    pub(super) fn read_last(&self) -> Instant {
        self.state().read_last
    }

    fn read(&self) {
        let mut state = self.state();
        state.read_last = Instant::now();
        if state.requests == 0 && state.head_since.is_none() {
            state.head_since = Some(state.read_last);
        }
    }

    fn written(&self, waits: bool) {
        let mut state = self.state();
        match waits {
            true => drop(state.write_since.get_or_insert_with(Instant::now)),
            false => state.write_since = None,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request in work, for as long as this lives.
pub(super) struct InWork(Arc<Pulse>);

impl InWork {
    pub(super) fn new(pulse: Arc<Pulse>) -> Self {
        {
            let mut state = pulse.state();
            state.requests += 1;
            state.head_since = None;
        }
        Self(pulse)
    }
}

impl Drop for InWork {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.requests -= 1;
        // To be idle begins with the answer.
        state.read_last = Instant::now();
    }
}

/// A stream whose reads and writes show in a pulse.
pub(super) struct Watched<S> {
    stream: S,
    pulse: Arc<Pulse>,
    /// Bytes that are to be read before those of the stream.
    begun: Vec<u8>,
}

impl<S> Watched<S> {
    pub(super) fn new(stream: S, pulse: Arc<Pulse>) -> Self {
        Self { stream, pulse, begun: Vec::new() }
    }

    /// Has `bytes` read again.
    pub(super) fn unread(&mut self, bytes: Vec<u8>) {
        self.begun = bytes;
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.begun.is_empty() {
            let bytes = buffer.remaining().min(self.begun.len());
            buffer.put_slice(&self.begun[..bytes]);
            self.begun.drain(..bytes);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            self.pulse.read();
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.pulse.written(polled.is_pending());
        polled
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
