//! `[collector]`: who may send, how much is held, and how often it is committed.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::client::{self, Client};
use crate::error::Error;
use crate::keys::CLIENT;
use crate::section::{Section, Value};
use crate::settings::Settings;
use crate::tls::Tls;
use crate::token::Tokens;

/// Settings of the collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector {
    /// Where adaptors connect. Off loopback there is TLS and something that is asked for, or it is `insecure`.
    pub listen: SocketAddr,
    /// Where HTTP shows what comes in; `None` for nowhere. Off loopback as `listen`.
    pub http: Option<SocketAddr>,
    /// How both ports are encrypted; none is not at all.
    pub tls: Option<Tls>,
    /// Anyone who reaches the ports may send, and see what comes in; or else it may be unencrypted.
    pub insecure: bool,
    /// The tokens that open everything: adaptors must send one, and whoever asks over HTTP. Without any, and without
    /// `clients`, nobody is asked.
    pub token: Option<Tokens>,
    /// Who may do less. Their names are unique.
    pub clients: Vec<Client>,
    /// The file that all this is from, if it is from one: where `clients` are read again.
    pub file: Option<PathBuf>,
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
        let tls = Tls::read(section)?;
        let certificates = tls.as_ref().is_some_and(|tls| tls.client_ca_file.is_some());
        let collector = Collector {
            listen: section.get("listen").listen()?,
            http: http(&section.get("http"))?,
            insecure: section.get("insecure").flag()?,
            token: section.given("token_file").map(|file| file.tokens()).transpose()?,
            clients: client::read_all(&section.tables("client", CLIENT), certificates)?,
            file: None,
            tls,
            flush_interval: section.get("flush_interval").duration(100 * millis..=hour)?,
            memory: section.get("memory").size(16 << 20..=1 << 50)?,
            max_connections: section.get("max_connections").count(1..=1_000_000)? as usize,
            drain_timeout: section.get("drain_timeout").duration(Duration::ZERO..=24 * hour)?,
            maintenance: section.get("maintenance").flag()?,
        };
        for (key, address, what) in [("listen", Some(collector.listen), "send"), ("http", collector.http, "listen in")]
        {
            let Some(address) = address.filter(|address| !address.ip().to_canonical().is_loopback()) else { continue };
            let asks = certificates || collector.token.is_some() || !collector.clients.is_empty();
            if (collector.tls.is_none() || !asks) && !collector.insecure {
                let message = format!(
                    "is {address}, which other machines can reach; set up TLS (`tls_cert_file`, `tls_key_file`) and ask for certificates (`tls_client_ca_file`) or tokens ([[{CLIENT}]], `token_file`), or write `insecure = true` to let anyone {what} whom nothing else stops"
                );
                return Err(section.wrong(key, &message));
            }
        }
        Ok(collector)
    }

    /// The clients as the file has them now; those that there are if they are from no file.
    ///
    /// # Errors
    /// What is wrong with the file, wherever that is.
    pub fn clients_again(&self) -> Result<Vec<Client>, String> {
        let Some(file) = &self.file else { return Ok(self.clients.clone()) };
        let settings = Settings::load(file).map_err(|error| error.to_string())?;
        let collector = settings.collector.ok_or_else(|| format!("{}: [collector] is gone", file.display()))?;
        Ok(collector.clients)
    }
}

fn http(value: &Value<'_>) -> Result<Option<SocketAddr>, Error> {
    match value.text()?.is_empty() {
        true => Ok(None),
        false => value.listen().map(Some),
    }
}
