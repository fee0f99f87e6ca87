//! A set of sequence numbers: which are there, which came twice, and where the gaps are.

use std::ops::RangeInclusive;

use roaring::RoaringTreemap;

/// Sequence numbers of one stream. Takes at most a bit for each number and, once [`Seqs::optimize`]d, next to nothing for
/// numbers that follow one another.
#[derive(Clone, Debug, Default)]
pub(super) struct Seqs(RoaringTreemap);

impl Seqs {
    /// Adds a number; whether it was not there.
    pub fn insert(&mut self, seq: u64) -> bool {
        self.0.insert(seq)
    }

    /// Adds the numbers from `first` to `last`, both included.
    pub fn insert_range(&mut self, first: u64, last: u64) {
        self.0.insert_range(first..=last);
    }

    /// Adds all of `other`. Returns those that were there already.
    pub fn merge(&mut self, other: &Seqs) -> Seqs {
        let both = Seqs(&self.0 & &other.0);
        self.0 |= &other.0;
        self.optimize();
        both
    }

    /// Makes it small.
    pub fn optimize(&mut self) {
        self.0.optimize();
    }

    pub fn len(&self) -> u64 {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn first(&self) -> Option<u64> {
        self.0.min()
    }

    pub fn last(&self) -> Option<u64> {
        self.0.max()
    }

    /// The greatest number below `seq`.
    pub fn before(&self, seq: u64) -> Option<u64> {
        let below = self.0.rank(seq.checked_sub(1)?);
        self.0.select(below.checked_sub(1)?)
    }

    /// The least number above `seq`.
    pub fn after(&self, seq: u64) -> Option<u64> {
        self.0.select(self.0.rank(seq))
    }

    /// The numbers as ranges, ascending, with a gap between any two.
    pub fn ranges(&self) -> Vec<RangeInclusive<u64>> {
        if let (Some(first), Some(last)) = (self.first(), self.last())
            && last - first + 1 == self.len()
        {
            return vec![first..=last];
        }
        let mut ranges: Vec<RangeInclusive<u64>> = Vec::new();
        for seq in &self.0 {
            match ranges.last_mut() {
                Some(range) if *range.end() + 1 == seq => *range = *range.start()..=seq,
                _ => ranges.push(seq..=seq),
            }
        }
        ranges
    }

    /// What is missing between `first` and `last`, both included, as ranges, ascending.
    pub fn gaps(&self, first: u64, last: u64) -> Vec<RangeInclusive<u64>> {
        let mut gaps = Vec::new();
        let mut next = first;
        for range in self.ranges() {
            if *range.end() < first {
                continue;
            }
            if *range.start() > last {
                break;
            }
            if *range.start() > next {
                gaps.push(next..=*range.start() - 1);
            }
            next = range.end() + 1;
        }
        if next <= last {
            gaps.push(next..=last);
        }
        gaps
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn seqs(numbers: impl IntoIterator<Item = u64>) -> Seqs {
        let mut seqs = Seqs::default();
        for seq in numbers {
            seqs.insert(seq);
        }
        seqs
    }

    #[test]
    fn gaps_are_those_between_the_bounds() {
        let some = seqs([3, 4, 5, 9, 10, 20]);
        assert_eq!(some.gaps(0, 20), [0..=2, 6..=8, 11..=19]);
        assert_eq!(some.gaps(4, 7), [6..=7]);
        assert_eq!(some.gaps(10, 25), [11..=19, 21..=25]);
        assert_eq!(some.gaps(3, 5), []);
        assert_eq!(Seqs::default().gaps(2, 4), [2..=4]);
        assert_eq!(seqs([7, 8]).gaps(0, 3), [0..=3]);
    }

    #[test]
    fn a_merge_tells_what_was_there() {
        let mut some = seqs(0..1000);
        let both = some.merge(&seqs(990..2000));
        assert_eq!((some.ranges(), both.ranges()), (vec![0..=1999], vec![990..=999]));
        assert!(!some.insert(5) && some.insert(5000));
    }

    #[test]
    fn neighbours_are_found() {
        let some = seqs([0, 5, 6, 10]);
        assert_eq!(
            [some.before(0), some.before(5), some.before(7), some.before(99)],
            [None, Some(0), Some(6), Some(10)]
        );
        assert_eq!([some.after(0), some.after(7), some.after(10)], [Some(5), Some(10), None]);
    }

    #[test]
    fn random_sets_say_the_same_as_plain_ones() {
        use rand::rngs::StdRng;
        use rand::{Rng, SeedableRng};
        let mut rng = StdRng::seed_from_u64(7);
        for _ in 0..300 {
            let plain: BTreeSet<u64> = (0..rng.random_range(0..40)).map(|_| rng.random_range(0..60)).collect();
            let some = seqs(plain.iter().copied());
            let (first, last) = (rng.random_range(0..60), rng.random_range(0..60));
            let missing: Vec<u64> = some.gaps(first, last).into_iter().flatten().collect();
            let expected: Vec<u64> = (first..=last).filter(|seq| !plain.contains(seq)).collect();
            assert_eq!(missing, expected, "{plain:?} from {first} to {last}");
            assert_eq!(some.before(first), plain.range(..first).next_back().copied());
            assert_eq!(some.after(first), plain.range(first + 1..).next().copied());
        }
    }
}
