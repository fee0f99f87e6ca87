//! `[adaptor]`: what one host takes in, keeps and sends.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::address::{collector_address, is_loopback_name};
use crate::error::Error;
use crate::keys::{ROUTE, SOURCE};
use crate::route::{self, Route};
use crate::secret::Secret;
use crate::section::{Section, Value};
use crate::source::{self, Source};
use crate::spool::Spool;
use crate::tls::ClientTls;
use crate::token::{TOKEN_BYTES_MAX, Tokens};

/// The most bytes of a socket's path.
const SOCKET_BYTES_MAX: usize = 107;

/// Settings of the adaptor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adaptor {
    /// The host that records name, 1 to 253 bytes; none is the machine's host name.
    pub host: Option<String>,
    /// How records are kept until they are committed.
    pub spool: Spool,
    /// The inputs, whose names are unique. Without any, the adaptor only sends what is spooled.
    pub sources: Vec<Source>,
    /// The rules that every record passes, in this order. Their names are unique.
    pub routes: Vec<Route>,
    /// The most categories that one run may make, besides those that the settings name; 1 to 1000000.
    pub max_categories: usize,
    /// The collectors to send to, at least one, each as `host:port` with IPv6 addresses in brackets.
    pub collectors: Vec<String>,
    /// How to encrypt what is sent to collectors; none is not at all.
    pub tls: Option<ClientTls>,
    /// What is sent to collectors of other machines may be unencrypted.
    pub insecure: bool,
    /// The token that the collector asks for.
    pub token: Option<Secret>,
    /// How long a stop waits for spooled blocks to be committed; 0 to 1 day.
    pub drain_timeout: Duration,
    /// Where HTTP lists, adds and removes sources; on loopback. None is nowhere. The default need not be free.
    pub control: Option<SocketAddr>,
    /// A Unix socket for the same; none is not at all.
    pub control_socket: Option<PathBuf>,
    /// The tokens of which requests at `control` must show one.
    pub control_token: Option<Tokens>,
    /// Whether records that were given up are told of in records of the category `logboom.loss`.
    pub loss_records: bool,
    /// Attributes put on every record.
    pub labels: BTreeMap<String, String>,
}

impl Default for Adaptor {
    fn default() -> Adaptor {
        Adaptor::read(&Section::defaults("adaptor")).expect("the defaults are valid")
    }
}

impl Adaptor {
    pub(crate) fn read(section: &Section<'_>) -> Result<Adaptor, Error> {
        let adaptor = Adaptor {
            host: section.given("host").map(|host| host.name(253)).transpose()?,
            spool: Spool::read(&section.child("spool", "adaptor.spool"))?,
            sources: source::read_all(&section.tables("source", SOURCE))?,
            routes: route::read_all(&section.tables("route", ROUTE))?,
            max_categories: section.get("max_categories").count(1..=1_000_000)? as usize,
            collectors: collectors(&section.get("collectors"))?,
            tls: ClientTls::read(section)?,
            insecure: section.get("insecure").flag()?,
            token: section.given("token_file").map(|file| file.secret(TOKEN_BYTES_MAX)).transpose()?,
            drain_timeout: section.get("drain_timeout").duration(Duration::ZERO..=Duration::from_hours(24))?,
            control: control(&section.get("control"))?,
            control_socket: section
                .given("control_socket")
                .map(|path| path.name(SOCKET_BYTES_MAX).map(PathBuf::from))
                .transpose()?,
            control_token: section.given("control_token_file").map(|file| file.tokens()).transpose()?,
            loss_records: section.get("loss_records").flag()?,
            labels: section.get("labels").texts()?,
        };
        match adaptor.in_the_clear() {
            Some(message) => Err(section.wrong("collectors", &message)),
            None => Ok(adaptor),
        }
    }

    /// Why its collectors may not be sent to, if that is so: one is on another machine, and there is neither TLS nor the
    /// word that none is meant.
    pub fn in_the_clear(&self) -> Option<String> {
        let away = self.collectors.iter().find(|collector| !is_loopback_name(collector))?;
        let message = format!(
            "names `{away}`, another machine, which records would be sent to unencrypted; set up TLS (`tls_ca_file`), or `insecure = true` to send them all the same"
        );
        (self.tls.is_none() && !self.insecure).then_some(message)
    }
}

fn control(value: &Value<'_>) -> Result<Option<SocketAddr>, Error> {
    if value.text()?.is_empty() {
        return Ok(None);
    }
    let listen = value.listen()?;
    match listen.ip().to_canonical().is_loopback() {
        true => Ok(Some(listen)),
        false => Err(value.wrong(format!(
            "is {listen}, which other machines can reach; write a loopback address such as \"127.0.0.1:14632\""
        ))),
    }
}

fn collectors(value: &Value<'_>) -> Result<Vec<String>, Error> {
    let mut addresses = Vec::new();
    for item in value.list()? {
        let address = collector_address(&item.text()?).map_err(|error| item.wrong(format!("is wrong: {error}")))?;
        if addresses.contains(&address) {
            return Err(item.wrong(format!("names `{address}` twice; remove one of them")));
        }
        addresses.push(address);
    }
    match addresses.is_empty() {
        true => Err(value.wrong("must name at least one collector, such as [\"127.0.0.1:14630\"]")),
        false => Ok(addresses),
    }
}
