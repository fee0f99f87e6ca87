//! Two sources that would take the same records in.

use std::net::SocketAddr;

use super::{Source, SourceKind};

/// The key of `new` that clashes with `old`, and why.
pub(super) fn between(new: &Source, old: &Source) -> Option<(&'static str, String)> {
    let other = &old.name;
    if let (Some(new), Some(old)) = (new.kind.unix_socket(), old.kind.unix_socket())
        && new.path == old.path
    {
        return Some(("path", format!("is the path of source `{other}` too; choose another")));
    }
    let tcp = |kind: &SourceKind| kind.tcp_listeners().iter().map(|tcp| tcp.listen).collect::<Vec<_>>();
    let udp = |kind: &SourceKind| kind.udp_listener().map(|udp| vec![udp.listen]).unwrap_or_default();
    let both =
        |new: Vec<SocketAddr>, old: Vec<SocketAddr>| new.iter().any(|new| old.iter().any(|old| same(*new, *old)));
    if both(tcp(&new.kind), tcp(&old.kind)) || both(udp(&new.kind), udp(&old.kind)) {
        let key = if matches!(new.kind, SourceKind::Otlp(_)) { "grpc_listen" } else { "listen" };
        return Some((key, format!("is the address of source `{other}` too; choose another port")));
    }
    match (&new.kind, &old.kind) {
        (SourceKind::File(new), SourceKind::File(old)) => {
            let twice = new.include.iter().find(|glob| old.include.contains(glob))?;
            Some(("include", format!("has `{twice}`, which source `{other}` follows already; remove one of them")))
        }
        (SourceKind::Stdin, SourceKind::Stdin) => {
            Some(("type", format!("is \"stdin\", which source `{other}` reads already; remove one of them")))
        }
        _ => None,
    }
}

/// Port 0 is whichever port is free, so it clashes with nothing.
fn same(new: SocketAddr, old: SocketAddr) -> bool {
    new == old && new.port() != 0
}
