//! Unix domain sockets: binding them, and the file that names them.
//!
//! The order in [`bind`] matters: the socket has its permissions before its file appears, and its owner before anybody
//! can connect, so nobody whom the operator shut out gets in meanwhile.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use logboom_config::UnixSource;
use rustix::fs::{Mode, fchmod};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, listen, socket_with};
use tokio::net::{UnixDatagram, UnixListener};
use tracing::info;

use super::datagram::DatagramSocket;
use super::listener::{Allowed, Listener};
use super::owner::Owner;
use super::tcp;

/// Longest path of a socket, in bytes: what the kernel has room for.
const PATH_BYTES_MAX: usize = 107;

/// Binds a Unix socket that takes connections.
///
/// # Errors
/// Says what is wrong with the path or the owner and how to mend it.
pub(crate) fn bind_unix_stream(source: &str, settings: &UnixSource) -> Result<(Listener, Allowed), String> {
    let (socket, file) = bind(settings, SocketType::STREAM)?;
    let listener = UnixListener::from_std(socket.into()).map_err(|error| unusable(settings, &error))?;
    info!(source, path = %settings.path.display(), "listening (Unix socket)");
    let allowed = Allowed { connections: settings.max_connections, idle: settings.idle_timeout };
    Ok((Listener::Unix(listener, file), allowed))
}

/// Binds a Unix socket that takes datagrams.
///
/// # Errors
/// As [`bind_unix_stream`].
pub(in crate::source) fn bind_unix_datagram(source: &str, settings: &UnixSource) -> Result<DatagramSocket, String> {
    let (socket, file) = bind(settings, SocketType::DGRAM)?;
    let socket = UnixDatagram::from_std(socket.into()).map_err(|error| unusable(settings, &error))?;
    info!(source, path = %settings.path.display(), "listening (Unix socket)");
    Ok(DatagramSocket::Unix(socket, file))
}

fn unusable(settings: &UnixSource, error: &io::Error) -> String {
    format!("cannot use the socket `{}`: {error}", settings.path.display())
}

/// The file of a socket that we bound; removed when this is dropped, at the latest.
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Device and inode.
    identity: (u64, u64),
}

impl SocketFile {
    /// Removes the file, unless another has taken its place.
    pub(super) fn remove(&self) {
        let found = self.path.symlink_metadata().map(|file| (file.dev(), file.ino()));
        if found.is_ok_and(|identity| identity == self.identity) {
            // If it fails the file stays, and the next start finds that nobody answers there.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

fn bind(settings: &UnixSource, kind: SocketType) -> Result<(OwnedFd, SocketFile), String> {
    let path = &settings.path;
    let shown = path.display();
    let length = path.as_os_str().as_bytes().len();
    if length > PATH_BYTES_MAX {
        return Err(format!(
            "the path `{shown}` has {length} bytes, but a socket's path has room for {PATH_BYTES_MAX}: set a shorter `path`"
        ));
    }
    let owner = settings.owner.as_deref().map(Owner::resolve).transpose()?;
    let address = SocketAddrUnix::new(path).map_err(|error| format!("`{shown}` cannot name a socket: {error}"))?;
    clear(path, &address)?;

    let failed = |error: io::Error| {
        let fix = match error.kind() {
            io::ErrorKind::NotFound => "; create its folder first",
            io::ErrorKind::PermissionDenied => "; give the adaptor's user the right to write its folder",
            _ => "",
        };
        format!("cannot create the socket `{shown}`: {error}{fix}")
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, kind, flags, None).map_err(|error| failed(error.into()))?;
    // The file takes its permissions from the socket, less the umask; and while it has another owner than it should
    // have, nobody else is let in.
    let first = if owner.is_some() { 0o600 } else { settings.mode };
    fchmod(&socket, Mode::from_raw_mode(first)).map_err(|error| failed(error.into()))?;
    rustix::net::bind(&socket, &address).map_err(|error| failed(error.into()))?;
    let bound = path.symlink_metadata().map_err(failed)?;
    let file = SocketFile { path: path.clone(), identity: (bound.dev(), bound.ino()) };
    if let Some(Owner { user, group }) = owner {
        chown(path, user, group).map_err(|error| {
            format!("cannot give the socket `{shown}` its owner: {error}; run the adaptor as root or remove `owner`")
        })?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(settings.mode)).map_err(failed)?;
    if kind == SocketType::STREAM {
        listen(&socket, tcp::BACKLOG as i32).map_err(|error| failed(error.into()))?;
    }
    Ok((socket, file))
}

/// Removes the file of a socket that nobody holds any more. Fails when there is anything else at `path`.
fn clear(path: &Path, address: &SocketAddrUnix) -> Result<(), String> {
    let shown = path.display();
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(format!("cannot look at `{shown}`: {error}")),
        Ok(file) if !file.file_type().is_socket() => {
            return Err(format!("`{shown}` exists and is not a socket: remove it or set another `path`"));
        }
        Ok(_) => {}
    }
    // A socket that is held by somebody, of whatever kind, gives any answer but this one.
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let probe = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(|error| format!("cannot create a socket: {error}"))?;
    match connect(&probe, address) {
        Err(Errno::CONNREFUSED) => match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(format!("cannot remove the old socket `{shown}`: {error}; remove it"))
            }
            _ => Ok(()),
        },
        Err(Errno::NOENT) => Ok(()),
        Err(Errno::ACCESS) => {
            Err(format!("`{shown}` is a socket that this user may not use: remove it or set another `path`"))
        }
        _ => Err(format!("another program listens at `{shown}`: stop it or set another `path`")),
    }
}
