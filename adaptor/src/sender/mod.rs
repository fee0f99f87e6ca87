//! The sender: brings the spool's blocks to a collector and hears how far they are committed.
//!
//! Owns the choice of a collector, and when to try again. What goes over one connection is in [`connection`], what may be
//! said when in [`protocol`]; what is read and deleted is the spool's; what becomes of streams that a collector refuses is
//! in [`refused`].

mod connection;
mod protocol;
mod refused;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use logboom_config::{Secret, random};
use logboom_security::{Certificate, ClientTls, HANDSHAKE_TIMEOUT, Live, ServerName, Stream, explain};
use logboom_wire::StreamId;
use logboom_wire::message::FrameError;
use rand::Rng;
use rand::seq::SliceRandom;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::counters::Counters;
use crate::spool::{Spool, SpoolError, StreamStatus};
use protocol::Ended;
use refused::Refused;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const BACKOFF_MIN: Duration = Duration::from_millis(200);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// What a sender needs to know.
pub struct Settings {
    /// `host:port` of each collector; a name may stand for many addresses.
    pub collectors: Vec<String>,
    /// How to encrypt, if at all.
    pub tls: Option<ClientTls>,
    /// What to prove ourselves with.
    pub token: Option<Live<Secret>>,
    /// Name of this host.
    pub host: Arc<str>,
    /// Streams older than this are not sent: their marks may be forgotten.
    pub max_age: Duration,
    /// Send them all the same.
    pub send_expired: bool,
    /// Where refusals are counted.
    pub counters: Arc<Counters>,
    /// Where the collectors are in a simulation.
    #[cfg(feature = "simulation")]
    pub network: Option<Arc<dyn crate::simulation::Network>>,
}

impl Settings {
    /// Looks whether files have changed, so that what is wrong with them is said before they are needed.
    fn look(&self) {
        self.token.iter().for_each(|token| drop(token.current()));
        self.tls.iter().for_each(ClientTls::look);
    }

    /// Whether `stream` is young enough on this `date` to be sent: the table forgets marks after 30 days, and a block that
    /// is sent again after that would be there twice.
    pub fn may_send(&self, stream: &StreamStatus, date: Duration) -> bool {
        let age = date.saturating_sub(Duration::from_millis(stream.opened_ms));
        self.send_expired || !stream.sealed || age <= self.max_age
    }
}

/// How a connection ended.
#[derive(Debug, thiserror::Error)]
enum ConnectionError {
    #[error("{0}")]
    Ended(#[from] Ended),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("the connection was closed")]
    Closed,
    #[error("cannot connect: {0}")]
    Connect(std::io::Error),
    #[error("cannot connect: no answer within {} s", CONNECT_TIMEOUT.as_secs())]
    ConnectTimeout,
    #[error("no TLS with the collector: {0}")]
    Tls(String),
    #[error("TLS does not get done within {} s", HANDSHAKE_TIMEOUT.as_secs())]
    TlsTimeout,
    #[error("all that waits is refused here; trying another collector")]
    AllRefused,
    #[error("{0}")]
    Spool(#[from] SpoolError),
    #[error("it carried as many streams as a connection may; the rest go over the next one")]
    UsedUp,
}

/// Sends until `stop`. Once `drain` is cancelled, asks the collector for an early commit and returns as soon as
/// everything in the spool is committed.
pub async fn run(settings: Settings, spool: Arc<Spool>, drain: CancellationToken, stop: CancellationToken) {
    let mut sender = Sender { settings, spool, drain, backoff: BACKOFF_MIN, left: None, refused: Refused::default() };
    stop.run_until_cancelled(sender.run()).await;
}

struct Sender {
    settings: Settings,
    spool: Arc<Spool>,
    drain: CancellationToken,
    backoff: Duration,
    /// The collector of the last connection.
    left: Option<SocketAddr>,
    refused: Refused,
}

/// One of the collectors.
struct Peer {
    /// As the settings have it.
    name: String,
    address: SocketAddr,
    /// Whether there are others.
    others: bool,
    /// What it has shown, and for which name.
    certificate: Option<(Certificate, ServerName<'static>)>,
}

impl Sender {
    async fn run(&mut self) {
        loop {
            if self.drained() {
                return;
            }
            let addresses = self.addresses().await;
            let others = addresses.len() > 1;
            for (name, address) in addresses {
                if self.drained() {
                    return;
                }
                self.left = Some(address);
                let peer = Peer { name: name.clone(), address, others, certificate: None };
                match self.connect(peer).await {
                    Ok(()) => return self.delete_leftovers().await,
                    Err(ConnectionError::Ended(Ended::Draining)) => {
                        info!(collector = %name, "it is leaving; moving on")
                    }
                    Err(error) => {
                        if let ConnectionError::Ended(Ended::Refused { .. }) = error {
                            self.settings.counters.collector_refusals.add(1);
                        }
                        warn!(collector = %name, %address, %error, "connection ended");
                    }
                }
                self.pause().await;
            }
        }
    }

    fn drained(&self) -> bool {
        self.drain.is_cancelled() && self.nothing_left()
    }

    /// Whether all that may be sent is committed.
    fn nothing_left(&self) -> bool {
        let date = self.spool.disk().date();
        let done = |stream: &StreamStatus| stream.last <= stream.mark || !self.settings.may_send(stream, date);
        self.spool.streams().iter().all(done)
    }

    /// Full jitter: everyone who lost a collector at the same moment comes back at another.
    async fn pause(&mut self) {
        let wait = random::rng().random_range(Duration::ZERO..=self.backoff);
        self.backoff = (self.backoff * 2).min(BACKOFF_MAX);
        tokio::time::sleep(wait).await;
    }

    /// All addresses of all collectors, shuffled; that of the last connection comes last.
    async fn addresses(&mut self) -> Vec<(String, SocketAddr)> {
        let mut addresses = Vec::new();
        #[cfg(feature = "simulation")]
        if self.settings.network.is_some() {
            let nowhere = SocketAddr::from(([0; 4], 0));
            addresses.extend(self.settings.collectors.iter().map(|name| (name.clone(), nowhere)));
            addresses.shuffle(&mut random::rng());
            return addresses;
        }
        for name in &self.settings.collectors {
            match tokio::net::lookup_host(name).await {
                Ok(found) => addresses.extend(found.map(|address| (name.clone(), address))),
                Err(error) => warn!(collector = %name, %error, "cannot resolve the name"),
            }
        }
        addresses.shuffle(&mut random::rng());
        addresses.sort_by_key(|(_, address)| Some(*address) == self.left);
        if addresses.is_empty() {
            self.pause().await;
        }
        addresses
    }

    /// One connection, from beginning to end. `Ok` only when drained.
    async fn connect(&mut self, mut peer: Peer) -> Result<(), ConnectionError> {
        #[cfg(feature = "simulation")]
        if let Some(network) = self.settings.network.clone() {
            let connected = tokio::time::timeout(CONNECT_TIMEOUT, network.connect(&peer.name)).await;
            let stream = connected.map_err(|_| ConnectionError::ConnectTimeout)?.map_err(ConnectionError::Connect)?;
            let (read, write) = tokio::io::split(stream);
            return connection::run(self, &peer, read, write).await;
        }
        let socket = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(peer.address)).await;
        let socket = socket.map_err(|_| ConnectionError::ConnectTimeout)?.map_err(ConnectionError::Connect)?;
        let _ = socket.set_nodelay(true);
        let Some(tls) = &self.settings.tls else {
            let (read, write) = socket.into_split();
            return connection::run(self, &peer, read, write).await;
        };
        let name = tls.server_name(&peer.name).map_err(ConnectionError::Tls)?;
        let connecting = tokio::time::timeout(HANDSHAKE_TIMEOUT, tls.connector().connect(name.clone(), socket));
        let connected = connecting.await.map_err(|_| ConnectionError::TlsTimeout)?;
        let stream = connected.map_err(|error| ConnectionError::Tls(explain(&error)))?;
        let stream = Stream::Tls(Box::new(stream.into()));
        peer.certificate = stream.certificate().map(|certificate| (certificate, name));
        let (read, write) = tokio::io::split(stream);
        connection::run(self, &peer, read, write).await
    }

    async fn trim(&self, marks: BTreeMap<StreamId, u64>) -> Result<(), ConnectionError> {
        let spool = self.spool.clone();
        let trimmed = self.spool.disk().run(move || spool.trim(&marks)).await;
        match trimmed {
            Ok(Ok(())) => {}
            // A collector that says such things is not to be trusted with the rest either.
            Ok(Err(error @ SpoolError::Ahead { .. })) => return Err(error.into()),
            Ok(Err(error)) => error!(%error, "cannot delete what is committed; trying again with the next mark"),
            Err(error) => error!(%error, "cannot delete what is committed"),
        }
        Ok(())
    }

    async fn delete_leftovers(&self) {
        if self.spool.has_leftovers() {
            let spool = self.spool.clone();
            if let Ok(Err(error)) = self.spool.disk().run(move || spool.delete_leftovers()).await {
                warn!(%error, "cannot delete what is committed; trying again");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_whose_mark_may_be_forgotten_is_not_sent_again_unasked() {
        let day = Duration::from_secs(24 * 60 * 60);
        let date = 1000 * day;
        let ago = |age: Duration| (date - age).as_millis() as u64;
        let stream = |sealed, opened_ms| StreamStatus {
            generation: 1,
            id: StreamId::random(),
            opened_ms,
            first: 1,
            last: 1,
            mark: 0,
            sealed,
        };
        let settings = |send_expired| Settings {
            collectors: vec![],
            tls: None,
            token: None,
            host: "host".into(),
            max_age: 30 * day,
            send_expired,
            counters: Arc::default(),
            #[cfg(feature = "simulation")]
            network: None,
        };
        assert!(settings(false).may_send(&stream(true, ago(29 * day)), date));
        assert!(!settings(false).may_send(&stream(true, ago(31 * day)), date));
        assert!(settings(false).may_send(&stream(false, ago(31 * day)), date), "it is still written");
        assert!(settings(true).may_send(&stream(true, ago(31 * day)), date));
    }
}
