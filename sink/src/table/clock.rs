//! The time, as far as commits depend on it. The one place of this crate that reads a clock.

use std::fmt;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// A reading of both clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Moment {
    /// The wall clock: goes on while a machine is suspended, but may be set.
    pub wall: Timestamp,
    /// The steady clock: never goes back, but may stand still while a machine is suspended.
    pub steady: Duration,
}

impl Moment {
    /// How much time may have passed since `earlier`: whichever clock says more.
    /// Taking too much for a sleep costs one reload; taking too little could lose data.
    pub fn since(self, earlier: Self) -> Duration {
        let wall = Duration::try_from(self.wall.duration_since(earlier.wall)).unwrap_or_default();
        wall.max(self.steady.saturating_sub(earlier.steady))
    }
}

/// What time it is. Tests bring a clock that stalls.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The time now.
    fn now(&self) -> Moment;
}

/// The clocks of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Moment {
        static START: LazyLock<Instant> = LazyLock::new(Instant::now);
        // `START` is read first: it must not lie after the instant it is compared with.
        let start = *START;
        Moment { wall: Timestamp::now(), steady: start.elapsed() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_passed_by_either_clock_has_passed() {
        let at =
            |wall, steady| Moment { wall: Timestamp::from_second(wall).unwrap(), steady: Duration::from_secs(steady) };
        assert_eq!(at(1000, 5).since(at(100, 5)), Duration::from_secs(900));
        assert_eq!(at(100, 65).since(at(100, 5)), Duration::from_secs(60));
        assert_eq!(at(50, 65).since(at(100, 5)), Duration::from_secs(60), "the wall clock was set back");
    }
}
