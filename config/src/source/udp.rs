//! A source of type `udp`: a UDP listener.

use std::net::SocketAddr;

use crate::error::Error;
use crate::keys::SOURCE;
use crate::section::Section;

/// Settings of a UDP source.
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

    pub(super) fn read(section: &Section<'_>) -> Result<UdpSource, Error> {
        UdpSource::with_listen(section.required("listen")?.listen()?, section)
    }

    fn with_listen(listen: SocketAddr, section: &Section<'_>) -> Result<UdpSource, Error> {
        Ok(UdpSource { listen, receive_buffer: section.get("receive_buffer").size(4 << 10..=1 << 30)? as usize })
    }
}
