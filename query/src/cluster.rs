//! A Ballista cluster that may be asked in place of this machine: how it is named.

use std::fmt;
use std::str::FromStr;

use url::Url;

use crate::error::Error;
#[cfg(not(feature = "remote"))]
use crate::{Rows, Session};

/// Where schedulers listen if nothing else is said.
const PORT: u16 = 50050;

/// The scheduler of a [Ballista](https://datafusion.apache.org/ballista/) cluster: `df://host:50050`, or with TLS
/// `https://host:50050`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    scheduler: String,
}

impl Cluster {
    /// As its client wants it.
    pub fn scheduler(&self) -> &str {
        &self.scheduler
    }
}

impl FromStr for Cluster {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = |what: &str| format!("{what}; write `df://host:{PORT}`, or `https://host:{PORT}` with TLS");
        let (scheme, place) = match text.split_once("://") {
            Some(("df" | "http", place)) => ("http", place),
            Some(("https", place)) => ("https", place),
            _ => return Err(bad("it is no URL of a scheduler")),
        };
        // Of a scheme that it knows the parser would leave out the usual port.
        let url = Url::parse(&format!("df://{place}"));
        let url = url.map_err(|error| bad(&error.to_string()))?;
        if !matches!(url.path(), "" | "/") || url.query().is_some() || !url.username().is_empty() {
            return Err(bad("a scheduler has a host and a port and nothing else"));
        }
        let host = url.host_str().filter(|host| !host.is_empty()).ok_or_else(|| bad("it names no host"))?;
        let port = url.port().unwrap_or(PORT);
        Ok(Self { scheduler: format!("{scheme}://{host}:{port}") })
    }
}

impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.scheduler)
    }
}

impl Error {
    /// Why this cluster gives no answer.
    pub(crate) fn from_cluster(cluster: &Cluster, reason: impl Into<String>) -> Self {
        Self::Cluster { scheduler: cluster.to_string(), reason: reason.into() }
    }
}

#[cfg(not(feature = "remote"))]
impl Session {
    /// Says how to build a Logboom that can.
    pub async fn sql_on(&self, cluster: &Cluster, _: &str) -> Result<Rows, Error> {
        let how = "this Logboom was built without Ballista; build it with `cargo build --release --features remote`";
        Err(Error::from_cluster(cluster, how))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scheduler_is_a_host_and_a_port() {
        let parsed = |text: &str| text.parse::<Cluster>().map(|cluster| cluster.to_string());
        assert_eq!(parsed("df://one"), Ok("http://one:50050".to_owned()));
        assert_eq!(parsed("https://one:7/"), Ok("https://one:7".to_owned()));
        assert_eq!(parsed("http://[::1]:80"), Ok("http://[::1]:80".to_owned()));
        for wrong in ["one:50050", "ftp://one", "df://one/path", "df://", "df://user@one"] {
            assert!(parsed(wrong).unwrap_err().contains("df://host:50050"), "{wrong}");
        }
    }
}
