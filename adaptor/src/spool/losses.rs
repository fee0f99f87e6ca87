//! Durable records that were given up, as long as the table may not have heard of it.
//!
//! A loss is *owed* from before its records are gone until a loss record that tells of it is committed. It is kept among the
//! [`Positions`], under a key of its own, and so it is durable by the same steps: it is written into the file `positions`
//! before a segment is dropped; and the block with the loss record carries the same key with an empty value, which ends
//! it once that block is committed. If instead that block is dropped or lost in its turn, the loss is owed again.
//!
//! A loss may be told of twice (a crash between two steps, or a range that has grown meanwhile). That does no harm: a loss
//! record says what may be missing.

use std::collections::BTreeMap;

use logboom_wire::StreamId;

use super::positions::{Place, Positions};

/// Keys of losses begin with this; those of sources with the type of the source.
const PREFIX: &str = "loss/";
/// Losses that are kept apart. Beyond that, those of a stream become one, with what lies between them.
const LOSSES_MAX: usize = 1000;

/// Why durable records were given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The spool was full: `when_full = "drop_oldest"`.
    DropOldest,
    /// They were damaged on disk, or their file is gone.
    Damaged,
}

/// Records of one stream that are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The stream.
    pub stream: StreamId,
    /// The sequence number of the first.
    pub first: u64,
    /// The sequence number of the last.
    pub last: u64,
    /// Why.
    pub reason: Reason,
}

impl Reason {
    /// As loss records spell it.
    pub fn name(self) -> &'static str {
        match self {
            Reason::DropOldest => "drop_oldest",
            Reason::Damaged => "damaged",
        }
    }
}

impl Loss {
    /// The key that it is kept under.
    pub fn key(&self) -> String {
        format!("{PREFIX}{}/{}/{}-{}", self.stream, self.reason.name(), self.first, self.last)
    }

    fn parse(key: &str) -> Option<Self> {
        let (stream, rest) = key.strip_prefix(PREFIX)?.split_once('/')?;
        let (reason, range) = rest.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        let reason = [Reason::DropOldest, Reason::Damaged].into_iter().find(|known| known.name() == reason)?;
        let loss = Self { stream: stream.parse().ok()?, first: first.parse().ok()?, last: last.parse().ok()?, reason };
        (loss.first <= loss.last).then_some(loss)
    }
}

/// Whether a key is that of a loss.
pub fn is_loss(key: &str) -> bool {
    key.starts_with(PREFIX)
}

/// Adds a loss to those that are owed; it grows into one that it follows. `generation` is that of its stream.
pub fn owe(positions: &mut Positions, generation: u64, loss: Loss) {
    let mut owed = owed(positions);
    let crowded = owed.len() >= LOSSES_MAX;
    owed.retain(|other| {
        let alike = (other.stream, other.reason) == (loss.stream, loss.reason);
        alike && (crowded || other.last.checked_add(1) == Some(loss.first))
    });
    let mut grown = loss;
    for other in owed {
        positions.remove(&other.key());
        grown = Loss { first: grown.first.min(other.first), last: grown.last.max(other.last), ..grown };
    }
    // Older than any block, so that whatever block settles it counts more.
    let place: Place = (generation, 0);
    positions.set(place, &grown.key(), "owed");
}

/// The losses that are owed.
pub fn owed(positions: &Positions) -> Vec<Loss> {
    let owed: BTreeMap<&str, &str> = positions.live().filter(|(key, _)| is_loss(key)).collect();
    owed.into_keys().filter_map(Loss::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loss(first: u64, last: u64) -> Loss {
        Loss { stream: StreamId::from_bytes([7; 16]), first, last, reason: Reason::DropOldest }
    }

    fn owing(losses: &[Loss]) -> Positions {
        let mut positions = Positions::default();
        losses.iter().for_each(|loss| owe(&mut positions, 3, *loss));
        positions
    }

    #[test]
    fn a_key_round_trips_and_others_are_none() {
        for reason in [Reason::DropOldest, Reason::Damaged] {
            let loss = Loss { reason, ..loss(3, 70) };
            assert_eq!(Loss::parse(&loss.key()), Some(loss));
        }
        for key in ["", "file/x", "loss/x/damaged/1-2", &loss(0, 0).key().replace("0-0", "1-0")] {
            assert_eq!(Loss::parse(key), None, "{key}");
        }
    }

    #[test]
    fn losses_that_follow_one_another_become_one_and_others_do_not() {
        assert_eq!(owed(&owing(&[loss(0, 9), loss(10, 19), loss(20, 20)])), [loss(0, 20)]);
        let damaged = Loss { reason: Reason::Damaged, ..loss(10, 19) };
        let mut apart = owed(&owing(&[loss(0, 9), damaged, loss(30, 39)]));
        apart.sort_by_key(|loss| loss.first);
        assert_eq!(apart, [loss(0, 9), damaged, loss(30, 39)]);
    }

    #[test]
    fn a_loss_is_owed_until_a_block_settles_it_and_what_it_has_grown_to_is_owed_on() {
        let mut positions = owing(&[loss(0, 9)]);
        let mut grown = positions.clone();
        positions.set((3, 1), &loss(0, 9).key(), "");
        assert_eq!(owed(&positions), []);
        // It grew after the loss record was on its way.
        owe(&mut grown, 3, loss(10, 19));
        grown.set((3, 1), &loss(0, 9).key(), "");
        assert_eq!(owed(&grown), [loss(0, 19)]);
    }

    #[test]
    fn there_are_never_more_than_the_limit() {
        let many: Vec<Loss> = (0..3000).map(|n| loss(n * 10, n * 10 + 3)).collect();
        let owed = owed(&owing(&many));
        assert!(owed.len() <= LOSSES_MAX);
        for loss in many {
            assert!(owed.iter().any(|other| other.first <= loss.first && loss.last <= other.last), "{loss:?}");
        }
    }
}
