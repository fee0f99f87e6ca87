//! Either role dies at every single one of its system calls that has to do with files or the network, from its first
//! instruction to its last: a start on what an earlier run left, sockets and files, a roll of the spool, commits, a
//! checkpoint, an orderly end. And every call that changes the disk fails once, with `EIO` and with `ENOSPC`.
//!
//! A run without a fault counts the calls. Then comes one run for each of them, on folders of its own: it dies there, is
//! started again as it is, drains, and is judged. Threads do not run alike twice, so the n-th call is not the same one in
//! every run; but every run is at one place of its own.

use std::fmt;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::try_each;
use crate::harness::{Calls, Fate, PATIENCE, Pipeline, Plan, Trace, env_number, traced_call, traced_calls, wait_until};

/// Runs at the same time: they wait a lot.
const AT_ONCE: usize = 4;
/// Of each of two producers.
const RECORDS: u64 = 60;
/// Enough for a second segment.
const RECORD_BYTES: usize = 2500;
const PLAN: Plan = Plan {
    adaptors: 1,
    collectors: 1,
    adaptor: "drain_timeout = \"20s\"",
    spool: "linger = \"5ms\"\nblock_size = \"16KiB\"\nsegment_size = \"64KiB\"",
    collector: "flush_interval = \"100ms\"\ndrain_timeout = \"2s\"",
    sink: "checkpoint_interval = 2",
    routes: &[],
    format: "parquet",
};

/// Who is traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Adaptor,
    Collector,
}

/// Evenly spread calls, so many of each role and fault.
#[test]
fn a_death_at_some_system_calls_loses_and_doubles_nothing() {
    sweep(Calls::All, &[Fate::Killed], 10);
}

#[test]
fn an_error_of_some_system_calls_loses_and_doubles_nothing() {
    sweep(Calls::Disk, &[Fate::InputOutput, Fate::NoSpace], 4);
}

/// `LOGBOOM_SWEEP_CALLS` says how many, evenly spread, at most.
#[test]
#[ignore = "takes half an hour"]
fn full_a_death_at_every_system_call_loses_and_doubles_nothing() {
    sweep(Calls::All, &[Fate::Killed], env_number("LOGBOOM_SWEEP_CALLS", u64::MAX));
}

/// The same of each error.
#[test]
#[ignore = "takes half an hour"]
fn full_an_error_of_every_system_call_loses_and_doubles_nothing() {
    sweep(Calls::Disk, &[Fate::InputOutput, Fate::NoSpace], env_number("LOGBOOM_SWEEP_CALLS", u64::MAX));
}

fn sweep(calls: Calls, fates: &[Fate], most: u64) {
    for role in [Role::Adaptor, Role::Collector] {
        let begun = Instant::now();
        // Without a fault.
        let total = run(role, Trace { calls, fate: Fate::Killed, at: 0 }).calls;
        let taken = most.min(total);
        let places = (1..=taken).map(|place| place * total / taken);
        let cases: Vec<Trace> =
            places.flat_map(|at| fates.iter().map(move |fate| Trace { calls, fate: *fate, at })).collect();
        let outcomes = try_each(role, &cases, AT_ONCE, |trace| run(role, trace));
        let failed: Vec<_> = outcomes.iter().filter(|(_, outcome)| outcome.is_err()).map(|(trace, _)| trace).collect();
        let missed = outcomes.iter().filter(|(_, outcome)| outcome.as_ref().is_ok_and(|run| run.done.is_none()));
        let missed = missed.count();
        let reached: Vec<&str> = outcomes.iter().filter_map(|(_, run)| run.as_ref().ok()?.done.as_deref()).collect();
        println!(
            "{role:?}: {total} calls, {} of {} runs came to theirs, {} failed, in {:.0?}; {}",
            cases.len() - missed,
            cases.len(),
            failed.len(),
            begun.elapsed(),
            Names::of(&reached),
        );
        assert!(failed.is_empty(), "{role:?} failed at {failed:?}");
        // A run may end before its call comes: what waits for time makes more calls in one run than in another.
        assert!(missed * 2 <= cases.len(), "{missed} runs of {} have not come to their call", cases.len());
    }
}

/// A run that ended clean.
struct Run {
    /// Calls that were made, as far as the tracer saw them.
    calls: u64,
    /// The call at which something was done.
    done: Option<String>,
}

fn run(role: Role, trace: Trace) -> Run {
    let mut pipeline = Pipeline::new(PLAN);
    match role {
        Role::Adaptor => {
            leave_something(&mut pipeline);
            pipeline.start_collectors();
            trace.start(&mut pipeline.adaptors[0].node);
        }
        Role::Collector => {
            trace.start(&mut pipeline.collectors[0].node);
            pipeline.start_adaptors();
        }
    }
    let socket = pipeline.socket_producer(0, RECORDS, RECORD_BYTES);
    let file = pipeline.file_producer(0, RECORDS, RECORDS / 2, RECORD_BYTES);
    pipeline.pace.allow(u64::MAX);
    let node = match role {
        Role::Adaptor => &mut pipeline.adaptors[0].node,
        Role::Collector => &mut pipeline.collectors[0].node,
    };
    // A commit, in a collector that can do it: after a failed sync it waits for somebody to look at the disk, and to
    // start it again. Then an orderly end, which is part of the script.
    let mut failed_at = None;
    wait_until("the script ends", PATIENCE, || {
        if trace.fate != Fate::Killed && failed_at.is_none() && traced_call(node).is_some() {
            failed_at = Some(Instant::now());
        }
        let has_failed = failed_at.is_some_and(|at| at.elapsed() > Duration::from_secs(2));
        let has_committed = role == Role::Adaptor || has_failed || node.log().contains("committed version=");
        node.has_ended() || has_committed && socket.is_finished() && file.is_finished()
    });
    let pause = Instant::now();
    while !node.has_ended() && pause.elapsed() < Duration::from_millis(250) {
        std::thread::sleep(Duration::from_millis(5));
    }
    if !node.has_ended() {
        node.signal(Signal::TERM);
    }
    node.wait(PATIENCE);
    let log = node.log();
    let done = traced_call(node);
    let what = format!("{role:?}, {:?} at call {}, {done:?}", trace.fate, trace.at);
    assert!(!log.contains("panicked"), "{what}: {log}");
    let calls = traced_calls(node).unwrap_or_else(|| panic!("{what}: the tracer has failed: {log}"));
    if trace.fate == Fate::Killed && done.is_some() {
        let (_, after) = log.split_once("the tracer has come to ").expect("it is done");
        assert!(!after.contains(" ended; "), "{what}: it lived on: {log}");
    }
    node.start();
    pipeline.wait_ready();
    wait_until("the producers end", PATIENCE, || socket.is_finished() && file.is_finished());
    let verdict = pipeline.finish(PATIENCE);
    assert!(verdict.is_clean(), "{what}: {verdict}");
    assert!(verdict.acknowledged >= RECORDS, "{what}: {verdict}");
    Run { calls, done }
}

/// An earlier run leaves blocks in the spool, of a stream that is sealed now.
fn leave_something(pipeline: &mut Pipeline) {
    pipeline.start_adaptors();
    let socket = pipeline.other_socket_producer(0, "earlier", RECORDS, RECORD_BYTES);
    pipeline.pace.allow(RECORDS);
    wait_until("an earlier run fills the spool", PATIENCE, || socket.is_finished());
    pipeline.adaptors[0].node.kill();
}

/// How often each call was the one.
struct Names(Vec<(String, usize)>);

impl Names {
    fn of(names: &[&str]) -> Self {
        let mut counts = std::collections::BTreeMap::new();
        names.iter().for_each(|name| *counts.entry((*name).to_owned()).or_default() += 1);
        Self(counts.into_iter().collect())
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.0.iter().map(|(name, count)| format!("{name} {count}")).collect();
        f.write_str(&names.join(", "))
    }
}
