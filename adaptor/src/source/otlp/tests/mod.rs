//! What becomes of requests: [`decoding`]. How they are answered: [`grpc`], [`http`].

mod decoding;
mod grpc;
mod http;
mod messages;

use std::net::SocketAddr;

use logboom_config::{OtlpSource, Source, SourceKind, TcpSource};
use tokio::task::JoinHandle;

use crate::source::testing::{Rig, free_address};

impl Rig {
    /// A source of type `otlp` with the address of its listener, which serves both ways.
    async fn otlp(
        &self,
        of_source: impl FnOnce(&mut Source),
        of_otlp: impl FnOnce(&mut OtlpSource),
    ) -> (SocketAddr, JoinHandle<()>) {
        let address = free_address();
        let mut otlp = OtlpSource { grpc: None, http: Some(TcpSource::at(address)), ..OtlpSource::default() };
        of_otlp(&mut otlp);
        let mut source = Source::new("in", SourceKind::Otlp(otlp));
        of_source(&mut source);
        (address, self.open(source).await)
    }
}
