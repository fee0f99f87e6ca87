//! Who gets to a collector, who does not, and that nothing is lost by it either way.
//!
//! - `refusals`: certificates, tokens and grants that are wrong, until they are right
//! - `rotation`: all of them change under load
//! - `peers`: those who speak something else, or not at all, or fail again and again
//! - `tail`: the HTTP port

mod peers;
mod refusals;
mod rotation;
mod tail;

use std::fs;
use std::path::Path;

use logboom_config::TokenHash;

use crate::harness::{Authority, PATIENCE, Pipeline, Plan};

/// Settings of a collector that speaks TLS and asks for certificates and the token of a client; the files are in the
/// folder of everything, where processes run.
const COLLECTOR: &str = r#"flush_interval = "200ms"
http = ""
tls_cert_file = "collector.pem"
tls_key_file = "collector.key"
tls_client_ca_file = "clients.pem"
[[collector.client]]
name = "web"
token_hash = "TOKEN_HASH"
cert_name = "web-*.example"
categories = ["*"]
hosts = ["adaptor-*"]
"#;
const ADAPTOR: &str = r#"drain_timeout = "20s"
tls_ca_file = "servers.pem"
tls_cert_file = "adaptor.pem"
tls_key_file = "adaptor.key"
token_file = "token"
"#;
const TOKEN: &str = "swordfish";
/// A token that nobody knows.
const WRONG: &str = "barracuda";

/// A pipeline whose wire is secured, and those who sign its certificates.
struct Secured {
    pipeline: Pipeline,
    ours: Authority,
    other: Authority,
}

impl Secured {
    /// Lays everything out so that it works. Nothing is started.
    fn new(plan: Plan) -> Self {
        let pipeline = Pipeline::new(Plan { collector: COLLECTOR, adaptor: ADAPTOR, ..plan });
        let [ours, other] = ["ours", "other"].map(|name| Authority::new(pipeline.folder(), name));
        let secured = Self { pipeline, ours, other };
        fs::copy(secured.ours.pem(), secured.file("servers.pem")).unwrap();
        fs::copy(secured.ours.pem(), secured.file("clients.pem")).unwrap();
        secured.collector_certificate(&secured.ours, 2099);
        secured.adaptor_certificate(&secured.ours, 2099);
        fs::write(secured.file("token"), TOKEN).unwrap();
        secured.edit("collector", "TOKEN_HASH", &TokenHash::of(TOKEN).to_string());
        secured
    }

    /// Starts everything; there is a table then.
    fn start(&mut self) {
        self.pipeline.start_collectors();
        for collector in &self.pipeline.collectors {
            collector.node.wait_for("collector started", PATIENCE);
        }
        self.pipeline.start_adaptors();
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.pipeline.folder().join(name)
    }

    fn collector_certificate(&self, by: &Authority, last_year: i32) {
        self.put(by.sign("collector", last_year), "collector");
    }

    fn adaptor_certificate(&self, by: &Authority, last_year: i32) {
        self.put(by.sign_for(&["web-1.example"], "adaptor", last_year), "adaptor");
    }

    fn put(&self, (certificate, key): (std::path::PathBuf, std::path::PathBuf), name: &str) {
        fs::copy(certificate, self.file(&format!("{name}.pem"))).unwrap();
        fs::copy(key, self.file(&format!("{name}.key"))).unwrap();
    }

    /// Changes the settings of every node of a role.
    fn edit(&self, role: &str, from: &str, to: &str) {
        let mut found = false;
        for entry in fs::read_dir(self.pipeline.folder()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if name.starts_with(role) && name.ends_with(".toml") {
                found |= edit(&path, from, to);
            }
        }
        assert!(found, "there is no {from} in the settings of {role}");
    }
}

/// Replaces a file at once, as those do who are careful. Whether there was something to change.
fn edit(path: &Path, from: &str, to: &str) -> bool {
    let text = fs::read_to_string(path).unwrap();
    let (new, changed) = (path.with_extension("new"), text.replace(from, to));
    fs::write(&new, &changed).unwrap();
    fs::rename(&new, path).unwrap();
    text != changed
}
