//! A source of type `unix`: a Unix domain socket.

use std::path::PathBuf;
use std::time::Duration;

use super::tcp::{CONNECTIONS, IDLE_TIMEOUT};
use crate::error::{Error, quoted};
use crate::keys::SOURCE;
use crate::section::{Section, Value};

/// The most bytes of a socket's path that every kernel takes.
const PATH_BYTES_MAX: usize = 107;

/// Settings of a Unix socket source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnixSource {
    /// The path of the socket, at most 107 bytes.
    pub path: PathBuf,
    /// The kind of socket.
    pub socket: UnixSocketKind,
    /// The permissions of the socket; 0 to 0o777.
    pub mode: u32,
    /// Its owner as `user` or `user:group`, names or numbers; none is the adaptor's user.
    pub owner: Option<String>,
    /// Whether records say who connected, as the kernel says.
    pub peer_credentials: bool,
    /// The most connections at once; 1 to 1,000,000.
    pub max_connections: usize,
    /// A connection silent for this long is closed; zero is never, 30 days the most.
    pub idle_timeout: Duration,
}

/// The kind of a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnixSocketKind {
    /// Connections that carry lines.
    Stream,
    /// Datagrams, each a record or several lines.
    Datagram,
}

impl UnixSource {
    /// The default settings for a socket at `path`.
    pub fn at(path: impl Into<PathBuf>) -> UnixSource {
        UnixSource::with_path(path.into(), &Section::defaults(SOURCE)).expect("the defaults are valid")
    }

    pub(super) fn read(section: &Section<'_>) -> Result<UnixSource, Error> {
        let Some(path) = section.given("path") else {
            let message = "is missing; add for example `path = \"/run/logboom/app.sock\"`";
            return Err(section.wrong("path", message));
        };
        UnixSource::with_path(path.name(PATH_BYTES_MAX)?.into(), section)
    }

    fn with_path(path: PathBuf, section: &Section<'_>) -> Result<UnixSource, Error> {
        Ok(UnixSource {
            path,
            socket: section
                .get("socket")
                .choice(&[("stream", UnixSocketKind::Stream), ("datagram", UnixSocketKind::Datagram)])?,
            mode: mode(&section.get("mode"))?,
            owner: section.given("owner").map(|value| owner(&value)).transpose()?,
            peer_credentials: section.get("peer_credentials").flag()?,
            max_connections: section.get("max_connections").count(CONNECTIONS)? as usize,
            idle_timeout: section.get("idle_timeout").duration(IDLE_TIMEOUT)?,
        })
    }
}

fn mode(value: &Value<'_>) -> Result<u32, Error> {
    let fix = "must be permissions in octal and in quotes, such as \"0660\"";
    let text = value.text().map_err(|_| value.wrong(fix))?;
    let octal = (1..=4).contains(&text.len()) && text.bytes().all(|digit| (b'0'..=b'7').contains(&digit));
    match u32::from_str_radix(&text, 8) {
        Ok(mode) if octal && mode <= 0o777 => Ok(mode),
        _ => Err(value.wrong(format!("{fix}, not \"{}\"", quoted(&text)))),
    }
}

fn owner(value: &Value<'_>) -> Result<String, Error> {
    let text = value.name(128)?;
    let (user, group) = text.split_once(':').unwrap_or((&text, "root"));
    let is_name = |name: &str| !name.is_empty() && !name.contains([':', '/']) && !name.contains(char::is_whitespace);
    match is_name(user) && is_name(group) {
        true => Ok(text),
        false => Err(value.wrong(format!("is \"{text}\"; write \"user\" or \"user:group\""))),
    }
}
