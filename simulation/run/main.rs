//! Runs seeds.
//!
//! `cargo test -p logboom-simulation -- --seeds 20000`

mod adaptor;
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
mod store;
mod trace;
mod world;

fn main() {
    panics::install();
    let args: Vec<String> = std::env::args().collect();
    let seed: u64 = args[1].parse().unwrap();
    let count: u64 = args.get(2).map_or(1, |n| n.parse().unwrap());
    let begun = std::time::Instant::now();
    for seed in seed..seed + count {
        let trace = args.get(3).is_some();
        let outcome = world::run(seed, None, trace);
        for line in &outcome.lines {
            println!("{line}");
        }
        if count < 50 || !outcome.is_clean() {
            println!("{seed}: {:016x} {} events, {}, {:?}", outcome.hash, outcome.events, outcome.verdict, outcome.panics);
        }
    }
    println!("{:?}", begun.elapsed());
}
