//! TLS 1.2 and 1.3 by the files of the settings, and what its errors mean.

use std::io;
use std::path::Path;
use std::sync::Arc;

use logboom_config::{ClientTls as ClientSettings, Tls as ServerSettings};
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{AlertDescription, CertificateError, ClientConfig, Error, RootCertStore, ServerConfig};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::Live;

/// What a peer has shown to prove who it is. It was signed by an authority that was trusted then.
#[derive(Clone)]
pub struct Certificate {
    chain: Arc<[CertificateDer<'static>]>,
}

impl Certificate {
    pub(crate) fn new(chain: &[CertificateDer<'static>]) -> Self {
        Self { chain: chain.into() }
    }

    /// The DNS names that it is for (subject alternative names). The common name is none: RFC 9525, section 2.
    pub fn names(&self) -> Vec<String> {
        let parsed = self.chain.first().and_then(|own| webpki::EndEntityCert::try_from(own).ok());
        parsed.map(|own| own.valid_dns_names().map(str::to_owned).collect()).unwrap_or_default()
    }
}

/// TLS on a listener.
pub struct ServerTls(Live<Server>);

struct Server {
    config: Arc<ServerConfig>,
    verifier: Option<Arc<dyn ClientCertVerifier>>,
}

impl ServerTls {
    /// Reads the files of listener `what`. `protocols` are those of ALPN that it speaks, the preferred first.
    ///
    /// # Errors
    /// Says which file is wrong and how to mend it.
    pub fn open(what: &str, settings: &ServerSettings, protocols: &[&[u8]]) -> Result<Self, String> {
        let files = [Some(&settings.cert_file), Some(&settings.key_file), settings.client_ca_file.as_ref()];
        let files: Vec<_> = files.into_iter().flatten().cloned().collect();
        let (settings, protocols) = (settings.clone(), protocols.iter().map(|it| it.to_vec()).collect::<Vec<_>>());
        Live::new(format!("TLS of {what}"), files, move || server(&settings, &protocols)).map(Self)
    }

    /// What accepts a connection by the files as they are now.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.current().config.clone())
    }

    /// Whether a peer that has shown `certificate` would still be let in.
    ///
    /// # Errors
    /// Why it would not.
    pub fn check(&self, certificate: &Certificate) -> Result<(), String> {
        let (server, Some((own, others))) = (self.0.current(), certificate.chain.split_first()) else { return Ok(()) };
        let Some(verifier) = &server.verifier else { return Ok(()) };
        let checked = verifier.verify_client_cert(own, others, UnixTime::now());
        checked.map(drop).map_err(|error| said(&error))
    }

    /// Looks whether the files have changed, if that was not done lately.
    pub fn look(&self) {
        self.0.current();
    }
}

fn server(settings: &ServerSettings, protocols: &[Vec<u8>]) -> Result<Server, String> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?;
    let verifier = settings.client_ca_file.as_ref().map(|file| {
        let roots = Arc::new(roots(file, "tls_client_ca_file")?);
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
        verifier.map_err(|error| wrong("tls_client_ca_file", file, error))
    });
    let verifier = verifier.transpose()?;
    let builder = match verifier.clone() {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(verifier),
    };
    let (chain, key) = chain_and_key(&settings.cert_file, &settings.key_file)?;
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| mismatch(&settings.cert_file, &settings.key_file, &error))?;
    // A client that only sends never reads them, and closing a socket with something unread in it discards what is still
    // on its way: the end of what it sent would be lost.
    config.send_tls13_tickets = 0;
    if verifier.is_some() {
        // Who comes back by an earlier session shows no certificate, and so none that has expired since.
        config.session_storage = Arc::new(NoServerSessionStorage {});
    }
    config.alpn_protocols = protocols.to_vec();
    Ok(Server { config: Arc::new(config), verifier })
}

/// TLS to servers.
pub struct ClientTls {
    live: Live<Client>,
    name: Option<String>,
}

struct Client {
    config: Arc<ClientConfig>,
    verifier: Arc<WebPkiServerVerifier>,
}

impl ClientTls {
    /// Reads the files.
    ///
    /// # Errors
    /// Says which file is wrong and how to mend it.
    pub fn open(what: &str, settings: &ClientSettings) -> Result<Self, String> {
        let own = settings.cert_and_key_files.clone();
        let files = own.into_iter().flat_map(|(cert, key)| [cert, key]).chain([settings.ca_file.clone()]);
        let (settings, name) = (settings.clone(), settings.server_name.clone());
        if let Some(name) = &name {
            server_name(name)?;
        }
        Ok(Self { live: Live::new(format!("TLS of {what}"), files, move || client(&settings))?, name })
    }

    /// Looks whether the files have changed, if that was not done lately.
    pub fn look(&self) {
        self.live.current();
    }

    /// What connects by the files as they are now.
    pub fn connector(&self) -> TlsConnector {
        TlsConnector::from(self.live.current().config.clone())
    }

    /// The settings as other libraries take them.
    pub fn config(&self) -> ClientConfig {
        (*self.live.current().config).clone()
    }

    /// The name that the certificate of a server must be for which is reached as `host:port`.
    ///
    /// # Errors
    /// It is no name that a certificate can be for.
    pub fn server_name(&self, address: &str) -> Result<ServerName<'static>, String> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        server_name(self.name.as_deref().unwrap_or(host))
    }

    /// Whether a server that has shown `certificate` would still be spoken to.
    ///
    /// # Errors
    /// Why it would not.
    pub fn check(&self, certificate: &Certificate, name: &ServerName<'_>) -> Result<(), String> {
        let Some((own, others)) = certificate.chain.split_first() else { return Ok(()) };
        let checked = self.live.current().verifier.verify_server_cert(own, others, name, &[], UnixTime::now());
        checked.map(drop).map_err(|error| said(&error))
    }
}

fn client(settings: &ClientSettings) -> Result<Client, String> {
    let roots = Arc::new(roots(&settings.ca_file, "tls_ca_file")?);
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider()).build();
    let verifier = verifier.map_err(|error| wrong("tls_ca_file", &settings.ca_file, error))?;
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be set up: {error}"))?
        .with_webpki_verifier(verifier.clone());
    let mut config = match &settings.cert_and_key_files {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => {
            let (chain, private) = chain_and_key(cert, key)?;
            builder.with_client_auth_cert(chain, private).map_err(|error| mismatch(cert, key, &error))?
        }
    };
    config.resumption = Resumption::disabled();
    Ok(Client { config: Arc::new(config), verifier })
}

fn server_name(name: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(name.to_owned())
        .map_err(|_| format!("`{name}` is no name that a certificate can be for; set `tls_server_name`"))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn roots(file: &Path, key: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file, key)? {
        roots.add(certificate).map_err(|error| wrong(key, file, error))?;
    }
    Ok(roots)
}

fn chain_and_key(cert: &Path, key: &Path) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
    let chain = certificates(cert, "tls_cert_file")?;
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| wrong("tls_key_file", key, error))?;
    Ok((chain, private))
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

fn mismatch(cert: &Path, key: &Path, error: &Error) -> String {
    format!("the key in `{}` does not go with the certificate in `{}`: {error}", key.display(), cert.display())
}

/// Why a handshake or a connection by TLS failed, for those who run it.
pub fn explain(error: &io::Error) -> String {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(error) => said(error),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "the peer hung up".to_owned(),
        None => error.to_string(),
    }
}

fn said(error: &Error) -> String {
    match error {
        Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateExpired => "the peer refuses our certificate: it has expired".to_owned(),
            AlertDescription::UnknownCA | AlertDescription::DecryptError => {
                "the peer refuses our certificate: it does not trust the authority that signed it".to_owned()
            }
            AlertDescription::CertificateRequired => "the peer asks for a certificate, and we show none".to_owned(),
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRevoked
            | AlertDescription::AccessDenied => format!("the peer refuses our certificate ({alert:?})"),
            alert => format!("the peer ends TLS ({alert:?})"),
        },
        Error::NoCertificatesPresented => "the peer shows no certificate".to_owned(),
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "the peer's certificate is signed by an authority that is not trusted here".to_owned()
        }
        Error::InvalidCertificate(error) => format!("the peer's certificate is wrong: {error}"),
        Error::InvalidMessage(_) => "the peer does not speak TLS".to_owned(),
        error => error.to_string(),
    }
}

pub(crate) fn is_about_certificate(error: &io::Error) -> bool {
    let error = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    matches!(error, Some(Error::NoCertificatesPresented | Error::InvalidCertificate(_)))
}
