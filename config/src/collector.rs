//! `[collector]`: who may send, how much is held, and how often it is committed.

use std::net::SocketAddr;
use std::time::Duration;

use crate::adaptor::TOKEN_BYTES_MAX;
use crate::error::Error;
use crate::secret::Secret;
use crate::section::{Section, Value};

/// Settings of the collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    /// Where adaptors connect. Off loopback there is a `token`, or it is `insecure`.
    pub listen: SocketAddr,
    /// Where HTTP shows what comes in; `None` for nowhere. Off loopback as `listen`.
    pub http: Option<SocketAddr>,
    /// Anyone who reaches the ports may send, and see what comes in.
    pub insecure: bool,
    /// The token that adaptors must send, and whoever asks over HTTP; none asks for none.
    pub token: Option<Secret>,
    /// The longest time between commits while there is something to commit; 100 ms to 1 h.
    pub flush_interval: Duration,
    /// The most bytes of compressed blocks held; 16 MiB to 1 PiB.
    pub memory: u64,
    /// The most adaptors connected at once; 1 to 1,000,000.
    pub max_connections: usize,
    /// How long a stop waits for the last commit; 0 to 1 day.
    pub drain_timeout: Duration,
    /// It keeps the table in order, when no other collector does.
    pub maintenance: bool,
}

impl Default for Collector {
    fn default() -> Collector {
        Collector::read(&Section::defaults("collector")).expect("the defaults are valid")
    }
}

impl Collector {
    pub(crate) fn read(section: &Section<'_>) -> Result<Collector, Error> {
        let (hour, millis) = (Duration::from_hours(1), Duration::from_millis(1));
        let collector = Collector {
            listen: section.get("listen").listen()?,
            http: http(&section.get("http"))?,
            insecure: section.get("insecure").flag()?,
            token: section.given("token_file").map(|file| file.secret(TOKEN_BYTES_MAX)).transpose()?,
            flush_interval: section.get("flush_interval").duration(100 * millis..=hour)?,
            memory: section.get("memory").size(16 << 20..=1 << 50)?,
            max_connections: section.get("max_connections").count(1..=1_000_000)? as usize,
            drain_timeout: section.get("drain_timeout").duration(Duration::ZERO..=24 * hour)?,
            maintenance: section.get("maintenance").flag()?,
        };
        for (key, address, what) in [("listen", Some(collector.listen), "send"), ("http", collector.http, "listen in")]
        {
            let Some(address) = address.filter(|address| !address.ip().to_canonical().is_loopback()) else { continue };
            if collector.token.is_none() && !collector.insecure {
                let message = format!(
                    "is {address}, which other machines can reach; set `token_file` to ask them for a token, or `insecure = true` to let anyone {what}"
                );
                return Err(section.wrong(key, &message));
            }
        }
        Ok(collector)
    }
}

fn http(value: &Value<'_>) -> Result<Option<SocketAddr>, Error> {
    match value.text()?.is_empty() {
        true => Ok(None),
        false => value.listen().map(Some),
    }
}
