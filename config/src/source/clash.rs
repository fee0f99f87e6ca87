//! Two sources that would take the same records in.

use std::net::SocketAddr;

use super::{Source, SourceKind};

/// The key of `new` that clashes with `old`, and why.
pub(super) fn between(new: &Source, old: &Source) -> Option<(&'static str, String)> {
    let other = &old.name;
    match (&new.kind, &old.kind) {
        (SourceKind::File(new), SourceKind::File(old)) => {
            let twice = new.include.iter().find(|glob| old.include.contains(glob))?;
            Some(("include", format!("has `{twice}`, which source `{other}` follows already; remove one of them")))
        }
        (SourceKind::Unix(new), SourceKind::Unix(old)) if new.path == old.path => {
            Some(("path", format!("is the path of source `{other}` too; choose another")))
        }
        (SourceKind::Tcp(new), SourceKind::Tcp(old)) if same(new.listen, old.listen) => {
            Some(("listen", format!("is the address of source `{other}` too; choose another port")))
        }
        (SourceKind::Udp(new), SourceKind::Udp(old)) if same(new.listen, old.listen) => {
            Some(("listen", format!("is the address of source `{other}` too; choose another port")))
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
