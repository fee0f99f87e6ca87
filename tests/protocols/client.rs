//! A script that sends records with a client library.
//!
//! It is called with an address and a file of records, one JSON object a line: `{"category": …, "body_base64": …}`. It
//! sends them in order, again where they were not acknowledged, says `acked N` as soon as record N (from 0) is
//! acknowledged (`sent N` where the protocol has no acknowledgements), and ends when all are.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::Protocol;

/// What runs a script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interpreter {
    Python,
    Node,
    Shell,
    /// Compiled first.
    Go,
}

/// A client that is fed as it goes.
pub struct Client {
    child: Child,
    input: Option<ChildStdin>,
    said: Arc<AtomicU64>,
    reader: JoinHandle<()>,
}

impl Client {
    /// Starts the script of `protocol`; `acknowledged` is called with each index. `None` when its interpreter or the
    /// packages are not there.
    pub fn start(protocol: &Protocol, address: &str, acknowledged: impl Fn(u64) + Send + 'static) -> Option<Client> {
        Self::start_with(protocol, address, &[], acknowledged)
    }

    /// The same with additions to its environment.
    pub fn start_with(
        protocol: &Protocol,
        address: &str,
        environment: &[(&str, PathBuf)],
        acknowledged: impl Fn(u64) + Send + 'static,
    ) -> Option<Client> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(protocol.script);
        let mut command = match protocol.interpreter {
            Interpreter::Python => Command::new(setting("LOGBOOM_TEST_PYTHON")?),
            Interpreter::Node => {
                let mut command = Command::new("node");
                command.env("NODE_PATH", setting("LOGBOOM_TEST_NODE_MODULES")?);
                command
            }
            Interpreter::Shell => Command::new("bash"),
            Interpreter::Go => Command::new(built(&script)?),
        };
        command.envs(environment.iter().map(|(name, path)| (name, path)));
        match protocol.interpreter {
            // Of every connection that breaks it complains many thousand times, all in one line.
            Interpreter::Go => drop(command.stderr(Stdio::null())),
            _ => drop(command.arg(script)),
        }
        command.args([address, "/dev/stdin"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let said = Arc::new(AtomicU64::new(0));
        let reader = std::thread::spawn({
            let said = said.clone();
            move || {
                for line in output.lines().map_while(Result::ok) {
                    if let Some(index) = line.strip_prefix("acked ").or_else(|| line.strip_prefix("sent ")) {
                        acknowledged(index.trim().parse().unwrap_or_else(|_| panic!("the client says {line:?}")));
                        said.fetch_add(1, Ordering::SeqCst);
                    }
                }
            }
        });
        Some(Client { input: child.stdin.take(), child, said, reader })
    }

    /// Has it send one more record; waits while the pipe is full. Whether it still listens.
    pub fn feed(&mut self, category: &str, body: &[u8]) -> bool {
        let input = self.input.as_mut().expect("not finished");
        // In this order, for the script in shell takes it apart without a parser.
        let line = format!(r#"{{"category": "{category}", "body_base64": "{}"}}"#, BASE64_STANDARD.encode(body));
        writeln!(input, "{line}").and_then(|()| input.flush()).is_ok()
    }

    /// How many records it has said to be acknowledged.
    pub fn said(&self) -> u64 {
        self.said.load(Ordering::SeqCst)
    }

    /// The same, for somebody else to ask.
    pub fn said_counter(&self) -> impl Fn() -> u64 + use<> {
        let said = self.said.clone();
        move || said.load(Ordering::SeqCst)
    }

    /// Nothing more will be fed.
    pub fn end_input(&mut self) {
        self.input = None;
    }

    /// Waits for its end, which comes when all is acknowledged.
    #[track_caller]
    pub fn finish(mut self, limit: Duration) -> u64 {
        self.end_input();
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if begun.elapsed() > limit {
                let _ = self.child.kill();
                panic!("the client has not ended within {limit:?}; it has said {} acknowledged", self.said());
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        assert!(status.success(), "the client failed: {status}");
        self.reader.join().unwrap();
        self.said.load(Ordering::SeqCst)
    }
}

/// The program behind the one script in Go, which is compiled once. It needs Debian's packages, not the network.
fn built(script: &Path) -> Option<&'static Path> {
    static PROGRAM: OnceLock<Option<PathBuf>> = OnceLock::new();
    let build = || {
        let program = Path::new(env!("CARGO_TARGET_TMPDIR")).join(script.file_stem()?);
        let mut go = Command::new("go");
        go.args(["build", "-o"]).args([&program, script]);
        go.env("GO111MODULE", "off").env("GOPATH", "/usr/share/gocode").env("GOFLAGS", "");
        let status = go.env("GOCACHE", program.with_extension("cache")).status();
        let built = matches!(status, Ok(status) if status.success());
        if !built {
            println!("no Go, or not its packages (tests/clients/packages.txt): not tested with the real client");
        }
        built.then_some(program)
    };
    PROGRAM.get_or_init(build).as_deref()
}

fn setting(name: &str) -> Option<String> {
    let value = std::env::var(name).ok();
    if value.is_none() {
        println!("no {name}: not tested with the real client");
    }
    value
}
