//! What becomes of requests: [`decoding`]. How they are answered: [`answers`].

mod answers;
mod decoding;

use std::net::SocketAddr;

use logboom_config::{HttpSource, Source, SourceKind, TcpSource};
use tokio::task::JoinHandle;

use crate::source::testing::{Rig, free_address};

impl Rig {
    async fn http(
        &self,
        of_source: impl FnOnce(&mut Source),
        of_http: impl FnOnce(&mut HttpSource),
    ) -> (SocketAddr, JoinHandle<()>) {
        let address = free_address();
        let mut http = HttpSource { tcp: TcpSource::at(address), ..HttpSource::default() };
        of_http(&mut http);
        let mut source = Source::new("in", SourceKind::Http(http));
        of_source(&mut source);
        (address, self.open(source).await)
    }
}
