//! A source of type `scribe`: Facebook's Scribe, which is Thrift's binary protocol in frames.
//!
//! | file | what it knows |
//! |---|---|
//! | [`wire`] | Thrift: frames, headers, values |
//! | [`calls`] | `Log`: which records a frame holds and how it is answered |
//! | [`fb303`] | every other method |
//!
//! `Log` is answered OK when its messages are on disk, and TRY_LATER when the spool refuses: then none of them was taken.
//! A category of a message that cannot be one (empty, too long, with control characters) becomes the attribute
//! `logboom.category`; one that is not UTF-8 has its odd bytes written as `\xe9`, here and in that attribute.
//!
//! Only framed clients are served, as by the original server (a `TNonblockingServer`, which has no other transport): no
//! client is known that speaks without frames. One that does is told apart in the log.

mod calls;
mod fb303;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::Arc;

use futures::FutureExt;
use logboom_config::{ScribeSource, Source};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::exchange::{self, Shared};
use super::net;
use super::{Context, Inlet, Running};
use calls::Calls;
use fb303::Service;

/// Opens the source.
///
/// # Errors
/// Says what is wrong with the address or the TLS files and how to mend it.
pub(super) fn open(
    source: Source,
    settings: ScribeSource,
    context: Context,
    stop: CancellationToken,
) -> Result<Running, String> {
    open_with(source, settings, context, stop, end_the_adaptor)
}

/// `shutdown` is what a call of that name does when its peer may make it.
fn open_with(
    source: Source,
    settings: ScribeSource,
    context: Context,
    stop: CancellationToken,
    shutdown: fn(),
) -> Result<Running, String> {
    let (listener, allowed) = net::bind_tcp(&source.name, &settings.tcp, &[])?;
    let (inlet, shared) = (Inlet::new(source, context), Shared::new(settings.max_frame));
    let service = Arc::new(Service::new(inlet.clone(), settings, stop.clone(), shutdown));
    let serve = {
        let inlet = inlet.clone();
        move |connection: net::Connection| {
            let calls = Calls::new(service.clone(), connection.peer);
            exchange::serve(inlet.clone(), shared.clone(), calls, connection)
        }
    };
    Ok(async move { net::serve(listener, allowed, inlet, stop, serve).await }.boxed())
}

/// Ends the adaptor as its operator would: it drains.
fn end_the_adaptor() {
    if let Err(error) = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::TERM) {
        warn!(%error, "the adaptor cannot be ended as a call of `shutdown` asks");
    }
}
