//! A TCP listener: a source of type `tcp`, and what the protocols that listen on TCP share.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::error::Error;
use crate::keys::SOURCE;
use crate::section::Section;
use crate::tls::Tls;

/// How many connections a listener may be allowed.
pub(super) const CONNECTIONS: RangeInclusive<u64> = 1..=1_000_000;
/// How long an idle connection may be kept; zero is for ever.
pub(super) const IDLE_TIMEOUT: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(24 * 30);

/// Settings of a TCP listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpSource {
    /// Where to listen.
    pub listen: SocketAddr,
    /// How to encrypt; none is not at all.
    pub tls: Option<Tls>,
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

    /// A source of type `tcp`, which has no port of its own.
    pub(super) fn read(section: &Section<'_>) -> Result<TcpSource, Error> {
        let source = TcpSource::with_listen(required_listen(section)?, section)?;
        guard(section, "listen", source.listen, source.tls.is_some())?;
        Ok(source)
    }

    /// A listener of a protocol with a `default` address; `asks` is whether it asks its clients for a secret.
    pub(super) fn of_protocol(section: &Section<'_>, default: SocketAddr, asks: bool) -> Result<TcpSource, Error> {
        let listen = section.given("listen").map_or(Ok(default), |value| value.listen())?;
        let source = TcpSource::with_listen(listen, section)?;
        guard(section, "listen", source.listen, asks || source.tls.is_some())?;
        Ok(source)
    }

    pub(super) fn with_listen(listen: SocketAddr, section: &Section<'_>) -> Result<TcpSource, Error> {
        Ok(TcpSource {
            listen,
            tls: Tls::read(section)?,
            max_connections: section.get("max_connections").count(CONNECTIONS)? as usize,
            idle_timeout: section.get("idle_timeout").duration(IDLE_TIMEOUT)?,
        })
    }
}

/// The address of a source that has no port of its own.
pub(super) fn required_listen(section: &Section<'_>) -> Result<SocketAddr, Error> {
    match section.given("listen") {
        Some(value) => value.listen(),
        None => Err(section.wrong("listen", "is missing; add for example `listen = \"127.0.0.1:1514\"`")),
    }
}

/// Refuses a listener that other machines can reach and that lets anyone in, unless that is said to be meant.
pub(super) fn guard(section: &Section<'_>, key: &str, listen: SocketAddr, guarded: bool) -> Result<(), Error> {
    let open = !listen.ip().to_canonical().is_loopback();
    if open && !guarded && !section.get("insecure").flag()? {
        let message = format!(
            "is {listen}, which other machines can reach; set up TLS (`tls_cert_file`, `tls_key_file`) or a token where the type has one, or `insecure = true` to let anyone send"
        );
        return Err(section.wrong(key, &message));
    }
    Ok(())
}
