//! Feeds decoders what no honest peer would send.
//!
//! A fuzz target is a test beside its decoder that calls [`fuzz`]; `fuzz/targets` lists them all. In an ordinary test run
//! it is tried for a moment with mutations of the inputs that it gives (`mutate.rs`). `fuzz/run` builds the same
//! test with coverage counters and hands it to libFuzzer, which finds its way into code that blind mutation does not reach.
//!
//! Inputs that once broke something are kept in `fuzz/regressions/`: every target is tried with all of them, every time.

#[cfg(fuzzing)]
mod guided;
#[cfg_attr(fuzzing, allow(dead_code))]
mod mutate;

/// Feeds `decode` inputs that are like `seeds` and are not. A panic in it fails the test and shows the input.
///
/// How long: `LOGBOOM_FUZZ_MS` milliseconds (300), or `LOGBOOM_FUZZ_RUNS` inputs; if both are set, whichever is over
/// first. Which: by the seed `LOGBOOM_FUZZ_SEED` (the clock). Under `fuzz/run` it is libFuzzer that decides, and this
/// does not return.
pub fn fuzz(seeds: &[&[u8]], decode: impl FnMut(&[u8])) {
    #[cfg(fuzzing)]
    guided::run(seeds, decode);
    #[cfg(not(fuzzing))]
    mutate::run(seeds, decode);
}
