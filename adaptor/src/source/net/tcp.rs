//! TCP.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use logboom_config::TcpSource;
use logboom_security::ServerTls;
use tokio::net::TcpSocket;
use tracing::info;

use super::listener::{Allowed, Listener};

/// Connections that may wait to be accepted.
pub(super) const BACKLOG: u32 = 1024;

/// Binds a TCP listener; `protocols` are those that TLS may choose from.
///
/// # Errors
/// Says what is wrong with the address or the TLS files and how to mend it.
pub(in crate::source) fn bind_tcp(
    source: &str,
    settings: &TcpSource,
    protocols: &[&[u8]],
) -> Result<(Listener, Allowed), String> {
    let what = format!("source `{source}`");
    let tls = settings.tls.as_ref().map(|tls| ServerTls::open(&what, tls, protocols).map(Arc::new)).transpose()?;
    let address = settings.listen;
    let bound = || -> io::Result<tokio::net::TcpListener> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A restarted adaptor must not wait for the connections of the one before to be forgotten.
        socket.set_reuseaddr(true)?;
        // Connections inherit it: a peer that vanished is found out even where `idle_timeout` is off.
        socket.set_keepalive(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    let listener = bound().map_err(|error| cannot_listen(address, "TCP", &error))?;
    let address = listener.local_addr().unwrap_or(address);
    info!(source, %address, tls = tls.is_some(), "listening (TCP)");
    let allowed = Allowed { connections: settings.max_connections, idle: settings.idle_timeout };
    Ok((Listener::Tcp(listener, tls), allowed))
}

/// Why `address` cannot be listened at and what to do.
pub(super) fn cannot_listen(address: SocketAddr, protocol: &str, error: &io::Error) -> String {
    let fix = match error.kind() {
        io::ErrorKind::AddrInUse => "another program has it: stop that, or set another `listen`",
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 need privileges: grant CAP_NET_BIND_SERVICE, or set `listen` to a higher port"
        }
        io::ErrorKind::AddrNotAvailable => "no interface of this host has that address: set another `listen`",
        _ => "set another `listen`",
    };
    format!("cannot listen at {address} ({protocol}): {error}; {fix}")
}
