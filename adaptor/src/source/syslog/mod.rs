//! Sources of type `syslog`: UDP, TCP, TLS, and Unix sockets of both kinds, as `/dev/log` is one.
//!
//! Owns where messages end ([`framing`]); what they say is [`line::syslog`]'s business. In every framing one newline at the
//! end of a message is its sender's and not part of the body: a body that is to keep one has to be sent with two. Syslog answers nobody: when the spool
//! is full, the sockets wait, or records are refused and counted, as `when_full` says. A datagram that the kernel has no
//! room for is lost before anybody sees it.
//!
//! [`line::syslog`]: crate::source::line::syslog

mod framing;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use futures::FutureExt;
use jiff::tz::TimeZone;
use logboom_config::{OnLongLine, Source, SyslogSource, Transport, UnixSocketKind};
use logboom_wire::Record;
use tokio_util::sync::CancellationToken;

use super::line::PARSE_ERROR;
use super::line::syslog::{Scratch, local_zone, parse};
use super::net::{self, DatagramSocket, Decoder};
use super::{Context, Funnel, Inlet, Malformed, Running};
use crate::counters::Counters;
use crate::intake::Chunk;

use framing::{Framed, Framer};

/// A message with its header may have so many times the bytes of a body that is not too long…
const MESSAGE_LINES_MAX: usize = 4;
/// …and these at least.
const MESSAGE_BYTES_MIN: usize = 64 << 10;

/// Opens the source.
///
/// # Errors
/// Says what is wrong with the socket and how to mend it.
pub(super) fn open(
    source: Source,
    settings: SyslogSource,
    context: Context,
    stop: CancellationToken,
) -> Result<Running, String> {
    let name = source.name.clone();
    let (listener, allowed) = match &settings.transport {
        Transport::Tcp(tcp) => net::bind_tcp(&name, tcp, &[])?,
        Transport::Unix(unix) if unix.socket == UnixSocketKind::Stream => net::bind_unix_stream(&name, unix)?,
        Transport::Unix(unix) => {
            let socket = net::bind_unix_datagram(&name, unix)?;
            return Ok(datagrams(socket, Inlet::new(source, context), stop).boxed());
        }
        Transport::Udp(udp) => {
            let socket = net::bind_udp(&name, udp)?;
            return Ok(datagrams(socket, Inlet::new(source, context), stop).boxed());
        }
    };
    let inlet = Inlet::new(source, context);
    let serve = {
        let (inlet, zone) = (inlet.clone(), local_zone());
        move |connection| {
            let flow = Flow::new(&inlet, zone.clone());
            net::take_messages(connection, inlet.clone(), flow)
        }
    };
    Ok(net::serve(listener, allowed, inlet, stop, serve).boxed())
}

async fn datagrams(socket: DatagramSocket, inlet: Arc<Inlet>, stop: CancellationToken) {
    let mut messages = Messages::new(&inlet, local_zone());
    net::receive(socket, inlet, stop, move |datagram, chunk| {
        let message = without_end(datagram.bytes);
        if !message.is_empty() {
            messages.take(message, datagram.observed, chunk);
        }
    })
    .await;
}

/// A datagram is a message: a NUL or a newline (or a newline and a NUL) at its end is not part of it.
fn without_end(datagram: &[u8]) -> &[u8] {
    let message = datagram.strip_suffix(b"\0").unwrap_or(datagram);
    match message.strip_suffix(b"\n") {
        Some(line) => line.strip_suffix(b"\r").unwrap_or(line),
        None => message,
    }
}

/// Makes records of messages.
struct Messages {
    funnel: Funnel,
    zone: TimeZone,
    scratch: Scratch,
    counters: Arc<Counters>,
}

impl Messages {
    fn new(inlet: &Inlet, zone: TimeZone) -> Self {
        let counters = inlet.context().counters.clone();
        Self { funnel: inlet.funnel(), zone, scratch: Scratch::default(), counters }
    }

    fn take(&mut self, message: &[u8], observed: i64, chunk: &mut Chunk) {
        parse(message, observed, &self.zone, &mut self.scratch, |parsed| {
            if parsed.error.is_some() {
                self.counters.lines_unparsed.add(1);
            }
            self.funnel.record(None, &parsed.record(observed), chunk);
        });
    }

    /// Takes what came of a message that was cut: it cannot be told from another what its beginning says.
    fn take_cut(&mut self, message: &[u8], observed: i64, chunk: &mut Chunk) {
        self.counters.lines_unparsed.add(1);
        let attributes = [(PARSE_ERROR, "the connection ended before the message did")];
        self.funnel.record(
            None,
            &Record { observed, body: message, attributes: &attributes, ..Record::default() },
            chunk,
        );
    }
}

/// The messages of a connection.
struct Flow {
    framer: Framer,
    messages: Messages,
    on_long: OnLongLine,
}

impl Flow {
    fn new(inlet: &Inlet, zone: TimeZone) -> Self {
        let source = inlet.source();
        let message_max = (source.max_line * MESSAGE_LINES_MAX).max(MESSAGE_BYTES_MIN);
        Self { framer: Framer::new(message_max), messages: Messages::new(inlet, zone), on_long: source.on_long_line }
    }
}

/// Has `messages` take what was framed.
fn take(messages: &mut Messages, on_long: OnLongLine, framed: Framed<'_>, observed: i64, chunk: &mut Chunk) {
    match framed {
        Framed::Whole(message) => messages.take(message, observed, chunk),
        Framed::Cut(message) => messages.take_cut(message, observed, chunk),
        Framed::Head(message) => {
            // The funnel counts that the body is too long, but does not know that there was more than it can split.
            if on_long == OnLongLine::Split {
                messages.counters.lines_truncated.add(1);
            }
            messages.take(message, observed, chunk);
        }
    }
}

impl Decoder for Flow {
    fn push(&mut self, bytes: &[u8], observed: i64, chunk: &mut Chunk) -> Result<(), Malformed> {
        let Self { framer, messages, on_long } = self;
        framer.push(bytes, &mut |framed| take(messages, *on_long, framed, observed, chunk))
    }

    fn finish(&mut self, observed: i64, chunk: &mut Chunk) {
        let Self { framer, messages, on_long } = self;
        framer.finish(&mut |framed| take(messages, *on_long, framed, observed, chunk));
    }

    fn is_amid(&self) -> bool {
        self.framer.is_amid()
    }
}
