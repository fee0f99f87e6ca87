//! A connection's bytes, in the clear or by TLS, and how a listener comes to it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsStream;

use crate::{Certificate, ServerTls, tls};

/// How long a peer has for the first byte and its TLS handshake.
pub const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long, and how much, is read of a peer that was refused, so that it gets to read why.
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 64 << 10;
/// The first byte of what a TLS client says.
const TLS_HANDSHAKE: u8 = 0x16;

/// The two ways of a connection, whatever carries them.
pub enum Stream {
    /// In the clear.
    Plain(TcpStream),
    /// By TLS.
    Tls(Box<TlsStream<TcpStream>>),
    /// To a process of this host.
    Unix(UnixStream),
}

/// Why a connection came to nothing before a word was said on it.
pub enum Denied {
    /// The peer hung up without having said anything, as a port scan does.
    Gone,
    /// It took longer than [`HANDSHAKE_TIMEOUT`].
    Slow,
    /// The peer speaks in the clear, which this listener does not. It can be told so, in the clear.
    Plain(TcpStream),
    /// The peer speaks TLS, which this listener does not.
    Tls(TcpStream),
    /// The handshake failed.
    Handshake {
        /// Whether the peer's certificate is why.
        certificate: bool,
        /// Why, in words.
        reason: String,
    },
}

impl Stream {
    /// What the peer has shown, if it has shown anything.
    pub fn certificate(&self) -> Option<Certificate> {
        let Self::Tls(stream) = self else { return None };
        stream.get_ref().1.peer_certificates().map(Certificate::new)
    }
}

/// Comes to terms with a peer that has connected to a listener.
///
/// # Errors
/// [`Denied`]; nothing is left to do then but to tell.
pub async fn accept(socket: TcpStream, tls: Option<&ServerTls>) -> Result<Stream, Denied> {
    let end = Instant::now() + HANDSHAKE_TIMEOUT;
    let mut first = [0];
    match timeout_at(end, socket.peek(&mut first)).await {
        Ok(Ok(1..)) => {}
        Ok(_) => return Err(Denied::Gone),
        Err(_) => return Err(Denied::Slow),
    }
    match (tls, first[0] == TLS_HANDSHAKE) {
        (None, false) => Ok(Stream::Plain(socket)),
        (None, true) => Err(Denied::Tls(socket)),
        (Some(_), false) => Err(Denied::Plain(socket)),
        (Some(tls), true) => match timeout_at(end, tls.acceptor().accept(socket).into_fallible()).await {
            Ok(Ok(stream)) => Ok(Stream::Tls(Box::new(stream.into()))),
            Ok(Err((error, socket))) => {
                linger(socket).await;
                let (certificate, reason) = (tls::is_about_certificate(&error), tls::explain(&error));
                Err(Denied::Handshake { certificate, reason })
            }
            Err(_) => Err(Denied::Slow),
        },
    }
}

/// Closes a connection whose peer has just been told why: a socket closed with something unread in it would take that back.
pub async fn linger(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let drain = async {
        let _ = stream.shutdown().await;
        let (mut buffer, mut left) = ([0; 1024], LINGER_BYTES);
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            left = left.saturating_sub(read);
            if left == 0 {
                return;
            }
        }
    };
    let _ = timeout(LINGER_TIME, drain).await;
}

macro_rules! each {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Plain($stream) => $call,
            Stream::Tls($stream) => $call,
            Stream::Unix($stream) => $call,
        }
    };
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_read(context, buffer))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        each!(self, stream => Pin::new(stream).poll_write(context, bytes))
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_flush(context))
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => Pin::new(stream).poll_shutdown(context))
    }
}
