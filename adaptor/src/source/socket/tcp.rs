//! TCP.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use futures::FutureExt;
use logboom_config::{Source, TcpSource};
use tokio::net::{TcpListener, TcpSocket};
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::Shared;
use super::listener::{Allowed, Listener, run};
use crate::source::{Context, Running};

/// Connections that may wait to be accepted.
pub(super) const BACKLOG: u32 = 1024;

/// Opens a TCP listener.
///
/// # Errors
/// Says what is wrong with the address and how to mend it.
pub(in crate::source) async fn open_tcp(
    source: Source,
    settings: TcpSource,
    context: Context,
    stop: CancellationToken,
) -> Result<Running, String> {
    let listener = bind(settings.listen)?;
    let address = listener.local_addr().unwrap_or(settings.listen);
    info!(source = source.name, %address, "listening (TCP)");
    let allowed = Allowed { connections: settings.max_connections, idle: settings.idle_timeout };
    let shared = Arc::new(Shared::new(source, context));
    Ok(run(Listener::Tcp(listener), shared, allowed, stop).boxed())
}

pub(super) fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    let bound = || -> io::Result<TcpListener> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        // A restarted adaptor must not wait for the connections of the one before to be forgotten.
        socket.set_reuseaddr(true)?;
        // Connections inherit it: a peer that vanished is found out even where `idle_timeout` is off.
        socket.set_keepalive(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bound().map_err(|error| cannot_listen(address, "TCP", &error))
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
