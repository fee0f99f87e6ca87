use std::collections::BTreeMap;
use std::time::Duration;

use logboom_config::{ExecSource, Source, SourceKind};
use tokio::time::{Instant, sleep, timeout};

use crate::source::testing::{A_WHILE, PATIENCE, Rig, Seen};

fn settings(script: &str) -> ExecSource {
    ExecSource {
        command: ["sh", "-c", script].map(str::to_owned).into(),
        interval: None,
        timeout: Duration::from_secs(30),
        working_folder: None,
        environment: BTreeMap::new(),
    }
}

/// Far more often than any test takes.
fn once(script: &str) -> ExecSource {
    ExecSource { interval: Some(Duration::from_secs(3600)), ..settings(script) }
}

fn source(settings: ExecSource) -> Source {
    Source::new("job", SourceKind::Exec(settings))
}

/// A duration for `sleep` that no other process on this machine has.
fn nap(number: u32) -> String {
    format!("98{number}.{}", std::process::id())
}

fn is_end(seen: &Seen) -> bool {
    seen.attributes.contains_key("exec.duration_ms")
}

/// The record of how the run ended. Within a block records are in the order of their attributes in common.
fn end(seen: &[Seen]) -> &Seen {
    seen.iter().find(|seen| is_end(seen)).unwrap()
}

fn bodies(seen: &[Seen]) -> Vec<&str> {
    seen.iter().filter(|seen| !is_end(seen)).map(|seen| seen.body.as_str()).collect()
}

/// The records, once the first run has ended.
async fn first_run(rig: &Rig) -> Vec<Seen> {
    until(|| rig.synced.lock().unwrap().iter().any(is_end)).await;
    rig.synced.lock().unwrap().clone()
}

/// Waits until no process with this text in its command line is left.
async fn gone(text: &str) -> bool {
    let end = Instant::now() + PATIENCE;
    while Instant::now() < end {
        if !runs(text) {
            return true;
        }
        sleep(Duration::from_millis(10)).await;
    }
    false
}

fn runs(text: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let mut commands = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    commands.any(|command| String::from_utf8_lossy(&command).split('\0').any(|word| word == text))
}

async fn until(done: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < end, "waited in vain");
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn each_line_is_a_record_that_names_its_stream_and_so_is_the_end() {
    let rig = Rig::new();
    let running = rig.open(source(once("echo a; echo b >&2; printf 'c\\0\\377'; exit 3"))).await;
    let seen = first_run(&rig).await;
    rig.stop(running).await;
    let on = |stream: &str| -> Vec<&str> {
        let of = |seen: &&Seen| seen.attributes.get("exec.stream").is_some_and(|other| other == stream);
        seen.iter().filter(of).map(|seen| seen.body.as_str()).collect()
    };
    assert_eq!(on("stdout"), ["a", "c\0\u{fffd}"]);
    assert_eq!(on("stderr"), ["b"]);
    let end = end(&seen);
    assert_eq!(end.attributes["exec.exit_code"], "3");
    assert!(!end.attributes.contains_key("exec.stream") && end.attributes.contains_key("exec.duration_ms"));
    assert_eq!(end.body, "the command ended with exit code 3");
    assert!(seen.iter().all(|seen| seen.category == "job"));
}

#[tokio::test]
async fn a_command_has_the_folder_and_the_variables_that_are_set_and_no_input() {
    let rig = Rig::new();
    let folder = tempfile::tempdir().unwrap();
    let mut settings = once("pwd -P; echo $COLOUR; cat");
    settings.working_folder = Some(folder.path().to_owned());
    settings.environment.insert("COLOUR".into(), "green".into());
    let running = rig.open(source(settings)).await;
    let seen = first_run(&rig).await;
    let folder = folder.path().canonicalize().unwrap();
    assert_eq!(bodies(&seen), [folder.to_str().unwrap(), "green"]);
    assert_eq!(end(&seen).attributes["exec.exit_code"], "0");
    rig.stop(running).await;
}

#[tokio::test]
async fn a_command_on_an_interval_is_run_again_and_again() {
    let rig = Rig::new();
    let settings = ExecSource { interval: Some(Duration::from_millis(50)), ..settings("echo tick") };
    let running = rig.open(source(settings)).await;
    let seen = rig.records(6).await;
    assert!(seen.iter().filter(|seen| seen.body == "tick").count() >= 3);
    rig.stop(running).await;
}

#[tokio::test]
async fn a_run_that_takes_too_long_is_killed_with_all_that_it_started() {
    let rig = Rig::new();
    let nap = nap(1);
    let settings =
        ExecSource { timeout: A_WHILE, ..once(&format!("trap '' TERM; echo begun; sleep {nap} & sleep {nap}; true")) };
    let running = rig.open(source(settings)).await;
    let seen = first_run(&rig).await;
    assert_eq!(bodies(&seen), ["begun"]);
    assert_eq!(end(&seen).attributes["exec.signal"], "9");
    assert_eq!(end(&seen).attributes["exec.timed_out"], "true");
    assert!(gone(&nap).await);
    assert_eq!(rig.context.counters.commands_timed_out.get(), 1);
    rig.stop(running).await;
}

#[tokio::test]
async fn a_command_that_ends_is_started_again_when_it_is_to_be_kept_running() {
    let rig = Rig::new();
    let running = rig.open(source(settings("echo once"))).await;
    let seen = rig.records(4).await;
    assert!(bodies(&seen).len() >= 2 && seen.iter().filter(|seen| is_end(seen)).count() >= 2, "{seen:?}");
    rig.stop(running).await;
}

#[tokio::test]
async fn a_stopped_source_ends_its_command_gently_and_takes_its_last_words() {
    let rig = Rig::new();
    let nap = nap(2);
    let running =
        rig.open(source(settings(&format!("trap 'echo bye; exit 7' TERM; echo up; sleep {nap} & wait")))).await;
    rig.records(1).await;
    rig.stop(running).await;
    let seen = rig.records(3).await;
    assert_eq!(bodies(&seen), ["up", "bye"]);
    let end = end(&seen);
    assert_eq!((&*end.attributes["exec.exit_code"], &*end.attributes["exec.stopped"]), ("7", "true"));
    assert!(gone(&nap).await);
}

#[tokio::test]
async fn nothing_of_a_command_outlives_the_stop_even_if_it_will_not_end() {
    let rig = Rig::new();
    let nap = nap(3);
    let script = format!("trap '' TERM; echo up; while :; do sleep {nap}; done");
    let running = rig.open(source(settings(&script))).await;
    rig.records(1).await;
    rig.stop.cancel();
    timeout(Duration::from_millis(4500), running).await.expect("it ends before sources are given up").unwrap();
    assert!(gone(&nap).await);
}

#[tokio::test]
async fn a_source_that_is_dropped_leaves_no_process_behind() {
    let rig = Rig::new();
    let nap = nap(4);
    let running = rig.open(source(settings(&format!("echo up; sleep {nap}; true")))).await;
    rig.records(1).await;
    running.abort();
    assert!(gone(&nap).await);
}

#[tokio::test]
async fn what_a_command_leaves_running_is_ended_when_it_says_nothing_more() {
    let rig = Rig::new();
    let nap = nap(5);
    let running = rig.open(source(once(&format!("sleep {nap} & echo started")))).await;
    let seen = first_run(&rig).await;
    assert_eq!(bodies(&seen), ["started"]);
    assert!(gone(&nap).await);
    rig.stop(running).await;
}

#[tokio::test]
async fn a_full_adaptor_makes_the_command_wait_and_loses_nothing() {
    let rig = Rig::new();
    rig.hold(true);
    // More than the intake, the pipe and the buffers hold.
    let (lines, text) = (120_000, "with some more text ".repeat(10));
    let running = rig.open(source(once(&format!("seq -f 'line number %.0f {text}' {lines}")))).await;
    sleep(A_WHILE * 4).await;
    let before = rig.context.counters.records_in.get();
    assert!(before < lines, "{before} lines were taken into memory");
    sleep(A_WHILE).await;
    assert!(runs("seq"), "the command waits");
    rig.hold(false);
    let seen = first_run(&rig).await;
    assert_eq!(seen.len() as u64, lines + 1);
    let right = |(n, body): (usize, &&str)| *body == format!("line number {} {text}", n + 1);
    assert!(bodies(&seen).iter().enumerate().all(right));
    rig.stop(running).await;
}

#[tokio::test]
async fn a_stop_with_a_full_adaptor_ends_in_time_and_counts_what_is_given_up() {
    let rig = Rig::new();
    rig.hold(true);
    let (nap, text) = (nap(6), "x".repeat(200));
    let script = format!("seq -f '%.0f {text}' 200000; sleep {nap}; true");
    let running = rig.open(source(once(&script))).await;
    sleep(A_WHILE * 4).await;
    rig.stop.cancel();
    timeout(Duration::from_millis(4500), running).await.expect("it ends before sources are given up").unwrap();
    assert!(rig.context.counters.records_abandoned.get() > 0);
    assert!(gone(&nap).await);
}

#[tokio::test]
async fn a_command_that_cannot_be_started_is_counted_and_tried_again() {
    let rig = Rig::new();
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("late");
    let mut settings = settings("");
    settings.command = vec![program.to_str().unwrap().to_owned()];
    let running = rig.open(source(settings)).await;
    until(|| rig.context.counters.commands_failed.get() > 0).await;
    std::fs::copy("/bin/true", &program).unwrap();
    let seen = rig.records(1).await;
    assert_eq!(seen[0].attributes["exec.exit_code"], "0");
    rig.stop(running).await;
}
