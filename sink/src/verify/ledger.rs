//! The ledger: for each stream the numbers that are there, and those that may be missing.
//!
//! Owns the judgement. It knows nothing of files; what is added to it may come in any order.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use logboom_wire::StreamId;

use super::Scope;
use super::pass::{FileRows, Part};
use super::report::{Doubled, HostReport, Missing, StreamReport};
use super::seqs::Seqs;

/// Ranges that a report names for each stream; the rest is only counted.
const RANGES_MAX: usize = 1000;

/// What a loss record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    pub host: String,
    pub reason: String,
    pub records: u64,
    /// Which they were, if they had a number.
    pub numbered: Option<Numbered>,
}

/// Records by their numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Numbered {
    pub stream: StreamId,
    pub first: u64,
    pub last: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    streams: BTreeMap<StreamId, Entry>,
    /// Records that were given up before they had a number: by host and reason.
    unnumbered: BTreeMap<String, BTreeMap<String, u64>>,
}

#[derive(Debug)]
struct Entry {
    host: String,
    seqs: Seqs,
    doubled: Seqs,
    /// Least and greatest observed time.
    times: Option<(i64, i64)>,
    within: Option<(u64, u64)>,
    /// What may be missing, and why.
    allowed: Vec<Allowed>,
}

#[derive(Clone, Debug)]
struct Allowed {
    first: u64,
    last: u64,
    reason: String,
}

impl Ledger {
    fn entry(&mut self, stream: StreamId, host: &str) -> &mut Entry {
        self.streams.entry(stream).or_insert_with(|| Entry {
            host: host.to_owned(),
            seqs: Seqs::default(),
            doubled: Seqs::default(),
            times: None,
            within: None,
            allowed: Vec::new(),
        })
    }

    /// Adds what is in a file.
    pub fn add(&mut self, rows: FileRows) {
        for (stream, part) in rows.parts {
            let Part { host, seqs, doubled, times, within } = part;
            let entry = self.entry(stream, &host);
            if entry.seqs.is_empty() {
                // A loss record may have named it before, from a host of another name.
                entry.host = host;
            }
            let again = entry.seqs.merge(&seqs);
            entry.doubled.merge(&again);
            entry.doubled.merge(&doubled);
            entry.times = Some(entry.times.map_or(times, |(from, to)| (from.min(times.0), to.max(times.1))));
            entry.within = match (entry.within, within) {
                (Some((a, b)), Some((c, d))) => Some((a.min(c), b.max(d))),
                (one, other) => one.or(other),
            };
        }
        for loss in rows.losses {
            match &loss.numbered {
                Some(Numbered { stream, first, last }) => self.allow(*stream, &loss.host, *first, *last, &loss.reason),
                None => {
                    let reasons = self.unnumbered.entry(loss.host).or_default();
                    *reasons.entry(loss.reason).or_default() += loss.records;
                }
            }
        }
    }

    /// These numbers may be missing.
    pub fn allow(&mut self, stream: StreamId, host: &str, first: u64, last: u64, reason: &str) {
        self.entry(stream, host).allowed.push(Allowed { first, last, reason: reason.to_owned() });
    }

    /// Host and last number of a stream, as far as any row of it is there.
    pub fn end(&self, stream: StreamId) -> (Option<String>, Option<u64>) {
        let entry = self.streams.get(&stream);
        (entry.map(|entry| entry.host.clone()), entry.and_then(|entry| entry.seqs.last()))
    }

    /// The judgement, by host.
    pub fn judge(&self, scope: &Scope) -> Vec<HostReport> {
        let mut hosts: BTreeMap<&str, HostReport> = BTreeMap::new();
        fn report<'a, 'b>(hosts: &'b mut BTreeMap<&'a str, HostReport>, host: &'a str) -> &'b mut HostReport {
            hosts.entry(host).or_insert_with(|| HostReport { host: host.to_owned(), ..HostReport::default() })
        }
        for (stream, entry) in &self.streams {
            if scope.takes(&entry.host, *stream)
                && let Some(judged) = entry.judge(*stream, scope)
            {
                report(&mut hosts, &entry.host).streams.push(judged);
            }
        }
        for (host, reasons) in &self.unnumbered {
            if scope.takes_host(host) && scope.stream.is_none() {
                report(&mut hosts, host).unnumbered = reasons.clone();
            }
        }
        hosts.into_values().collect()
    }
}

impl Entry {
    /// `None` if it has nothing to do with the time asked for.
    fn judge(&self, stream: StreamId, scope: &Scope) -> Option<StreamReport> {
        let (first, last) = self.judged(scope)?;
        let mut report = StreamReport {
            stream,
            first,
            last,
            records: 0,
            times: self.times,
            missing: Vec::new(),
            missing_by_reason: BTreeMap::new(),
            unexplained: 0,
            doubled: Vec::new(),
            doubled_records: 0,
        };
        let allowed = without_overlaps(self.allowed.clone());
        let mut missing = 0;
        for gap in self.seqs.gaps(first, last) {
            missing += gap.end() - gap.start() + 1;
            for piece in pieces(gap, &allowed) {
                let records = piece.last - piece.first + 1;
                match &piece.reason {
                    Some(reason) => *report.missing_by_reason.entry(reason.clone()).or_default() += records,
                    None => report.unexplained += records,
                }
                if report.missing.len() < RANGES_MAX {
                    report.missing.push(piece);
                }
            }
        }
        report.records = last + 1 - first - missing;
        for range in self.doubled.ranges() {
            let (from, to) = ((*range.start()).max(first), (*range.end()).min(last));
            if from > to {
                continue;
            }
            report.doubled_records += to - from + 1;
            if report.doubled.len() < RANGES_MAX {
                report.doubled.push(Doubled { first: from, last: to, files: Vec::new() });
            }
        }
        Some(report)
    }

    /// The numbers that are judged, both included.
    fn judged(&self, scope: &Scope) -> Option<(u64, u64)> {
        if scope.observed().is_none() {
            let allowed = self.allowed.iter().map(|allowed| allowed.last).max();
            return Some((0, self.seqs.last().max(allowed)?));
        }
        // Of a time, all between the last row before it and the first row after it.
        let (first, last) = self.within?;
        let from = self.seqs.before(first).map_or(0, |before| before + 1);
        let to = self.seqs.after(last).map_or(last, |after| after - 1);
        Some((from, to))
    }
}

/// Ascending; of two that overlap the one that begins first has what they share.
fn without_overlaps(mut allowed: Vec<Allowed>) -> Vec<Allowed> {
    allowed.sort_by_key(|allowed| allowed.first);
    let mut next = 0;
    allowed.retain_mut(|allowed| {
        allowed.first = allowed.first.max(next);
        let left = allowed.first <= allowed.last;
        if left {
            next = allowed.last + 1;
        }
        left
    });
    allowed
}

/// A gap cut where the reasons change.
fn pieces(gap: RangeInclusive<u64>, allowed: &[Allowed]) -> Vec<Missing> {
    let (mut next, end) = gap.into_inner();
    let mut pieces = Vec::new();
    let mut piece = |first, last, reason: Option<&str>| {
        pieces.push(Missing { first, last, reason: reason.map(str::to_owned), between: (None, None) });
    };
    let from = allowed.partition_point(|allowed| allowed.last < next);
    for allowed in &allowed[from..] {
        if allowed.first > end {
            break;
        }
        if allowed.first > next {
            piece(next, allowed.first - 1, None);
        }
        let last = allowed.last.min(end);
        piece(allowed.first.max(next), last, Some(&allowed.reason));
        next = last + 1;
    }
    if next <= end {
        piece(next, end, None);
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(n: u8) -> StreamId {
        StreamId::from_bytes([n; 16])
    }

    fn rows(numbers: impl IntoIterator<Item = u64>) -> FileRows {
        let mut part =
            Part { host: "h".into(), seqs: Seqs::default(), doubled: Seqs::default(), times: (0, 0), within: None };
        for seq in numbers {
            if !part.seqs.insert(seq) {
                part.doubled.insert(seq);
            }
        }
        FileRows { parts: BTreeMap::from([(stream(1), part)]), losses: Vec::new() }
    }

    fn missing(report: &StreamReport) -> Vec<(u64, u64, Option<&str>)> {
        report.missing.iter().map(|m| (m.first, m.last, m.reason.as_deref())).collect()
    }

    #[test]
    fn a_gap_is_cut_where_reasons_begin_and_end() {
        let mut ledger = Ledger::default();
        ledger.add(rows([10, 11]));
        ledger.add(rows(20..30));
        ledger.allow(stream(1), "h", 0, 4, "a");
        ledger.allow(stream(1), "h", 3, 6, "b");
        ledger.allow(stream(1), "h", 11, 14, "c");
        ledger.allow(stream(1), "h", 16, 16, "d");
        ledger.allow(stream(1), "h", 25, 31, "tail");
        let hosts = ledger.judge(&Scope::default());
        let report = &hosts[0].streams[0];
        let expected = [
            (0, 4, Some("a")),
            (5, 6, Some("b")),
            (7, 9, None),
            (12, 14, Some("c")),
            (15, 15, None),
            (16, 16, Some("d")),
            (17, 19, None),
            (30, 31, Some("tail")),
        ];
        assert_eq!(missing(report), expected);
        assert_eq!((report.records, report.unexplained, report.first, report.last), (12, 7, 0, 31));
        assert_eq!(report.missing_by_reason.values().sum::<u64>(), 5 + 2 + 3 + 1 + 2);
    }

    #[test]
    fn a_row_that_is_there_twice_is_found_within_a_file_and_across_files() {
        let mut ledger = Ledger::default();
        ledger.add(rows([0, 1, 2, 2]));
        ledger.add(rows([1, 3, 4]));
        ledger.add(rows([1]));
        let hosts = ledger.judge(&Scope::default());
        let report = &hosts[0].streams[0];
        let doubled: Vec<_> = report.doubled.iter().map(|d| (d.first, d.last)).collect();
        assert_eq!((doubled, report.doubled_records, report.unexplained), (vec![(1, 2)], 2, 0));
        assert_eq!(report.records, 5);
    }

    #[test]
    fn a_stream_of_which_nothing_arrived_is_known_by_its_losses() {
        let mut ledger = Ledger::default();
        ledger.allow(stream(1), "h", 0, 9, "drop_oldest");
        let hosts = ledger.judge(&Scope::default());
        assert_eq!(missing(&hosts[0].streams[0]), [(0, 9, Some("drop_oldest"))]);
        assert_eq!(hosts[0].streams[0].records, 0);
    }

    #[test]
    fn random_ledgers_agree_with_counting_by_hand() {
        use rand::rngs::StdRng;
        use rand::{Rng, SeedableRng};
        let mut rng = StdRng::seed_from_u64(3);
        for _ in 0..500 {
            let (mut ledger, mut copies, mut allowed) = (Ledger::default(), [0u32; 50], [false; 50]);
            for _ in 0..rng.random_range(1..6) {
                let numbers: Vec<u64> = (0..rng.random_range(1..30)).map(|_| rng.random_range(0..40)).collect();
                numbers.iter().for_each(|seq| copies[*seq as usize] += 1);
                ledger.add(rows(numbers));
            }
            for _ in 0..rng.random_range(0..4) {
                let first = rng.random_range(0..45);
                let last = rng.random_range(first..50);
                (first..=last).for_each(|seq| allowed[seq as usize] = true);
                ledger.allow(stream(1), "h", first, last, "x");
            }
            let hosts = ledger.judge(&Scope::default());
            let report = &hosts[0].streams[0];
            let last = (0..50).rfind(|seq| copies[*seq] > 0 || allowed[*seq]).unwrap();
            let count = |wanted: &dyn Fn(usize) -> bool| (0..=last).filter(|seq| wanted(*seq)).count() as u64;
            assert_eq!(report.last, last as u64);
            assert_eq!(report.records, count(&|seq| copies[seq] > 0));
            assert_eq!(report.unexplained, count(&|seq| copies[seq] == 0 && !allowed[seq]));
            assert_eq!(report.doubled_records, count(&|seq| copies[seq] > 1));
            let explained: u64 = report.missing_by_reason.values().sum();
            assert_eq!(explained, count(&|seq| copies[seq] == 0 && allowed[seq]));
        }
    }
}
