//! Sockets, whatever is spoken on them: how they are bound, how many connections there are, TLS, and how they end.
//!
//! A source that is stopped reads what its peers had sent by then, without waiting for more, hands it over, and only then
//! closes. What is read there is the business of the protocol.

mod datagram;
pub(crate) mod http;
mod listener;
mod messages;
mod owner;
mod seldom;
mod tcp;
mod udp;
mod unix;

use std::time::Duration;

pub(super) use datagram::{Datagram, DatagramSocket, receive};
pub(crate) use listener::{Allowed, Listener};
pub(super) use listener::{Connection, serve};
#[cfg(test)]
pub(super) use messages::take_messages_within;
pub(super) use messages::{Decoder, take_messages};
pub(super) use seldom::Seldom;
pub(super) use tcp::bind_tcp;
pub(super) use udp::bind_udp;
pub(super) use unix::bind_unix_datagram;
pub(crate) use unix::bind_unix_stream;

/// How long a stopped source reads on at most.
pub(super) const DRAIN_TIME: Duration = Duration::from_secs(1);
/// A stopped source that gets nothing for this long has read all that was sent.
pub(super) const DRAIN_QUIET: Duration = Duration::from_millis(20);
/// How long to wait after an error that may last, such as too many open files.
const ERROR_PAUSE: Duration = Duration::from_millis(100);
