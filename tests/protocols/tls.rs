//! TLS with real clients, and those whom it must keep out. The certificates are made by the test.

use std::fs;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use logboom_bench::encode;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::client::Interpreter;
use super::{Answers, Carries, Protocol, delivery};
use crate::harness::{Authority, PATIENCE, Pipeline, Plan, quoted, wait_until};

/// Settings that make a listener speak TLS.
fn server(authority: &Authority) -> String {
    let (certificate, key) = authority.sign("server", 2099);
    format!("tls_cert_file = {}\ntls_key_file = {}", quoted(&certificate), quoted(&key))
}

/// The client must trust the authority, and shows a certificate of it where the listener asks for that.
fn check(protocol: &Protocol, mutual: bool) {
    let folder = tempfile::tempdir().unwrap();
    let authority = Authority::new(folder.path(), "ours");
    let mut source = format!("{}\n{}", protocol.source, server(&authority));
    let mut environment = vec![("LOGBOOM_TEST_CA", authority.pem())];
    if mutual {
        source += &format!("\ntls_client_ca_file = {}", quoted(&authority.pem()));
        let (certificate, key) = authority.sign("client", 2099);
        environment.push(("LOGBOOM_TEST_CLIENT_CERTIFICATE", certificate));
        environment.push(("LOGBOOM_TEST_CLIENT_KEY", key));
    }
    delivery::check_with(protocol, &source, &environment);
}

#[test]
fn syslog_of_rfc_5425() {
    check(
        &Protocol {
            source: "type = \"syslog\"\ntransport = \"tcp\"\nlisten = \"127.0.0.1:{port}\"",
            interpreter: Interpreter::Python,
            script: "syslog.py",
            address: "tls://127.0.0.1:{port}",
            carries: Carries::Bytes,
            answers: Answers::None,
        },
        false,
    );
}

#[test]
fn syslog_by_rsyslog() {
    if !fs::exists("/usr/lib/x86_64-linux-gnu/rsyslog/lmnsd_gtls.so").unwrap() {
        println!("not run: it needs rsyslog-gnutls");
        return;
    }
    check(
        &Protocol {
            source: "type = \"syslog\"\ntransport = \"tcp\"\nlisten = \"127.0.0.1:{port}\"",
            interpreter: Interpreter::Shell,
            script: "rsyslog.sh",
            address: "127.0.0.1:{port}",
            carries: Carries::Line,
            answers: Answers::None,
        },
        false,
    );
}

#[test]
fn forward_by_fluent_org_logger() {
    check(
        &Protocol {
            source: "type = \"forward\"\nlisten = \"127.0.0.1:{port}\"",
            interpreter: Interpreter::Node,
            script: "forward.js",
            address: "127.0.0.1:{port}",
            carries: Carries::Bytes,
            answers: Answers::Each,
        },
        false,
    );
}

#[test]
fn otlp_over_grpc() {
    check(
        &Protocol {
            source: "type = \"otlp\"\ngrpc_listen = \"127.0.0.1:{port}\"\nhttp_listen = \"\"",
            interpreter: Interpreter::Python,
            script: "otlp_grpc.py",
            address: "localhost:{port}",
            carries: Carries::Bytes,
            answers: Answers::Each,
        },
        false,
    );
}

#[test]
fn otlp_over_http_with_client_certificates() {
    check(
        &Protocol {
            source: "type = \"otlp\"\nhttp_listen = \"127.0.0.1:{port}\"\ngrpc_listen = \"\"",
            interpreter: Interpreter::Python,
            script: "otlp_http.py",
            address: "localhost:{port}",
            carries: Carries::Bytes,
            answers: Answers::Each,
        },
        true,
    );
}

#[test]
fn http() {
    check(
        &Protocol {
            source: "type = \"http\"\nlisten = \"127.0.0.1:{port}\"",
            interpreter: Interpreter::Python,
            script: "http_post.py",
            address: "localhost:{port}",
            carries: Carries::Bytes,
            answers: Answers::Each,
        },
        false,
    );
}

/// Posts a record. What is answered.
fn post(address: &str, trusted: &Path, shown: Option<&(PathBuf, PathBuf)>, body: &str) -> io::Result<String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(trusted).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots);
    let config = match shown {
        None => config.with_no_client_auth(),
        Some((certificate, key)) => {
            let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
            config.with_client_auth_cert(chain, PrivateKeyDer::from_pem_file(key).unwrap()).unwrap()
        }
    };
    let connection = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost").unwrap()).unwrap();
    exchange(StreamOwned::new(connection, connect(address)), body)
}

fn connect(address: &str) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    socket
}

fn exchange(mut stream: impl Read + Write, body: &str) -> io::Result<String> {
    stream.write_all(&encode::http("/v1/logs/tls", "text/plain", body.as_bytes()))?;
    let mut answer = [0; 4096];
    let length = stream.read(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

#[test]
fn who_cannot_show_who_it_is_or_speaks_in_the_clear_is_kept_out() {
    let folder = tempfile::tempdir().unwrap();
    let [ours, other] = ["ours", "other"].map(|name| Authority::new(folder.path(), name));
    let source = format!(
        "type = \"http\"\nlisten = \"127.0.0.1:{{port}}\"\n{}\ntls_client_ca_file = {}",
        server(&ours),
        quoted(&ours.pem())
    );
    let mut pipeline = Pipeline::with_source(Plan::default(), &source);
    pipeline.start_collectors();
    pipeline.start_adaptors();
    let address = pipeline.address_of("127.0.0.1:{port}");
    let (good, expired, foreign) = (ours.sign("good", 2099), ours.sign("expired", 2020), other.sign("foreign", 2099));

    let refused = |what: &str, answer: io::Result<String>| match answer {
        Err(error) => println!("{what}: {error}"),
        Ok(answer) => assert!(!answer.starts_with("HTTP/1.1 200"), "{what}: {answer}"),
    };
    refused("a listener that the client does not trust", post(&address, &other.pem(), Some(&good), "untrusted"));
    refused("no certificate", post(&address, &ours.pem(), None, "unnamed"));
    refused("a certificate of another authority", post(&address, &ours.pem(), Some(&foreign), "foreign"));
    refused("an expired certificate", post(&address, &ours.pem(), Some(&expired), "expired"));
    refused("in the clear", exchange(connect(&address), "in the clear"));
    let answer = post(&address, &ours.pem(), Some(&good), "welcome").unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");

    wait_until("the record is in the table", PATIENCE, || !pipeline.rows().is_empty());
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(pipeline.rows(), [b"welcome"]);
}

#[test]
fn a_listener_takes_new_certificates_and_tokens_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let [ours, other] = ["ours", "other"].map(|name| Authority::new(folder.path(), name));
    let token = folder.path().join("token");
    fs::write(&token, "not this one").unwrap();
    let source =
        format!("type = \"http\"\nlisten = \"127.0.0.1:{{port}}\"\n{}\ntoken_file = {}", server(&ours), quoted(&token));
    let mut pipeline = Pipeline::with_source(Plan::default(), &source);
    pipeline.start_collectors();
    pipeline.start_adaptors();
    let address = pipeline.address_of("127.0.0.1:{port}");
    assert!(post(&address, &ours.pem(), None, "early").unwrap().starts_with("HTTP/1.1 401"));

    // A certificate without its key is not taken, and what there was goes on.
    let (mine, theirs) = (ours.folder.join("server"), other.sign("server", 2099));
    fs::copy(&theirs.0, mine.with_extension("pem")).unwrap();
    pipeline.adaptors[0].node.wait_for("changed files cannot be used", PATIENCE);
    assert!(post(&address, &ours.pem(), None, "early").unwrap().starts_with("HTTP/1.1 401"));
    fs::copy(&theirs.1, mine.with_extension("key")).unwrap();
    fs::write(&token, "").unwrap();
    wait_until("the new certificate is shown", PATIENCE, || post(&address, &other.pem(), None, "early").is_ok());
    assert!(post(&address, &ours.pem(), None, "early").is_err());
    // No token at all is a broken file and not an open door; the hash of none is not that of "".
    assert!(post(&address, &other.pem(), None, "early").unwrap().starts_with("HTTP/1.1 401"));
    assert!(pipeline.rows().is_empty());
}
