//! The one place that random numbers and identities come from, so that a simulation can choose them.

pub use rand::Rng;
use rand::RngCore;

/// A source of random numbers: the thread's own, or in a simulation the one of its seed.
#[derive(Clone, Copy, Debug)]
pub struct Random;

/// The source.
pub fn rng() -> Random {
    Random
}

/// The bytes of a new identity.
pub fn identity() -> [u8; 16] {
    rng().random()
}

impl RngCore for Random {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        #[cfg(feature = "simulation")]
        if crate::simulation::fill(bytes) {
            return;
        }
        rand::rng().fill_bytes(bytes);
    }
}
