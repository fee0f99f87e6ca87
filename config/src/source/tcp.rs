//! A source of type `tcp`: a TCP listener.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::error::Error;
use crate::keys::SOURCE;
use crate::section::Section;

/// How many connections a listener may be allowed.
pub(super) const CONNECTIONS: RangeInclusive<u64> = 1..=1_000_000;
/// How long an idle connection may be kept; zero is for ever.
pub(super) const IDLE_TIMEOUT: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(24 * 30);

/// Settings of a TCP source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpSource {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The most connections at once; 1 to 1,000,000.
    pub max_connections: usize,
    /// A connection silent for this long is closed; zero is never, 30 days the most.
    pub idle_timeout: Duration,
}

impl TcpSource {
    /// The default settings for a listener at `listen`.
    pub fn at(listen: SocketAddr) -> TcpSource {
        TcpSource::with_listen(listen, &Section::defaults(SOURCE)).expect("the defaults are valid")
    }

    pub(super) fn read(section: &Section<'_>) -> Result<TcpSource, Error> {
        TcpSource::with_listen(section.required("listen")?.listen()?, section)
    }

    fn with_listen(listen: SocketAddr, section: &Section<'_>) -> Result<TcpSource, Error> {
        Ok(TcpSource {
            listen,
            max_connections: section.get("max_connections").count(CONNECTIONS)? as usize,
            idle_timeout: section.get("idle_timeout").duration(IDLE_TIMEOUT)?,
        })
    }
}
