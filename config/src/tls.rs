//! TLS: which files. What is in them is for those who open connections.

use std::path::PathBuf;

use crate::error::Error;
use crate::section::{Section, Value};

/// The most bytes of a path.
const PATH_BYTES_MAX: usize = 4096;

/// TLS on a listener. The files are in PEM, and read again when they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The certificate chain, the listener's own first.
    pub cert_file: PathBuf,
    /// Its private key.
    pub key_file: PathBuf,
    /// Certificates of which one must have signed a client's; none asks for no certificate.
    pub client_ca_file: Option<PathBuf>,
}

/// TLS to a server. The files are in PEM, and read again when they change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientTls {
    /// Certificates of which one must have signed the server's.
    pub ca_file: PathBuf,
    /// The certificate chain to show where one is asked for, and its private key.
    pub cert_and_key_files: Option<(PathBuf, PathBuf)>,
    /// The name that the server's certificate must be for; none is the one by which it is reached.
    pub server_name: Option<String>,
}

impl Tls {
    pub(crate) fn read(section: &Section<'_>) -> Result<Option<Tls>, Error> {
        let client_ca_file = file(section, "tls_client_ca_file")?;
        match cert_and_key(section)? {
            Some((cert_file, key_file)) => Ok(Some(Tls { cert_file, key_file, client_ca_file })),
            None if client_ca_file.is_some() => {
                Err(section.wrong("tls_client_ca_file", "needs `tls_cert_file` and `tls_key_file`; set all three"))
            }
            None => Ok(None),
        }
    }
}

impl ClientTls {
    pub(crate) fn read(section: &Section<'_>) -> Result<Option<ClientTls>, Error> {
        let cert_and_key_files = cert_and_key(section)?;
        let server_name = section.given("tls_server_name").map(|name| name.name(253)).transpose()?;
        if let Some(ca_file) = file(section, "tls_ca_file")? {
            return Ok(Some(ClientTls { ca_file, cert_and_key_files, server_name }));
        }
        let others = [("tls_cert_file", cert_and_key_files.is_some()), ("tls_server_name", server_name.is_some())];
        match others.iter().find(|(_, given)| *given) {
            Some((key, _)) => Err(section.wrong(key, "needs `tls_ca_file`, which turns TLS on; set it")),
            None => Ok(None),
        }
    }
}

fn cert_and_key(section: &Section<'_>) -> Result<Option<(PathBuf, PathBuf)>, Error> {
    match (file(section, "tls_cert_file")?, file(section, "tls_key_file")?) {
        (Some(cert), Some(key)) => Ok(Some((cert, key))),
        (Some(_), None) => Err(section.wrong("tls_cert_file", "needs `tls_key_file`; set both")),
        (None, Some(_)) => Err(section.wrong("tls_key_file", "needs `tls_cert_file`; set both")),
        (None, None) => Ok(None),
    }
}

fn file(section: &Section<'_>, name: &str) -> Result<Option<PathBuf>, Error> {
    let path = |value: Value<'_>| value.name(PATH_BYTES_MAX).map(PathBuf::from);
    section.given(name).map(path).transpose()
}
