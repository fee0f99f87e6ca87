//! UDP.

use std::io;
use std::net::UdpSocket as StdSocket;

use logboom_config::UdpSource;
use rustix::net::sockopt;
use tokio::net::UdpSocket;
use tracing::{info, warn};

use super::datagram::DatagramSocket;
use super::tcp::cannot_listen;

/// Binds a UDP socket.
///
/// # Errors
/// Says what is wrong with the address and how to mend it.
pub(in crate::source) fn bind_udp(source: &str, settings: &UdpSource) -> Result<DatagramSocket, String> {
    let (socket, granted) = bind(settings).map_err(|error| cannot_listen(settings.listen, "UDP", &error))?;
    let address = socket.local_addr().unwrap_or(settings.listen);
    let wanted = settings.receive_buffer;
    if granted < wanted {
        warn!(
            source,
            "the kernel grants a receive buffer of {granted} bytes instead of {wanted}: raise net.core.rmem_max, or bursts are lost"
        );
    }
    info!(source, %address, "listening (UDP)");
    Ok(DatagramSocket::Udp(socket))
}

/// The socket, and the bytes that the kernel grants it for datagrams that wait.
pub(in crate::source) fn bind(settings: &UdpSource) -> io::Result<(UdpSocket, usize)> {
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
