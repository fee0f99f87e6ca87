//! The one source of chance of a run, apart from what the product draws for itself.

use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

#[derive(Clone, Debug)]
pub struct Chance(Arc<Mutex<StdRng>>);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// True with this probability.
    pub fn hits(&self, probability: f64) -> bool {
        // Drawn also where it is certain, so that other draws do not depend on it.
        let drawn: f64 = self.0.lock().unwrap().random();
        drawn < probability
    }

    pub fn below(&self, end: u64) -> u64 {
        self.0.lock().unwrap().random_range(0..end.max(1))
    }

    pub fn within(&self, range: Range<u64>) -> u64 {
        self.0.lock().unwrap().random_range(range)
    }

    pub fn millis(&self, range: Range<u64>) -> Duration {
        Duration::from_millis(self.within(range))
    }

    /// One of several.
    pub fn pick<'a, T>(&self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len() as u64) as usize]
    }
}
