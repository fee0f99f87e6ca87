//! Clocks: the true date, which only the store has, and those of machines, which may be wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use logboom_sink::table::{Clock, Moment};
use tokio::time::Instant;

/// Where the true date begins, s since 1970: 2060. The Delta library goes by the date of this machine, which has to be
/// before it, or a run would depend on it.
const BEGIN_S: i64 = 2_840_140_800;

/// The date as it is.
#[derive(Clone, Debug)]
pub struct Date {
    start: Instant,
    /// What all machines slept through, ms.
    skipped_ms: Arc<AtomicI64>,
}

impl Date {
    pub fn new() -> Self {
        Self { start: Instant::now(), skipped_ms: Arc::default() }
    }

    pub fn now(&self) -> Timestamp {
        let ms = self.start.elapsed().as_millis() as i64 + self.skipped_ms.load(Ordering::SeqCst);
        Timestamp::from_second(BEGIN_S).unwrap() + SignedDuration::from_millis(ms)
    }

    /// Every machine sleeps for this long.
    pub fn skip(&self, time: Duration) {
        self.skipped_ms.fetch_add(time.as_millis() as i64, Ordering::SeqCst);
    }
}

/// The clocks of one machine.
#[derive(Clone, Debug)]
pub struct MachineClock {
    date: Date,
    /// How wrong it is, ms.
    wrong_ms: Arc<AtomicI64>,
}

impl MachineClock {
    pub fn new(date: &Date) -> Self {
        Self { date: date.clone(), wrong_ms: Arc::default() }
    }

    pub fn set_wrong(&self, by_ms: i64) {
        self.wrong_ms.store(by_ms, Ordering::SeqCst);
    }

    /// It goes on with the time that it had, while that passes.
    pub fn fall_behind(&self, time: Duration) {
        self.wrong_ms.fetch_sub(time.as_millis() as i64, Ordering::SeqCst);
    }

    /// Since 1970.
    pub fn since_1970(&self) -> Duration {
        Duration::from_millis(self.now().wall.as_millisecond().max(0) as u64)
    }
}

impl Clock for MachineClock {
    fn now(&self) -> Moment {
        let wall = self.date.now() + SignedDuration::from_millis(self.wrong_ms.load(Ordering::SeqCst));
        Moment { wall, steady: self.date.start.elapsed() }
    }
}
