//! UDP.

use std::io;
use std::net::UdpSocket as StdSocket;

use futures::FutureExt;
use logboom_config::{Source, UdpSource};
use rustix::net::sockopt;
use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Shared;
use super::datagram::{Socket, run};
use super::tcp::cannot_listen;
use crate::source::{Context, Running};

/// Opens a UDP socket.
///
/// # Errors
/// Says what is wrong with the address and how to mend it.
pub(in crate::source) async fn open_udp(
    source: Source,
    settings: UdpSource,
    context: Context,
    stop: CancellationToken,
) -> Result<Running, String> {
    let (socket, granted) = bind(&settings).map_err(|error| cannot_listen(settings.listen, "UDP", &error))?;
    let address = socket.local_addr().unwrap_or(settings.listen);
    if granted < settings.receive_buffer {
        let (name, wanted) = (&source.name, settings.receive_buffer);
        warn!(
            source = name,
            "the kernel grants a receive buffer of {granted} bytes instead of {wanted}: raise net.core.rmem_max, or bursts are lost"
        );
    }
    info!(source = source.name, %address, "listening (UDP)");
    Ok(run(Socket::Udp(socket), Shared::new(source, context), stop).boxed())
}

/// The socket, and the bytes that the kernel grants it for datagrams that wait.
pub(super) fn bind(settings: &UdpSource) -> io::Result<(UdpSocket, usize)> {
    let socket = StdSocket::bind(settings.listen)?;
    // Beyond the host's limit where we may; else as far as the limit goes.
    if sockopt::set_socket_recv_buffer_size_force(&socket, settings.receive_buffer).is_err() {
        sockopt::set_socket_recv_buffer_size(&socket, settings.receive_buffer)?;
    }
    // The kernel doubles what it is asked for, to have room for its own books.
    let granted = sockopt::socket_recv_buffer_size(&socket)? / 2;
    socket.set_nonblocking(true)?;
    Ok((UdpSocket::from_std(socket)?, granted))
}
