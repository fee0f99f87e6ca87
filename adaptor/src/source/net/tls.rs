//! TLS on a listener: certificates from files, versions 1.2 and 1.3.

use std::path::Path;
use std::sync::Arc;

use logboom_config::Tls;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

/// Reads the files. `protocols` are those of ALPN that the listener speaks, the preferred first.
///
/// # Errors
/// Says which file is wrong and how to mend it.
pub(super) fn acceptor(settings: &Tls, protocols: &[&[u8]]) -> Result<TlsAcceptor, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?;
    let builder = match &settings.client_ca_file {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(file, "tls_client_ca_file")? {
                roots.add(certificate).map_err(|error| wrong("tls_client_ca_file", file, error))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| wrong("tls_client_ca_file", file, error))?)
        }
    };
    let chain = certificates(&settings.cert_file, "tls_cert_file")?;
    let key = PrivateKeyDer::from_pem_file(&settings.key_file)
        .map_err(|error| wrong("tls_key_file", &settings.key_file, error))?;
    let mut config = builder.with_single_cert(chain, key).map_err(|error| {
        format!(
            "the key in `{}` does not go with the certificate in `{}`: {error}",
            settings.key_file.display(),
            settings.cert_file.display()
        )
    })?;
    // A client that only sends never reads them, and closing a socket with something unread in it discards what is still
    // on its way: the end of what it sent would be lost.
    config.send_tls13_tickets = 0;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(file: &Path, key: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let certificates = read.map_err(|error| wrong(key, file, error))?;
    match certificates.is_empty() {
        true => Err(wrong(key, file, "it holds no certificate")),
        false => Ok(certificates),
    }
}

fn wrong(key: &str, file: &Path, error: impl std::fmt::Display) -> String {
    format!(
        "`{key}` names the file `{}`, which cannot be used: {error}; it must be PEM that this user may read",
        file.display()
    )
}
