//! The door of both ports: who comes in, and what becomes of those who do not.
//!
//! Owns TLS, the back-off for those who fail, and the counts and the log of refusals. Who may do what is in [`access`].

mod access;
mod backoff;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use logboom_config::Collector as Settings;
use logboom_config::Tokens;
use logboom_security::{Certificate, Denied, Live, ServerTls, Stream, accept, linger};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tracing::{debug, warn};

pub use access::{Access, Credentials, Forbidden, Grant};
use backoff::Backoff;

/// How long a peer has to take the word that it is not let in.
const FAREWELL_TIME: Duration = Duration::from_secs(1);

/// What peers can provoke must not fill our own log: so many lines of each reason, within this time.
const LOG_LINES_MAX: u32 = 20;
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// Why a peer, a stream or a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// It does not speak as this port does, or did not get done with it.
    Handshake,
    /// Its certificate is missing, has expired, or is of an authority that is not trusted.
    Certificate,
    /// It shows no token, or a wrong one, or nobody is known by that and its certificate.
    Token,
    /// It failed too often a short while ago.
    Backoff,
    /// A block holds a category that it may not write.
    Category,
    /// A block is of a host that it may not write for.
    Host,
}

/// Each with its name in logs and counts.
const REASONS: [(Reason, &str); 6] = [
    (Reason::Handshake, "handshake"),
    (Reason::Certificate, "certificate"),
    (Reason::Token, "token"),
    (Reason::Backoff, "backoff"),
    (Reason::Category, "category"),
    (Reason::Host, "host"),
];

/// See the module. One for both ports.
pub struct Door {
    tls: Option<ServerTls>,
    access: Live<Access>,
    backoff: Mutex<Backoff>,
    refused: [AtomicU64; REASONS.len()],
    logged: Mutex<[Logged; REASONS.len()]>,
}

/// Lines in the log of one reason.
#[derive(Default)]
struct Logged {
    since: Option<Instant>,
    lines: u32,
}

impl Logged {
    /// Whether there may be one more, and whether that is the last one for now.
    fn another(&mut self, now: Instant) -> (bool, bool) {
        if self.since.is_none_or(|since| now.duration_since(since) >= LOG_INTERVAL) {
            *self = Self { since: Some(now), lines: 0 };
        }
        self.lines = self.lines.saturating_add(1);
        (self.lines <= LOG_LINES_MAX, self.lines == LOG_LINES_MAX)
    }
}

impl Door {
    /// Reads the files that the settings name.
    ///
    /// # Errors
    /// Says which file is wrong and how to mend it.
    pub fn open(settings: &Settings) -> Result<Self, String> {
        let tls = settings.tls.as_ref().map(|tls| ServerTls::open("`collector`", tls, &[])).transpose()?;
        let token_file = settings.token.as_ref().and_then(|tokens| tokens.file()).map(ToOwned::to_owned);
        let files = settings.file.iter().chain(&token_file).cloned().collect::<Vec<_>>();
        let settings = settings.clone();
        let access = Live::new("tokens and clients of `collector`", files, move || {
            let tokens = match &token_file {
                Some(file) => Some(Tokens::read(file).map_err(|error| format!("key `collector.token_file` {error}"))?),
                None => settings.token.clone(),
            };
            Ok(Access::new(tokens, settings.clients_again()?))
        })?;
        Ok(Self { tls, access, backoff: Mutex::default(), refused: Default::default(), logged: Mutex::default() })
    }

    /// Who may do what, as the files have it now.
    pub fn access(&self) -> Arc<Access> {
        self.access.current()
    }

    /// Looks whether files have changed, so that what is wrong with them is said before somebody comes.
    pub fn look(&self) {
        self.access.current();
        self.tls.iter().for_each(|tls| tls.look());
    }

    /// Whether `peer` may try; not if it failed too often a short while ago.
    pub fn may_try(&self, peer: SocketAddr) -> bool {
        let wait = self.backoff().wait(Instant::now(), peer.ip());
        if let Some(wait) = wait {
            self.count(Reason::Backoff);
            debug!(%peer, ?wait, "hung up on a peer that failed a short while ago");
        }
        wait.is_none()
    }

    /// Comes to terms with a peer that has connected. Who cannot be spoken to is told why in the clear, by `farewell` of the
    /// reason in words, is counted and logged.
    pub async fn accept(
        &self,
        socket: TcpStream,
        peer: SocketAddr,
        farewell: impl FnOnce(&str) -> Vec<u8>,
    ) -> Option<Stream> {
        match accept(socket, self.tls.as_ref()).await {
            Ok(stream) => return Some(stream),
            Err(Denied::Gone) => debug!(%peer, "it hung up without a word"),
            // Nothing was tried, so nobody has to wait for it: it may be the health check of a balancer.
            Err(Denied::Slow) => self.refuse(peer, Reason::Handshake, "it does not say hello in time"),
            Err(Denied::Handshake { certificate, reason }) => {
                self.failed(peer, if certificate { Reason::Certificate } else { Reason::Handshake }, &reason);
            }
            Err(Denied::Plain(socket)) => {
                self.failed(peer, Reason::Handshake, "it speaks in the clear, where TLS is spoken");
                tell(socket, &farewell("this port speaks TLS")).await;
            }
            Err(Denied::Tls(socket)) => {
                let reason = "it speaks TLS, which needs `collector.tls_cert_file` here";
                self.failed(peer, Reason::Handshake, reason);
                tell(socket, &farewell("this port speaks no TLS")).await;
            }
        }
        None
    }

    /// Whether a certificate that was shown earlier would still be let in.
    ///
    /// # Errors
    /// Why it would not.
    pub fn check(&self, certificate: &Certificate) -> Result<(), String> {
        self.tls.as_ref().map_or(Ok(()), |tls| tls.check(certificate))
    }

    /// A peer has shown who it is: it is not kept waiting while it, or another one at its address, is here.
    pub fn enter(self: &Arc<Self>, peer: SocketAddr) -> Entered {
        self.backoff().entered(peer.ip());
        Entered { door: self.clone(), peer }
    }

    /// A peer has not shown who it is: counts, logs, and has it wait if it goes on like this.
    pub fn failed(&self, peer: SocketAddr, reason: Reason, message: &str) {
        self.backoff().failed(Instant::now(), peer.ip());
        self.refuse(peer, reason, message);
    }

    /// Something of a peer that is known is refused: counts and logs.
    pub fn refuse(&self, peer: SocketAddr, reason: Reason, message: &str) {
        let count = self.count(reason);
        let (shown, last) = {
            let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
            logged[reason as usize].another(Instant::now())
        };
        if shown {
            warn!(%peer, reason = name(reason), refused = count, why = message, "refused");
        }
        if last {
            warn!(reason = name(reason), "what else is refused for this reason is only counted for a while");
        }
    }

    /// How often something was refused, by the names of the reasons.
    pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> {
        REASONS.iter().zip(&self.refused).map(|((_, name), count)| (*name, count.load(Ordering::Relaxed)))
    }

    fn count(&self, reason: Reason) -> u64 {
        self.refused[reason as usize].fetch_add(1, Ordering::Relaxed) + 1
    }

    fn backoff(&self) -> MutexGuard<'_, Backoff> {
        self.backoff.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A peer that is here. Dropped when it leaves.
pub struct Entered {
    door: Arc<Door>,
    peer: SocketAddr,
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.door.backoff().left(self.peer.ip());
    }
}

fn name(reason: Reason) -> &'static str {
    REASONS[reason as usize].1
}

/// Says something to a peer that is then hung up on.
async fn tell(mut socket: impl AsyncWrite + tokio::io::AsyncRead + Unpin, farewell: &[u8]) {
    if let Ok(Ok(())) = tokio::time::timeout(FAREWELL_TIME, socket.write_all(farewell)).await {
        linger(socket).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_fill_no_log() {
        let (mut logged, start) = (Logged::default(), Instant::now());
        let shown = |logged: &mut Logged, now| (0..1000).filter(|_| logged.another(now).0).count();
        assert_eq!(shown(&mut logged, start), LOG_LINES_MAX as usize);
        assert_eq!(shown(&mut logged, start + LOG_INTERVAL / 2), 0);
        assert_eq!(shown(&mut logged, start + LOG_INTERVAL), LOG_LINES_MAX as usize);
    }

    #[test]
    fn every_reason_is_at_its_place() {
        assert!(REASONS.iter().enumerate().all(|(at, (reason, _))| *reason as usize == at));
    }
}
