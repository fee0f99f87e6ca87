//! Live control on whole adaptors, whose collector is not there.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use logboom_config::{Settings as AllSettings, Spool as SpoolSettings, TcpSource};
use logboom_config::{Source, SourceKind};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, sleep, timeout};

use super::*;
use crate::Adaptor;
use crate::intake::Intake;
use crate::source::testing::{PATIENCE, free_address};

/// One adaptor after the other on one spool.
struct Home {
    folder: TempDir,
    control: SocketAddr,
    settings: Settings,
    intakes: Mutex<Vec<Intake>>,
}

impl Drop for Home {
    /// A test that fails must not wait for ever for the writers of its adaptors.
    fn drop(&mut self) {
        self.intakes.lock().unwrap().iter().for_each(Intake::close);
    }
}

impl Home {
    fn new(sources: Vec<Source>) -> Self {
        let (folder, control) = (tempfile::tempdir().unwrap(), free_address());
        let settings = Settings {
            spool: SpoolSettings { linger: Duration::ZERO, ..SpoolSettings::at(folder.path().join("spool")) },
            sources,
            collectors: vec!["127.0.0.1:9".to_owned()],
            control: Some(control),
            drain_timeout: Duration::from_secs(1),
            ..Settings::default()
        };
        Self { folder, control, settings, intakes: Mutex::default() }
    }

    async fn start(&self) -> Adaptor {
        let adaptor = Adaptor::start(self.settings.clone()).await.unwrap();
        self.intakes.lock().unwrap().push(adaptor.intake.clone());
        adaptor
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    async fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String) {
        ask(TcpStream::connect(self.control).await.unwrap(), method, path, headers, body).await
    }

    async fn get(&self, path: &str) -> Value {
        let (status, body) = self.ask("GET", path, LOCAL, "").await;
        assert_eq!(status, 200, "{body}");
        serde_json::from_str(&body).unwrap()
    }

    async fn post(&self, settings: &str) -> (u16, Value) {
        let (status, body) = self.ask("POST", "/sources", LOCAL, settings).await;
        (status, serde_json::from_str(&body).unwrap())
    }

    async fn delete(&self, name: &str) -> (u16, Value) {
        let (status, body) = self.ask("DELETE", &format!("/sources/{name}"), LOCAL, "").await;
        (status, serde_json::from_str(&body).unwrap())
    }

    /// Name and whether it runs, of every source.
    async fn running(&self) -> Vec<(String, bool)> {
        let sources = self.get("/sources").await;
        let each = |source: &Value| (source["name"].as_str().unwrap().to_owned(), source["running"].as_bool().unwrap());
        sources.as_array().unwrap().iter().map(each).collect()
    }

    /// Waits until the source has taken this many records; it must never be more.
    async fn records(&self, name: &str, count: u64) {
        let end = Instant::now() + PATIENCE;
        loop {
            let found = self.get(&format!("/sources/{name}")).await["counters"]["records_in"].as_u64().unwrap_or(0);
            assert!(found <= count, "{found} records");
            if found == count {
                return;
            }
            assert!(Instant::now() < end, "only {found} records");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

const LOCAL: &str = "host: localhost\r\n";

async fn ask(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> (u16, String) {
    let length = body.len();
    let request =
        format!("{method} {path} HTTP/1.1\r\n{headers}connection: close\r\ncontent-length: {length}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

fn tcp(address: SocketAddr) -> SourceKind {
    SourceKind::Tcp(TcpSource::at(address))
}

async fn send(address: SocketAddr, lines: &str) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(lines.as_bytes()).await.unwrap();
    stream.shutdown().await.unwrap();
}

/// What the settings file says of the same source.
fn error_of_a_settings_file(source: &str) -> String {
    AllSettings::parse("the request", &format!("[[adaptor.source]]\n{source}")).unwrap_err().to_string()
}

#[tokio::test]
async fn sources_are_listed_each_with_its_own_counts() {
    let (one, two) = (free_address(), free_address());
    let home = Home::new(vec![Source::new("one", tcp(one)), Source::new("t w\"o", tcp(two))]);
    let adaptor = home.start().await;
    send(one, "a\nb\n").await;
    send(two, "c\n").await;
    home.records("one", 2).await;
    home.records("t%20w%22o", 1).await;
    let listed = home.get("/sources").await;
    assert_eq!(listed[0]["type"], "tcp");
    assert_eq!(listed[0]["added"], false);
    assert_eq!(listed[0]["counters"], serde_json::json!({ "records_in": 2, "bytes_in": 2 }));
    assert!(listed[0]["description"].as_str().unwrap().contains(&one.to_string()));
    assert_eq!(adaptor.counters().records_in.get(), 3);
    assert_eq!(adaptor.control_address(), Some(home.control));
    let (_, metrics) = home.ask("GET", "/metrics", LOCAL, "").await;
    for line in [
        "# TYPE logboom_records_in_total counter",
        "logboom_records_in_total{source=\"one\",type=\"tcp\"} 2",
        "logboom_records_in_total{source=\"t w\\\"o\",type=\"tcp\"} 1",
        "logboom_source_running{source=\"one\",type=\"tcp\"} 1",
        "logboom_syncs_failed_total 0",
    ] {
        assert!(metrics.lines().any(|other| other == line), "{line}\n{metrics}");
    }
    assert_eq!(home.ask("GET", "/health", LOCAL, "").await, (200, "ready\n".to_owned()));
    assert_eq!(home.ask("GET", "/", LOCAL, "").await.0, 200);
    adaptor.drain().await;
}

#[tokio::test]
async fn a_source_that_is_added_runs_at_once_and_after_a_restart_until_it_is_removed() {
    let home = Home::new(vec![]);
    let (toml, json) = (free_address(), free_address());
    let adaptor = home.start().await;
    let (status, source) = home.post(&format!("type = \"tcp\"\nlisten = \"{toml}\"\n")).await;
    assert_eq!((status, &source["name"], &source["added"]), (201, &"tcp".into(), &true.into()));
    let (status, source) =
        home.post(&format!(r#"{{"type": "tcp", "listen": "{json}", "attributes": {{"a": "b"}}}}"#)).await;
    assert_eq!((status, &source["name"]), (201, &"tcp-2".into()));
    send(toml, "a\n").await;
    send(json, "a\nb\n").await;
    home.records("tcp", 1).await;
    home.records("tcp-2", 2).await;
    adaptor.drain().await;

    let adaptor = home.start().await;
    assert_eq!(home.running().await, [("tcp".to_owned(), true), ("tcp-2".to_owned(), true)]);
    send(json, "c\n").await;
    home.records("tcp-2", 1).await;
    assert_eq!(home.delete("tcp").await.0, 200);
    assert!(TcpStream::connect(toml).await.is_err());
    adaptor.drain().await;

    let adaptor = home.start().await;
    assert_eq!(home.running().await, [("tcp-2".to_owned(), true)]);
    adaptor.drain().await;
}

#[tokio::test]
async fn a_source_of_the_settings_that_is_removed_is_back_at_the_next_start() {
    let address = free_address();
    let home = Home::new(vec![Source::new("in", tcp(address))]);
    let adaptor = home.start().await;
    send(address, "a\n").await;
    home.records("in", 1).await;
    let (status, answer) = home.delete("in").await;
    assert_eq!(status, 200);
    assert!(answer["until"].as_str().unwrap().contains("next start"));
    assert_eq!(home.running().await, []);
    assert_eq!(adaptor.counters().records_in.get(), 1, "what it counted stays counted");
    assert_eq!(home.delete("in").await.0, 404);
    adaptor.drain().await;
    let adaptor = home.start().await;
    assert_eq!(home.running().await, [("in".to_owned(), true)]);
    adaptor.drain().await;
}

#[tokio::test]
async fn a_source_that_is_removed_hands_over_what_was_sent_to_it() {
    let address = free_address();
    let home = Home::new(vec![Source::new("in", tcp(address))]);
    let adaptor = home.start().await;
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all("x\n".repeat(10_000).as_bytes()).await.unwrap();
    stream.write_all(b"and no end").await.unwrap();
    assert_eq!(home.delete("in").await.0, 200);
    assert_eq!(adaptor.counters().records_in.get(), 10_001);
    adaptor.drain().await;
}

#[tokio::test]
async fn what_is_wrong_with_a_source_is_said_as_of_a_settings_file() {
    let home = Home::new(vec![]);
    let adaptor = home.start().await;
    for source in [
        "type = \"tpc\"",
        "type = \"tcp\"",
        "type = \"tcp\"\nlisten = \"0.0.0.0:1\"",
        "type = \"udp\"\n\nmax_lines = 5\nlisten = \"127.0.0.1:1\"",
        "type = \"stdin\"\ncommand = [\"x\"]",
        "type = \"file\"\ninclude = []",
        "this is not TOML",
        "[[adaptor.source]]\ntype = \"stdin\"",
    ] {
        let (status, answer) = home.post(source).await;
        assert_eq!(status, 400, "{answer}");
        let error = answer["error"].as_str().unwrap();
        if !source.starts_with('[') {
            // One line of heading is not there.
            let expected = error_of_a_settings_file(source);
            let without_line = |text: &str| text.splitn(3, ':').nth(2).unwrap().to_owned();
            assert_eq!(without_line(error), without_line(&expected));
        }
    }
    for body in [r#"{"type": null}"#, r#"{"type""#, "type = \"\u{1}\"", "", "{}"] {
        assert_eq!(home.post(body).await.0, 400, "{body}");
    }
    let long = format!("type = \"stdin\" # {}", "x".repeat(100_000));
    assert_eq!(home.post(&long).await.0, 413);
    assert_eq!(home.running().await, []);
    assert!(!Path::new(&home.path("spool/sources.json")).exists());
    adaptor.drain().await;
}

#[tokio::test]
async fn a_name_or_an_address_that_is_taken_is_a_conflict() {
    let (address, taken) = (free_address(), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let home = Home::new(vec![Source::new("in", tcp(address))]);
    let adaptor = home.start().await;
    let other = free_address();
    for (settings, says) in [
        (format!("type = \"tcp\"\nname = \"in\"\nlisten = \"{other}\""), "adaptor.source.name"),
        (format!("type = \"tcp\"\nname = \"new\"\nlisten = \"{address}\""), "source `in` too"),
        (format!("type = \"tcp\"\nlisten = \"{}\"", taken.local_addr().unwrap()), "another program has it"),
    ] {
        let (status, answer) = home.post(&settings).await;
        assert_eq!(status, 409, "{answer}");
        assert!(answer["error"].as_str().unwrap().contains(says), "{answer}");
    }
    assert_eq!(home.running().await, [("in".to_owned(), true)]);
    adaptor.drain().await;
}

#[tokio::test]
async fn a_file_source_that_is_removed_and_added_again_neither_repeats_nor_loses() {
    let home = Home::new(vec![]);
    let path = home.path("a.log");
    std::fs::write(&path, "1\n2\n").unwrap();
    let settings = format!("type = \"file\"\nname = \"f\"\ninclude = [{path:?}]\npoll_interval = \"10ms\"\n");
    let adaptor = home.start().await;
    assert_eq!(home.post(&settings).await.0, 201);
    home.records("f", 2).await;
    assert_eq!(home.delete("f").await.0, 200);
    std::fs::write(&path, "1\n2\n3\n").unwrap();
    assert_eq!(home.post(&settings).await.0, 201);
    home.records("f", 1).await;
    sleep(Duration::from_millis(100)).await;
    assert_eq!(adaptor.counters().records_in.get(), 3);
    assert_eq!(home.get("/sources/f").await["lag_bytes"], 0);
    adaptor.drain().await;
}

#[tokio::test]
async fn a_file_source_that_is_added_may_start_at_the_end_though_the_spool_is_not_new() {
    let home = Home::new(vec![]);
    let path = home.path("a.log");
    home.start().await.drain().await;
    std::fs::write(&path, "1\n2\n").unwrap();
    let settings =
        format!("type = \"file\"\nname = \"f\"\ninclude = [{path:?}]\npoll_interval = \"10ms\"\nread_from = \"end\"\n");
    let adaptor = home.start().await;
    assert_eq!(home.post(&settings).await.0, 201);
    sleep(Duration::from_millis(100)).await;
    adaptor.drain().await;
    std::fs::write(&path, "1\n2\n3\n").unwrap();
    let adaptor = home.start().await;
    home.records("f", 1).await;
    sleep(Duration::from_millis(100)).await;
    home.records("f", 1).await;
    adaptor.drain().await;
}

#[tokio::test]
async fn a_full_spool_shows_as_lag_and_no_file_is_followed_anew_before_its_position_is_known() {
    let mut home = Home::new(vec![]);
    home.settings.spool = SpoolSettings {
        max_size: 1200 << 10,
        segment_size: 64 << 10,
        block_size: 16 << 10,
        buffer_size: 64 << 10,
        ..home.settings.spool.clone()
    };
    let file = home.path("a.log");
    let lines: String = (0..40_000u64).map(|n| format!("{:x}\n", n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
    std::fs::write(&file, lines.repeat(3)).unwrap();
    let settings = |name: &str, file: &str| format!("type = \"file\"\nname = \"{name}\"\ninclude = [{file:?}]\n");
    let adaptor = home.start().await;
    assert_eq!(home.post(&settings("f", &file)).await.0, 201);
    let end = Instant::now() + PATIENCE;
    while home.get("/sources/f").await["lag_bytes"].as_u64().unwrap() < 100_000 || adaptor.spool.bytes() < 64 << 10 {
        assert!(Instant::now() < end);
        sleep(Duration::from_millis(10)).await;
    }
    // Until memory is full too.
    sleep(Duration::from_millis(500)).await;
    let (status, answer) = home.post(&settings("g", &home.path("b.log"))).await;
    assert_eq!(status, 503, "{answer}");
    assert_eq!(home.delete("f").await.0, 200);
    assert_eq!(home.running().await, []);
    adaptor.drain().await;
}

#[tokio::test]
async fn an_added_source_that_cannot_be_opened_at_a_start_is_listed_with_the_reason() {
    let mut home = Home::new(vec![]);
    let (address, same) = (free_address(), free_address());
    let adaptor = home.start().await;
    for (name, address) in [("taken", address), ("same", same)] {
        let settings = format!("type = \"tcp\"\nname = \"{name}\"\nlisten = \"{address}\"");
        assert_eq!(home.post(&settings).await.0, 201);
    }
    adaptor.drain().await;

    let held = std::net::TcpListener::bind(address).unwrap();
    home.settings.sources = vec![Source::new("in", tcp(same))];
    let adaptor = home.start().await;
    let state = |name: &str, runs| (name.to_owned(), runs);
    assert_eq!(home.running().await, [state("in", true), state("taken", false), state("same", false)]);
    assert!(home.get("/sources/taken").await["error"].as_str().unwrap().contains("another program has it"));
    assert!(home.get("/sources/same").await["error"].as_str().unwrap().contains("source `in` too"));
    assert_eq!(home.delete("same").await.0, 200);
    adaptor.drain().await;

    drop(held);
    let adaptor = home.start().await;
    assert_eq!(home.running().await, [state("in", true), state("taken", true)]);
    adaptor.drain().await;
}

#[tokio::test]
async fn a_damaged_list_of_added_sources_is_set_aside_and_an_unreadable_source_is_kept() {
    let home = Home::new(vec![]);
    let file = home.path("spool/sources.json");
    std::fs::create_dir_all(home.path("spool")).unwrap();
    std::fs::write(&file, "{").unwrap();
    let adaptor = home.start().await;
    assert_eq!(home.running().await, []);
    assert!(!Path::new(&file).exists());
    assert_eq!(std::fs::read_dir(home.path("spool/quarantine")).unwrap().count(), 1);
    adaptor.drain().await;

    let listen = free_address();
    std::fs::write(&file, r#"{"version":1,"added":[{"name":"x","settings":"type = \"of another version\""}]}"#)
        .unwrap();
    let adaptor = home.start().await;
    assert_eq!(home.post(&format!("type = \"tcp\"\nlisten = \"{listen}\"")).await.0, 201);
    let stored = std::fs::read_to_string(&file).unwrap();
    assert!(stored.contains("of another version") && stored.contains(&listen.to_string()), "{stored}");
    assert_eq!(home.delete("x").await.0, 200);
    assert!(!std::fs::read_to_string(&file).unwrap().contains("of another version"));
    adaptor.drain().await;
}

/// What other programs answer at such ports, to their debuggers and to everybody else.
const FORGOTTEN: [&str; 10] = [
    "/debug",
    "/debug/pprof/",
    "/debug/vars",
    "/admin",
    "/config",
    "/env",
    "/actuator",
    "/tasks",
    "/sources/../config",
    "//sources",
];

#[tokio::test]
async fn there_is_no_path_but_those_of_the_help() {
    let home = Home::new(vec![]);
    let adaptor = home.start().await;
    for path in FORGOTTEN {
        assert_eq!(home.ask("GET", path, LOCAL, "").await.0, 404, "{path}");
    }
    for path in ["/", "/health", "/metrics", "/sources"] {
        assert_eq!(home.ask("GET", path, LOCAL, "").await.0, 200, "{path}");
        assert!(HELP.contains(path), "{path}");
    }
    adaptor.drain().await;
}

#[tokio::test]
async fn browsers_and_rebound_names_are_kept_out() {
    let home = Home::new(vec![]);
    let adaptor = home.start().await;
    for (headers, status) in [
        ("host: localhost\r\n", 200),
        ("host: LOCALHOST:14632\r\n", 200),
        ("host: 127.0.0.1:14632\r\n", 200),
        ("host: [::1]:14632\r\n", 200),
        ("host: example.com\r\n", 403),
        ("host: localhost.example.com:80\r\n", 403),
        ("host: 127.0.0.1.example.com\r\n", 403),
        ("host: 10.0.0.1\r\n", 403),
        ("host: localhost\r\nhost: example.com\r\n", 403),
        ("host: localhost\r\norigin: http://localhost\r\n", 403),
        ("host: localhost\r\norigin: null\r\n", 403),
    ] {
        assert_eq!(home.ask("GET", "/sources", headers, "").await.0, status, "{headers}");
    }
    assert_eq!(home.ask("GET", "http://example.com/sources", LOCAL, "").await.0, 403);
    assert_eq!(home.ask("PUT", "/sources", LOCAL, "").await.0, 405);
    assert_eq!(home.ask("DELETE", "/sources/", LOCAL, "").await.0, 404);
    assert_eq!(home.ask("GET", "/nothing", LOCAL, "").await.0, 404);
    adaptor.drain().await;
}

const PROGRAM: &str = "type = \"exec\"\ncommand = [\"echo\", \"hello\"]\ninterval = \"1h\"";

#[tokio::test]
async fn only_who_may_open_the_socket_or_knows_the_token_can_have_programs_run() {
    let mut home = Home::new(vec![]);
    let socket = home.path("control.sock");
    home.settings.control_socket = Some(socket.clone().into());
    let adaptor = home.start().await;
    let (status, answer) = home.post(PROGRAM).await;
    assert_eq!(status, 403, "{answer}");
    let journal = "type = \"journald\"\njournalctl = \"/tmp/anything\"";
    assert_eq!(home.post(journal).await.0, 403);
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
    let stream = UnixStream::connect(&socket).await.unwrap();
    // No browser gets here.
    let (status, answer) = ask(stream, "POST", "/sources", "host: anything\r\n", PROGRAM).await;
    assert_eq!(status, 201, "{answer}");
    home.records("exec", 2).await;
    adaptor.drain().await;
    assert!(!Path::new(&socket).exists());
}

#[tokio::test]
async fn with_a_token_nothing_but_health_is_told_without_it() {
    let mut home = Home::new(vec![]);
    let token = home.path("token");
    std::fs::write(&token, "open sesame\n").unwrap();
    let text = format!("[adaptor]\ncontrol_token_file = {token:?}");
    home.settings.control_token = AllSettings::parse("test", &text).unwrap().adaptor.unwrap().control_token;
    let adaptor = home.start().await;
    let shown = "host: localhost\r\nauthorization: Bearer open sesame\r\n";
    let wrong = "host: localhost\r\nauthorization: Bearer open\r\n";
    for headers in [LOCAL, wrong] {
        for (method, path) in [("GET", "/sources"), ("GET", "/metrics"), ("POST", "/sources"), ("DELETE", "/sources/x")]
        {
            assert_eq!(home.ask(method, path, headers, PROGRAM).await.0, 401);
        }
        assert_eq!(home.ask("GET", "/health", headers, "").await.0, 200);
    }
    assert_eq!(home.ask("POST", "/sources", shown, PROGRAM).await.0, 201);
    adaptor.drain().await;
}

#[tokio::test]
async fn the_default_port_may_be_taken_but_not_one_that_was_given() {
    let mut home = Home::new(vec![]);
    let _taken = std::net::TcpListener::bind(home.control).unwrap();
    let error = Adaptor::start(home.settings.clone()).await.err().unwrap().to_string();
    assert!(error.contains("adaptor.control") && error.contains(&home.control.to_string()), "{error}");
    home.settings.control = Settings::default().control;
    // Whoever has it.
    let _taken = std::net::TcpListener::bind(home.settings.control.unwrap());
    home.start().await.drain().await;
}

#[tokio::test]
async fn of_optional_sources_those_that_fail_are_told_and_the_others_run() {
    let home = Home::new(vec![]);
    let (taken, free) = (std::net::TcpListener::bind("127.0.0.1:0").unwrap(), free_address());
    let optional = vec![Source::new("taken", tcp(taken.local_addr().unwrap())), Source::new("free", tcp(free))];
    let (adaptor, failed) = Adaptor::start_with(home.settings.clone(), optional).await.unwrap();
    assert_eq!(failed.iter().map(|failed| failed.source_name.as_str()).collect::<Vec<_>>(), ["taken"]);
    assert_eq!(home.running().await, [("free".to_owned(), true)]);
    adaptor.drain().await;
}

#[tokio::test]
async fn a_change_that_nobody_waits_for_is_made_all_the_same() {
    let home = Home::new(vec![]);
    let (adaptor, listen) = (home.start().await, free_address());
    let mut stream = TcpStream::connect(home.control).await.unwrap();
    let body = format!("type = \"tcp\"\nlisten = \"{listen}\"");
    let head = format!("POST /sources HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n", body.len());
    stream.write_all((head + &body).as_bytes()).await.unwrap();
    drop(stream);
    let end = Instant::now() + PATIENCE;
    while home.running().await.is_empty() {
        assert!(Instant::now() < end);
        sleep(Duration::from_millis(5)).await;
    }
    assert!(Path::new(&home.path("spool/sources.json")).exists());
    adaptor.drain().await;
}
