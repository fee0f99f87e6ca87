//! A UDP listener: a source of type `udp`, and what the protocols that listen on UDP share.

use std::net::SocketAddr;

use super::tcp::{guard, required_listen};
use crate::error::Error;
use crate::keys::SOURCE;
use crate::section::Section;

/// Settings of a UDP listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UdpSource {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The bytes that the kernel may hold before datagrams are lost; 4 KiB to 1 GiB.
    pub receive_buffer: usize,
}

impl UdpSource {
    /// The default settings for a listener at `listen`.
    pub fn at(listen: SocketAddr) -> UdpSource {
        UdpSource::with_listen(listen, &Section::defaults(SOURCE)).expect("the defaults are valid")
    }

    /// A source of type `udp`, which has no port of its own.
    pub(super) fn read(section: &Section<'_>) -> Result<UdpSource, Error> {
        let source = UdpSource::with_listen(required_listen(section)?, section)?;
        guard(section, "listen", source.listen, false)?;
        Ok(source)
    }

    /// A listener of a protocol with a `default` address.
    pub(super) fn of_protocol(section: &Section<'_>, default: SocketAddr) -> Result<UdpSource, Error> {
        let listen = section.given("listen").map_or(Ok(default), |value| value.listen())?;
        guard(section, "listen", listen, false)?;
        UdpSource::with_listen(listen, section)
    }

    fn with_listen(listen: SocketAddr, section: &Section<'_>) -> Result<UdpSource, Error> {
        Ok(UdpSource { listen, receive_buffer: section.get("receive_buffer").size(4 << 10..=1 << 30)? as usize })
    }
}
