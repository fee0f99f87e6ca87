//! Line sources on sockets: Unix stream and datagram sockets, TCP, UDP.
//!
//! Owns the acknowledgements of the `json` form (see [`ack`]). The sockets are `net`'s; what a line is and says is `line`'s
//! business. On a stream lines end with a newline; each datagram holds one line or more, none of which goes on in the next.

mod ack;
mod connection;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use futures::FutureExt;
use logboom_config::{Source, SourceKind, UnixSocketKind};
use tokio_util::sync::CancellationToken;

use super::line::Parser;
use super::net::{self, Allowed, DatagramSocket, Listener};
use super::{Context, Inlet, Running};

/// Opens a source of type `unix`, `tcp` or `udp`.
///
/// # Errors
/// Says what is wrong with the socket and how to mend it.
pub(super) fn open(source: Source, context: Context, stop: CancellationToken) -> Result<Running, String> {
    let name = source.name.clone();
    let streams = match &source.kind {
        SourceKind::Tcp(settings) => net::bind_tcp(&name, settings, &[])?,
        SourceKind::Unix(settings) if settings.socket == UnixSocketKind::Stream => {
            net::bind_unix_stream(&name, settings)?
        }
        SourceKind::Unix(settings) => {
            let socket = net::bind_unix_datagram(&name, settings)?;
            return Ok(datagrams(socket, Inlet::new(source, context), stop).boxed());
        }
        SourceKind::Udp(settings) => {
            let socket = net::bind_udp(&name, settings)?;
            return Ok(datagrams(socket, Inlet::new(source, context), stop).boxed());
        }
        _ => unreachable!("it is a line source on a socket"),
    };
    let (listener, allowed) = streams;
    Ok(connections(listener, allowed, Inlet::new(source, context), stop).boxed())
}

async fn connections(listener: Listener, allowed: Allowed, inlet: Arc<Inlet>, stop: CancellationToken) {
    let parser = Parser::new(inlet.source(), inlet.context(), None);
    let serve = {
        let inlet = inlet.clone();
        move |connection| connection::serve(inlet.clone(), parser.clone(), connection)
    };
    net::serve(listener, allowed, inlet, stop, serve).await;
}

async fn datagrams(socket: DatagramSocket, inlet: Arc<Inlet>, stop: CancellationToken) {
    let mut parser = Parser::new(inlet.source(), inlet.context(), None);
    let mut splitter = Parser::splitter(inlet.source(), &inlet.context().counters);
    net::receive(socket, inlet, stop, move |datagram, chunk| {
        let mut each = |line: &[u8]| parser.parse(datagram.observed, line, chunk);
        splitter.push(datagram.bytes, &mut each);
        splitter.finish(&mut each);
        // No record goes on in the next datagram, which may be another's.
        parser.finish(chunk);
    })
    .await;
}
