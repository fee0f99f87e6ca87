//! What a simulation takes the place of in its own thread, and in no other: random numbers, and where work runs that
//! blocks. With the cargo feature of the same name only; what is not simulated is as without it.

use std::cell::{Cell, RefCell};

use rand::rngs::StdRng;
use rand::{RngCore, SeedableRng};

thread_local! {
    static RANDOM: RefCell<Option<StdRng>> = const { RefCell::new(None) };
    static PLANTED: Cell<Option<&'static str>> = const { Cell::new(None) };
}

/// A simulation in this thread, until it is dropped.
#[derive(Debug)]
pub struct Simulation(());

impl Simulation {
    /// Begins one with this seed, and with a planted bug if one is named.
    ///
    /// # Panics
    /// If this thread has one already.
    #[must_use]
    pub fn begin(seed: u64, planted: Option<&'static str>) -> Self {
        let before = RANDOM.replace(Some(StdRng::seed_from_u64(seed)));
        assert!(before.is_none(), "one simulation at a time in a thread");
        PLANTED.set(planted);
        Self(())
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        RANDOM.set(None);
        PLANTED.set(None);
    }
}

/// Whether this thread is in a simulation.
pub fn is_on() -> bool {
    RANDOM.with_borrow(Option::is_some)
}

pub(crate) fn fill(bytes: &mut [u8]) -> bool {
    RANDOM.with_borrow_mut(|random| random.as_mut().map(|random| random.fill_bytes(bytes)).is_some())
}

pub(crate) fn is_planted(name: &str) -> bool {
    PLANTED.get() == Some(name)
}
