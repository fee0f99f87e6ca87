//! Real servers, as processes of the test: one of each kind, from its first use to the end of the test process.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, AtomicU32, Ordering};

/// What `server.sh` can start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code)]
pub enum Kind {
    Moto,
    Ceph,
    Azurite,
}

/// A server with a bucket named `logboom`.
pub struct Server {
    pub kind: Kind,
    pub port: u16,
    /// When it is closed, as at the end of this process, the server ends.
    _input: ChildStdin,
}

/// Azurite's own, which everybody knows.
const AZURITE_KEY: &str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==";

impl Server {
    /// The server of this kind. `None`, with the reason printed: it is not installed.
    pub fn get(kind: Kind) -> Option<&'static Server> {
        static SERVERS: [OnceLock<Option<Server>>; 3] = [const { OnceLock::new() }; 3];
        let server = SERVERS[kind as usize].get_or_init(|| start(kind)).as_ref();
        if server.is_none() {
            println!("skipped: there is no {kind:?} here");
        }
        server
    }

    /// A place that no table was at before.
    pub fn fresh_url(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let scheme = match self.kind {
            Kind::Moto | Kind::Ceph => "s3",
            Kind::Azurite => "az",
        };
        // The server is this process's own.
        format!("{scheme}://logboom/table-{}/a b", NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// The options of a client that reaches it on `port`: its own, or that of a proxy before it.
    pub fn options(&self, port: u16) -> BTreeMap<String, String> {
        let endpoint = format!("http://127.0.0.1:{port}");
        let options: &[(&str, &str)] = match self.kind {
            Kind::Moto | Kind::Ceph => &[
                ("endpoint", &endpoint),
                ("region", "us-east-1"),
                ("access_key_id", "test"),
                ("secret_access_key", "testsecret"),
            ],
            Kind::Azurite => &[
                ("endpoint", &format!("{endpoint}/devstoreaccount1")),
                ("account_name", "devstoreaccount1"),
                ("access_key", AZURITE_KEY),
            ],
        };
        let options = options.iter().chain(&[("allow_http", "true")]);
        options.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }
}

/// Tries twice: a cluster that starts while others are busy may not come up in time.
fn start(kind: Kind) -> Option<Server> {
    try_start(kind).or_else(|| try_start(kind))
}

fn try_start(kind: Kind) -> Option<Server> {
    // The script deletes it: it has to outlive the server, which outlives this process by a moment.
    let folder = tempfile::tempdir().unwrap().keep();
    let port = free_port();
    let name = format!("{kind:?}").to_lowercase();
    let mut command = Command::new("bash");
    command
        .args(["-c", include_str!("server.sh"), "server.sh"])
        .arg(name)
        .arg(&folder)
        .args([port.to_string(), free_port().to_string()]);
    command.env("AZURITE_KEY", AZURITE_KEY).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().ok()?;
    let input = child.stdin.take().expect("it is piped");
    let mut said = String::new();
    BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut said).ok()?;
    if said.trim() != "ready" {
        println!("{kind:?}: {}", if said.is_empty() { "it could not be started" } else { said.trim() });
        if !child.wait().unwrap().success() {
            println!("{kind:?} is installed and does not start; see {}", folder.display());
            return None;
        }
        let _ = std::fs::remove_dir_all(folder);
        return None;
    }
    Some(Server { kind, port, _input: input })
}

/// One outside of the range from which the system takes those of outgoing connections.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 20) as u16 * 100;
    loop {
        let port = 30_000 + (start + NEXT.fetch_add(1, Ordering::Relaxed)) % 2_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
