//! The times in the log's marks, and whether they can be trusted.
//!
//! A checkpoint forgets the marks that are older than their retention, and the Delta library judges that by the clock of
//! the machine that writes it. Were the clock to jump ahead, all marks would go at once, also those of blocks whose
//! adaptors have not heard yet that they are committed; they would send them again, and be believed. Were it behind
//! while marks are written, these would be too old for everybody else.
//!
//! So a mark is never stamped earlier than those before it. And when time has gone on by more than a day from one commit
//! to the next, which is an idle table or a jump, no checkpoint is written until an hour later: who has not heard yet
//! comes by until then. All of this is told from the log alone, so a new start knows as much.

/// Time that goes on by more from one commit to the next has made a leap.
const LEAP_MS: i64 = 24 * 60 * 60 * 1000;
/// So long after a leap nothing is forgotten.
const HOLD_MS: i64 = 60 * 60 * 1000;

/// What the marks of a log say about time, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamps {
    newest: Option<i64>,
    /// The last leap: from when to when.
    leap: Option<(i64, i64)>,
}

impl Stamps {
    /// Those of a checkpoint: in no particular order, so there is no leap to be found.
    pub(super) fn start(&mut self, stamp: i64) {
        self.newest = self.newest.max(Some(stamp));
    }

    /// The next one in the log.
    pub(super) fn go_on(&mut self, stamp: i64) {
        if let Some(newest) = self.newest
            && stamp > newest.saturating_add(LEAP_MS)
        {
            self.leap = Some((newest, stamp));
        }
        self.start(stamp);
    }

    /// What to stamp the marks with that are committed now.
    pub(super) fn next(&self, now: i64) -> i64 {
        self.newest.map_or(now, |newest| newest.max(now))
    }

    /// Whether a checkpoint that is written now forgets nothing too early.
    pub(super) fn allow_forgetting(&self, now: i64) -> bool {
        let is_near = |stamp: i64| now <= stamp.saturating_add(LEAP_MS);
        match (self.newest, self.leap) {
            (None, _) => true,
            (Some(newest), None) => is_near(newest),
            // The clock is as it was before, or the table has gone on for a while.
            (Some(newest), Some((before, after))) => {
                is_near(before) || newest.saturating_sub(after) >= HOLD_MS && is_near(newest)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEARS: i64 = 10 * 365 * LEAP_MS;

    fn stamps(stamps: &[i64]) -> Stamps {
        let mut all = Stamps::default();
        stamps.iter().for_each(|stamp| all.go_on(*stamp));
        all
    }

    #[test]
    fn time_that_goes_on_as_it_should_allows_forgetting() {
        assert!(Stamps::default().allow_forgetting(YEARS));
        assert!(stamps(&[1000]).allow_forgetting(2000));
        assert!(stamps(&[1000, LEAP_MS + 1000, 2 * LEAP_MS]).allow_forgetting(2 * LEAP_MS));
    }

    #[test]
    fn after_a_leap_nothing_is_forgotten_for_an_hour() {
        // Not by who has just leapt and has not committed since, and not by who has.
        assert!(!stamps(&[1000]).allow_forgetting(YEARS));
        assert!(!stamps(&[1000, YEARS]).allow_forgetting(YEARS));
        assert!(!stamps(&[1000, YEARS, YEARS + HOLD_MS - 1]).allow_forgetting(YEARS + HOLD_MS));
        assert!(stamps(&[1000, YEARS, YEARS + HOLD_MS]).allow_forgetting(YEARS + HOLD_MS));
        assert!(!stamps(&[1000, YEARS, YEARS + HOLD_MS]).allow_forgetting(2 * YEARS), "one more leap");
    }

    #[test]
    fn a_leap_that_is_taken_back_is_over() {
        let leapt = stamps(&[1000, YEARS]);
        assert_eq!(leapt.next(2000), YEARS, "no mark is older than those before it");
        assert!(leapt.allow_forgetting(2000));
        assert_eq!(leapt.next(YEARS + 1), YEARS + 1);
    }

    #[test]
    fn the_marks_of_a_checkpoint_make_no_leap() {
        let mut all = Stamps::default();
        all.start(1000);
        all.start(YEARS);
        assert!(all.allow_forgetting(YEARS));
        all.go_on(3 * YEARS);
        assert!(!all.allow_forgetting(3 * YEARS));
    }
}
