//! Many adaptors and collectors over one store, in one thread, from one seed. What is real and what is simulated, and how
//! to read what this prints: `docs/simulation.md`.

mod adaptor;
mod args;
mod chance;
mod clock;
mod collector;
mod disk;
mod faults;
mod ledger;
mod life;
mod net;
mod oracle;
mod panics;
mod plan;
mod planted;
mod store;
mod trace;
mod world;

use std::collections::BTreeSet;
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use args::Asked;
use planted::BUGS;
use world::Outcome;

/// Seeds that every run of the tests has.
const SEEDS: u64 = 500;
/// Those that are run again, to see that they are the same.
const REPEATED: u64 = 6;

fn main() -> ExitCode {
    panics::install();
    match args::parse(std::env::args().skip(1)) {
        Ok(Asked::Tests { filter, list }) => tests(&filter, list),
        Ok(Asked::Seeds { first, count }) => code(seeds(first, count)),
        Ok(Asked::Seed { seed, trace, planted }) => one(seed, trace, planted.as_deref()),
        Ok(Asked::Planted { only, seeds }) => plant(only.as_deref(), seeds),
        Ok(Asked::Help) => {
            print!("{}", args::HELP);
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}\n\n{}", args::HELP);
            ExitCode::FAILURE
        }
    }
}

fn code(good: Result<(), String>) -> ExitCode {
    match good {
        Ok(()) => ExitCode::SUCCESS,
        Err(reason) => {
            println!("{reason}");
            ExitCode::FAILURE
        }
    }
}

type Test = (&'static str, fn() -> Result<(), String>);

/// What CI runs, and what it prints like any other test.
fn tests(filter: &[String], list: bool) -> ExitCode {
    let all: [Test; 4] = [
        ("a_seed_is_the_same_run_again_and_in_another_process", repeat),
        ("every_planted_bug_in_the_code_is_in_the_table", compare_bugs),
        ("planted_bugs_are_found", find_quick_bugs),
        ("nothing_is_lost_or_doubled_in_any_seed", || seeds(1, SEEDS)),
    ];
    let is_wanted = |name: &str| filter.is_empty() || filter.iter().any(|part| name.contains(part.as_str()));
    let wanted: Vec<&Test> = all.iter().filter(|(name, _)| is_wanted(name)).collect();
    if list {
        wanted.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    println!("\nrunning {} tests", wanted.len());
    let (begun, mut failed) = (Instant::now(), 0);
    for (name, test) in &wanted {
        let begun = Instant::now();
        let result = test();
        println!(
            "test {name} ... {} ({:.1} s)",
            if result.is_ok() { "ok" } else { "FAILED" },
            begun.elapsed().as_secs_f64()
        );
        if let Err(reason) = result {
            failed += 1;
            println!("{reason}");
        }
    }
    println!(
        "\ntest result: {}. {} passed; {failed} failed; 0 ignored; 0 measured; {} filtered out; finished in {:.2}s\n",
        if failed == 0 { "ok" } else { "FAILED" },
        wanted.len() - failed,
        all.len() - wanted.len(),
        begun.elapsed().as_secs_f64()
    );
    if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs all of `seeds`, as many at a time as there are cores, until `stop` says so. What `see` says of each.
fn in_parallel(first: u64, count: u64, planted: Option<&'static str>, see: impl Fn(u64, &Outcome) -> bool + Sync) {
    let (next, stopped) = (AtomicU64::new(first), AtomicU64::new(u64::MAX));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= first + count || seed > stopped.load(Ordering::SeqCst) {
                        return;
                    }
                    if !see(seed, &world::run(seed, planted, false)) {
                        stopped.fetch_min(seed, Ordering::SeqCst);
                    }
                }
            });
        }
    });
}

fn command(seed: u64, planted: Option<&str>) -> String {
    let bug = planted.map_or(String::new(), |name| format!(" --bug {name}"));
    format!("cargo test -p logboom-simulation -- --seed {seed} --trace{bug}")
}

/// Runs seeds; those that fail, with the trace of the first.
fn seeds(first: u64, count: u64) -> Result<(), String> {
    let begun = Instant::now();
    let (failed, done) = (Mutex::new(BTreeSet::new()), AtomicU64::new(0));
    let [kept, rows, events, ambiguous] = [const { AtomicU64::new(0) }; 4];
    in_parallel(first, count, None, |seed, outcome| {
        if !outcome.is_clean() {
            failed.lock().unwrap().insert(seed);
            println!("seed {seed}: {}\n  {}", outcome.summary(), command(seed, None));
        }
        kept.fetch_add(outcome.verdict.kept, Ordering::Relaxed);
        rows.fetch_add(outcome.verdict.rows, Ordering::Relaxed);
        events.fetch_add(outcome.events, Ordering::Relaxed);
        ambiguous.fetch_add(outcome.ambiguous, Ordering::Relaxed);
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        if done.is_multiple_of(1000) {
            eprintln!("{done} of {count} seeds, {:.0} s", begun.elapsed().as_secs_f64());
        }
        true
    });
    let failed = failed.into_inner().unwrap();
    println!(
        "{count} seeds from {first}: {} failed; {} records promised, {} rows, {} events, {} commits without a clear answer, {:.1} s",
        failed.len(),
        kept.into_inner(),
        rows.into_inner(),
        events.into_inner(),
        ambiguous.into_inner(),
        begun.elapsed().as_secs_f64()
    );
    let Some(seed) = failed.first() else { return Ok(()) };
    let lines = world::run(*seed, None, true).lines.join("\n");
    Err(format!(
        "{lines}\nseed {seed} failed, and {} more. To see it again:\n{}",
        failed.len() - 1,
        command(*seed, None)
    ))
}

fn one(seed: u64, trace: bool, planted: Option<&str>) -> ExitCode {
    let planted = match planted.map(|name| (name, BUGS.iter().find(|bug| bug.name == name))) {
        Some((name, None)) => return code(Err(format!("there is no bug `{name}`"))),
        found => found.and_then(|(_, bug)| bug).map(|bug| bug.name),
    };
    let outcome = world::run(seed, planted, trace);
    outcome.lines.iter().for_each(|line| println!("{line}"));
    println!("seed {seed}, trace {:016x}: {}", outcome.hash, outcome.summary());
    if outcome.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn repeat() -> Result<(), String> {
    for seed in 1..=REPEATED {
        let (first, second) = (world::run(seed, None, true), world::run(seed, None, true));
        if (first.hash, &first.lines) != (second.hash, &second.lines) {
            let differ = first.lines.iter().zip(&second.lines).find(|(a, b)| a != b);
            return Err(format!("seed {seed} runs once like this and once like that: {differ:?}"));
        }
        let mut again = Command::new(std::env::current_exe().expect("this is a file"));
        let output = again.args(["--seed", &seed.to_string()]).output().map_err(|error| error.to_string())?;
        let (said, hash) = (String::from_utf8_lossy(&output.stdout), format!("trace {:016x}", first.hash));
        if !said.contains(&hash) {
            return Err(format!("seed {seed} has {hash} here, and in another process: {said}"));
        }
    }
    Ok(())
}

fn compare_bugs() -> Result<(), String> {
    let table: BTreeSet<String> = BUGS.iter().map(|bug| bug.name.to_owned()).collect();
    let code = planted::in_the_code();
    let apart: Vec<_> = table.symmetric_difference(&code).collect();
    if apart.is_empty() { Ok(()) } else { Err(format!("only in the code or only in the table: {apart:?}")) }
}

/// The first seed that finds a bug, and what it finds.
fn hunt(name: &'static str, seeds: u64) -> Option<(u64, String)> {
    let found = Mutex::new(None::<(u64, String)>);
    in_parallel(1, seeds, Some(name), |seed, outcome| {
        if !outcome.is_clean() {
            let mut found = found.lock().unwrap();
            if found.as_ref().is_none_or(|(before, _)| seed < *before) {
                *found = Some((seed, outcome.counters()));
            }
        }
        outcome.is_clean()
    });
    found.into_inner().unwrap()
}

fn find_quick_bugs() -> Result<(), String> {
    let quick = BUGS.iter().filter_map(|bug| Some((bug.name, bug.quick?)));
    let missed: Vec<_> = quick.filter(|(name, seeds)| hunt(name, *seeds).is_none()).collect();
    if missed.is_empty() { Ok(()) } else { Err(format!("not found within so many seeds: {missed:?}")) }
}

/// Prints the table of the documentation.
fn plant(only: Option<&str>, seeds: u64) -> ExitCode {
    println!("| bug | seeds until it is found | as |\n|---|---|---|");
    let mut missed = 0;
    for bug in BUGS.iter().filter(|bug| only.is_none_or(|only| only == bug.name)) {
        match hunt(bug.name, seeds) {
            Some((seed, counters)) => println!("| `{}` | {seed} | {counters} |", bug.name),
            None => {
                missed += 1;
                println!("| `{}` | not within {seeds} | |", bug.name);
            }
        }
    }
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
