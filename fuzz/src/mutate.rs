//! Blind mutation: no more than a seed and a generator of numbers, so that it runs anywhere and repeats itself.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant, UNIX_EPOCH};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Longest input, in bytes.
const INPUT_BYTES_MAX: usize = 64 << 10;
const MILLISECONDS: u64 = 300;

/// Numbers at the edges, where lengths stand.
const EDGES: [&[u8]; 8] = [
    &[0; 4],
    &[0xff; 4],
    &[0x7f, 0xff, 0xff, 0xff],
    &[0xff, 0xff, 0xff, 0x7f],
    &[0x80, 0, 0, 0],
    &[0xff; 8],
    &[0, 0, 0, 1],
    &[1, 0, 0, 0],
];

/// Tries the seeds, the regressions, and then mutations.
pub(crate) fn run(seeds: &[&[u8]], mut decode: impl FnMut(&[u8])) {
    for input in seeds {
        decode(input);
    }
    for (name, input) in regressions() {
        let outcome = catch_unwind(AssertUnwindSafe(|| decode(&input)));
        assert!(outcome.is_ok(), "fuzz/regressions/{name} is broken again");
    }
    mutations(seeds, decode);
}

/// Tries mutations of the seeds until time or number is reached.
fn mutations(seeds: &[&[u8]], mut decode: impl FnMut(&[u8])) {
    let setting = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let clock = || UNIX_EPOCH.elapsed().map_or(0, |since| since.as_nanos() as u64);
    let seed = setting("LOGBOOM_FUZZ_SEED").unwrap_or_else(clock);
    let runs_max = setting("LOGBOOM_FUZZ_RUNS");
    let time = setting("LOGBOOM_FUZZ_MS").or(runs_max.is_none().then_some(MILLISECONDS)).map(Duration::from_millis);
    let mut random = StdRng::seed_from_u64(seed);
    let (begun, mut runs) = (Instant::now(), 0u64);
    while time.is_none_or(|time| begun.elapsed() < time) && runs_max.is_none_or(|max| runs < max) {
        let input = mutated(seeds, &mut random);
        let outcome = catch_unwind(AssertUnwindSafe(|| decode(&input)));
        assert!(outcome.is_ok(), "LOGBOOM_FUZZ_SEED={seed} panicked on {:?}", input.escape_ascii().to_string());
        runs += 1;
    }
    println!("{runs} inputs in {:.1} s, LOGBOOM_FUZZ_SEED={seed}", begun.elapsed().as_secs_f64());
}

/// Inputs that once broke something, with their names.
fn regressions() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/regressions"));
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let inputs = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        Some((name, std::fs::read(entry.path()).ok()?))
    });
    let mut inputs: Vec<_> = inputs.collect();
    inputs.sort();
    inputs
}

/// One of the seeds after a few changes.
fn mutated(seeds: &[&[u8]], random: &mut StdRng) -> Vec<u8> {
    let mut input = seeds[random.random_range(0..seeds.len())].to_vec();
    for _ in 0..random.random_range(1..8) {
        let at = random.random_range(0..=input.len());
        match random.random_range(0..8) {
            0 if at < input.len() => input[at] ^= 1 << random.random_range(0..8),
            1 if at < input.len() => input[at] = random.random(),
            2 => input.truncate(at),
            3 => input.insert(at, random.random()),
            4 if at < input.len() => drop(input.remove(at)),
            5 if at < input.len() => {
                let edge = EDGES[random.random_range(0..EDGES.len())];
                let end = input.len().min(at + edge.len());
                input[at..end].copy_from_slice(&edge[..end - at]);
            }
            6 => {
                let other = seeds[random.random_range(0..seeds.len())];
                let from = random.random_range(0..=other.len());
                input.splice(at.., other[from..].iter().copied());
            }
            _ => {
                let end = (at + random.random_range(0..64)).min(input.len());
                let piece = input[at..end].to_vec();
                input.splice(at..at, piece);
            }
        }
        input.truncate(INPUT_BYTES_MAX);
    }
    input
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_inputs() {
        let inputs = |seed| {
            let mut random = StdRng::seed_from_u64(seed);
            (0..100).map(|_| mutated(&[b"abc", b"\x00\x01\x02\x03"], &mut random)).collect::<Vec<_>>()
        };
        assert_eq!(inputs(1), inputs(1));
        assert_ne!(inputs(1), inputs(2));
    }

    #[test]
    fn a_panic_fails_the_test() {
        let failed = catch_unwind(|| mutations(&[b"0000"], |input| assert!(input.len() < 5, "too long")));
        let message = failed.unwrap_err();
        let message = message.downcast_ref::<String>().unwrap();
        assert!(message.contains("LOGBOOM_FUZZ_SEED=") && message.contains("panicked on"), "{message}");
    }
}
