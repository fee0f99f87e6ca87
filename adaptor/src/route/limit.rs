//! Token buckets: how much of a category a rule lets pass.
//!
//! A bucket belongs to a rule and a category, and is shared by all connections and files of the process. Time is the one
//! that records were observed at, so that nothing here asks a clock.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use logboom_config::Limit;

/// Most buckets of categories. Where there are more, those that are full (so nothing is lost with them) and not in use
/// go; if there are none, further categories share a bucket for each rule.
const BUCKETS_MAX: usize = 10_000;
/// The least time between two looks for such buckets, in ns.
const SWEEP_INTERVAL: i64 = 1_000_000_000;
/// A time that lies back by more than this is a clock that was set back, not a slow connection. In ns.
const CLOCK_STEP: i64 = 10_000_000_000;

/// The buckets of all rules.
#[derive(Debug, Default)]
pub(super) struct Buckets(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// By number of the rule and category. The empty category is for all that have no bucket of their own.
    buckets: HashMap<(usize, String), Arc<Bucket>>,
    swept: i64,
}

impl Buckets {
    /// The bucket of `category` under rule number `rule`, which has this limit.
    pub(super) fn get(&self, rule: usize, limit: Limit, category: &str, now: i64) -> Arc<Bucket> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (rule, category.to_owned());
        if let Some(bucket) = state.buckets.get(&key) {
            return bucket.clone();
        }
        if state.buckets.len() >= BUCKETS_MAX && (now - state.swept).saturating_abs() >= SWEEP_INTERVAL {
            state.swept = now;
            state.buckets.retain(|_, bucket| Arc::strong_count(bucket) > 1 || !bucket.is_full(now));
        }
        let key = match state.buckets.len() < BUCKETS_MAX {
            true => key,
            false => (rule, String::new()),
        };
        state.buckets.entry(key).or_insert_with(|| Arc::new(Bucket::new(limit, now))).clone()
    }
}

/// How much may pass: each rate fills up to what it allows in the time of the burst, and begins full.
#[derive(Debug)]
pub(super) struct Bucket {
    limit: Limit,
    level: Mutex<Level>,
}

#[derive(Clone, Copy, Debug)]
struct Level {
    records: f64,
    bytes: f64,
    /// When it was this, ns since 1970.
    at: i64,
}

impl Bucket {
    fn new(limit: Limit, now: i64) -> Self {
        let level = Level {
            records: full(&limit, limit.records_per_second),
            bytes: full(&limit, limit.bytes_per_second),
            at: now,
        };
        Self { limit, level: Mutex::new(level) }
    }

    /// Whether a record of `bytes` bytes passes at `now`. It does while there is a record left and any bytes: so a record
    /// larger than the burst passes too, and those after it wait until it is paid for.
    pub(super) fn take(&self, now: i64, bytes: usize) -> bool {
        let mut level = self.filled(now);
        let passes = level.records >= 1.0 && level.bytes > 0.0;
        if passes {
            level.records -= 1.0;
            level.bytes -= bytes as f64;
        }
        passes
    }

    fn is_full(&self, now: i64) -> bool {
        let level = self.filled(now);
        level.records >= full(&self.limit, self.limit.records_per_second)
            && level.bytes >= full(&self.limit, self.limit.bytes_per_second)
    }

    /// The level after what has flowed in since.
    fn filled(&self, now: i64) -> MutexGuard<'_, Level> {
        let mut level = self.level.lock().unwrap_or_else(PoisonError::into_inner);
        // Connections are a little apart in time; none of that time counts twice.
        if now > level.at {
            let seconds = now.saturating_sub(level.at) as f64 / 1e9;
            let fill = |level: f64, rate: Option<u64>| {
                (level + seconds * rate.unwrap_or(0) as f64).min(full(&self.limit, rate))
            };
            level.records = fill(level.records, self.limit.records_per_second);
            level.bytes = fill(level.bytes, self.limit.bytes_per_second);
            level.at = now;
        } else if level.at.saturating_sub(now) > CLOCK_STEP {
            level.at = now;
        }
        level
    }
}

/// What a full bucket holds of this rate: at least one, and without end where there is no such rate.
fn full(limit: &Limit, rate: Option<u64>) -> f64 {
    rate.map_or(f64::INFINITY, |rate| (rate as f64 * limit.burst.as_secs_f64()).max(1.0))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const SECOND: i64 = 1_000_000_000;

    fn limit(records: Option<u64>, bytes: Option<u64>, burst_ms: u64) -> Limit {
        Limit { records_per_second: records, bytes_per_second: bytes, burst: Duration::from_millis(burst_ms) }
    }

    fn passed(bucket: &Bucket, now: i64, records: usize, bytes: usize) -> usize {
        (0..records).filter(|_| bucket.take(now, bytes)).count()
    }

    #[test]
    fn a_bucket_lets_the_burst_pass_and_then_the_rate() {
        let bucket = Bucket::new(limit(Some(10), None, 2000), 5 * SECOND);
        assert_eq!(passed(&bucket, 5 * SECOND, 100, 1), 20);
        assert_eq!(passed(&bucket, 5 * SECOND + SECOND / 10, 100, 1), 1);
        assert_eq!(passed(&bucket, 6 * SECOND + SECOND / 10, 100, 1), 10);
        assert_eq!(passed(&bucket, 3600 * SECOND, 100, 1), 20, "not more than the burst is saved up");
    }

    #[test]
    fn a_record_larger_than_the_burst_passes_and_is_paid_for_afterwards() {
        let bucket = Bucket::new(limit(None, Some(1000), 1000), 0);
        assert!(bucket.take(0, 5000));
        assert!(!bucket.take(4 * SECOND, 1));
        assert!(bucket.take(4 * SECOND + SECOND / 10, 1));
        // Empty bodies wait for their turn like others.
        assert!(bucket.take(4 * SECOND + SECOND / 10, 1000));
        assert!(!bucket.take(4 * SECOND + SECOND / 10, 0));
    }

    #[test]
    fn of_two_rates_both_must_allow_a_record() {
        let bucket = Bucket::new(limit(Some(3), Some(100), 1000), 0);
        assert_eq!(passed(&bucket, 0, 10, 10), 3);
        let bucket = Bucket::new(limit(Some(30), Some(100), 1000), 0);
        assert_eq!(passed(&bucket, 0, 20, 10), 10);
    }

    #[test]
    fn a_rate_of_less_than_one_record_in_a_burst_still_lets_some_pass() {
        let bucket = Bucket::new(limit(Some(1), None, 1), 0);
        assert_eq!(passed(&bucket, 0, 5, 1), 1);
        assert_eq!(passed(&bucket, SECOND, 5, 1), 1);
    }

    #[test]
    fn a_clock_that_is_set_back_neither_stops_a_bucket_nor_fills_it() {
        let bucket = Bucket::new(limit(Some(10), None, 1000), 3600 * SECOND);
        assert_eq!(passed(&bucket, 3600 * SECOND, 100, 1), 10);
        assert_eq!(passed(&bucket, 60 * SECOND, 100, 1), 0);
        assert_eq!(passed(&bucket, 61 * SECOND, 100, 1), 10);
        // Between connections time goes a little back and forth.
        assert_eq!(passed(&bucket, 60 * SECOND, 100, 1), 0);
        assert_eq!(passed(&bucket, 61 * SECOND, 100, 1), 0);
        for now in [i64::MIN, i64::MAX, i64::MIN] {
            bucket.take(now, 1);
        }
    }

    #[test]
    fn categories_have_buckets_of_their_own_until_there_are_too_many() {
        let (buckets, limit) = (Buckets::default(), limit(Some(1), None, 1000));
        let first = buckets.get(0, limit, "first", 0);
        assert!(Arc::ptr_eq(&first, &buckets.get(0, limit, "first", 0)));
        assert!(!Arc::ptr_eq(&first, &buckets.get(1, limit, "first", 0)));
        first.take(0, 1);
        let held: Vec<_> = (0..BUCKETS_MAX).map(|n| buckets.get(0, limit, &n.to_string(), 0)).collect();
        let (one, other) = (buckets.get(0, limit, "x", 2 * SECOND), buckets.get(0, limit, "y", 2 * SECOND));
        assert!(Arc::ptr_eq(&one, &other), "they share");
        assert!(!Arc::ptr_eq(&one, &buckets.get(1, limit, "z", 2 * SECOND)), "but not with another rule");
        drop(held);
        let own = buckets.get(0, limit, "x", 4 * SECOND);
        assert!(!Arc::ptr_eq(&own, &other), "what nobody uses made room");
        assert!(Arc::ptr_eq(&first, &buckets.get(0, limit, "first", 4 * SECOND)), "what is in use stays");
        assert!(buckets.0.lock().unwrap().buckets.len() < 10);
    }
}
