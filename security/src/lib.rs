//! Who is at the other end of a connection, for adaptor and collector alike: TLS by the files of the settings, and values
//! made of files that are read again when they change.
//!
//! Owns no rule about who may do what: that is for whoever accepted the connection.

mod live;
mod stream;
mod tls;

pub use live::{ASK_INTERVAL, Live};
pub use rustls::pki_types::ServerName;
pub use stream::{Denied, HANDSHAKE_TIMEOUT, Stream, accept, linger};
pub use tls::{Certificate, ClientTls, ServerTls, explain};
