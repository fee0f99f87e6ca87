//! Which files are to be merged: decided from a snapshot and the time, and from nothing else.
//!
//! - A day that is over is merged as a whole, if it is in more files than it needs or some came late. So many files that
//!   one merge cannot take them are first made fewer: the smallest are merged with one another.
//! - On the day that is not over, files of about the same size are merged when there are many. A merged file is of
//!   another size, so a row is rewritten as often as its file grows sixteenfold, not as often as there is something to
//!   merge.

use std::collections::BTreeMap;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::rewrite::{FAN_IN, pieces};
use super::sizes::Sizes;
use crate::table::SnapshotFile;

/// A file below this is a small one: 256 MB.
pub const FILE_BYTES_MIN: u64 = 256_000_000;
/// So long after its end, a day is over: commits that began before it have ended.
const SETTLING: SignedDuration = SignedDuration::from_hours(1);
/// So many files of about the same size are merged on the day itself.
const SAME_SIZE_MAX: usize = 50;
/// A day that was merged is merged again when so many files have come late, or a tenth of its bytes.
const LATE_FILES: usize = 8;

/// A merge that is due.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The partition.
    pub date: Date,
    /// Files of it, at least two and at most as many as can be merged at once; of a table in JSON, indexes.
    pub inputs: Vec<SnapshotFile>,
    /// What their records take on the store, in bytes.
    pub bytes: u64,
    /// Whether that is all there is of the day, or a fixed part of a very large one.
    pub of_day: bool,
    /// How many files it makes.
    pub pieces: u64,
}

/// Whether the day is over at this time.
fn is_over(date: Date, now: Timestamp) -> bool {
    now.checked_sub(SETTLING).is_ok_and(|now| date < now.to_zoned(TimeZone::UTC).date())
}

/// Merges that are due; none of them shares a file with another. With `only`, this day as a whole and nothing else.
pub(super) fn plan(
    files: &[SnapshotFile],
    sizes: &Sizes,
    now: Timestamp,
    file_size: u64,
    only: Option<Date>,
) -> Vec<Job> {
    let planner = Planner { sizes, file_size };
    let mut days: BTreeMap<Date, Vec<SnapshotFile>> = BTreeMap::new();
    for file in files {
        days.entry(file.date).or_default().push(file.clone());
    }
    let mut jobs = Vec::new();
    for (date, mut files) in days {
        // The smallest first, and always in the same order.
        files.sort_by(|a, b| (sizes.get(a), &a.path).cmp(&(sizes.get(b), &b.path)));
        match only {
            Some(only) if only == date => jobs.extend(planner.whole_day(date, files)),
            Some(_) => {}
            None if !is_over(date, now) => jobs.extend(planner.same_sizes(date, files)),
            None if planner.is_due(&files) => jobs.extend(planner.whole_day(date, files)),
            None => {}
        }
    }
    jobs
}

struct Planner<'a> {
    sizes: &'a Sizes,
    file_size: u64,
}

impl Planner<'_> {
    fn bytes<'a>(&self, files: impl IntoIterator<Item = &'a SnapshotFile>) -> u64 {
        files.into_iter().map(|file| self.sizes.get(file)).sum()
    }

    fn job(&self, date: Date, inputs: Vec<SnapshotFile>, of_day: bool) -> Job {
        let bytes = self.bytes(&inputs);
        Job { date, pieces: pieces(bytes, self.file_size), inputs, bytes, of_day }
    }

    /// Whether a day that is over is to be merged.
    fn is_due(&self, files: &[SnapshotFile]) -> bool {
        if files.len() < 2 {
            return false;
        }
        let total = self.bytes(files);
        let late: Vec<_> = files.iter().filter(|file| !file.compacted).collect();
        if late.is_empty() {
            // Retention may have left little of what was merged.
            return files.len() as u64 > 2 * pieces(total, self.file_size);
        }
        late.len() == files.len() || late.len() >= LATE_FILES || self.bytes(late) >= total / 10
    }

    /// The merge of all these files; or those that make them fewer; or, of a very large day, those of its parts.
    fn whole_day(&self, date: Date, files: Vec<SnapshotFile>) -> Vec<Job> {
        if files.len() < 2 {
            return Vec::new();
        }
        if files.len() <= FAN_IN {
            return vec![self.job(date, files, true)];
        }
        let mut jobs = Vec::new();
        let (mut left, mut rest) = (files.len(), &files[..]);
        while left > FAN_IN {
            let mut bytes = 0;
            let small = rest.iter().take(FAN_IN).take_while(|file| {
                bytes += self.sizes.get(file);
                bytes <= self.file_size
            });
            let count = small.count();
            if count < 2 {
                break;
            }
            let (group, others) = rest.split_at(count);
            jobs.push(self.job(date, group.to_vec(), false));
            (left, rest) = (left - count + 1, others);
        }
        if jobs.is_empty() {
            let parts = files.chunks(FAN_IN).map(|part| self.job(date, part.to_vec(), true));
            return parts.filter(|job| job.inputs.len() > 1).collect();
        }
        jobs
    }

    /// Merges of files of about the same size.
    fn same_sizes(&self, date: Date, files: Vec<SnapshotFile>) -> Vec<Job> {
        let mut tiers: BTreeMap<u32, Vec<SnapshotFile>> = BTreeMap::new();
        for file in files.into_iter().filter(|file| self.sizes.get(file) < self.file_size / 4) {
            tiers.entry(self.sizes.get(&file).max(1).ilog2() / 4).or_default().push(file);
        }
        let mut jobs = Vec::new();
        for files in tiers.into_values().filter(|files| files.len() >= SAME_SIZE_MAX) {
            let groups = files.chunks(FAN_IN).filter(|inputs| inputs.len() >= SAME_SIZE_MAX);
            jobs.extend(groups.map(|inputs| self.job(date, inputs.to_vec(), false)));
        }
        jobs
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use jiff::civil::date;

    use super::*;

    /// By the sizes that the log says.
    fn plan(files: &[SnapshotFile], now: Timestamp, file_size: u64, only: Option<Date>) -> Vec<Job> {
        super::plan(files, &Sizes::default(), now, file_size, only)
    }

    const MB: u64 = 1_000_000;
    const SIZE: u64 = 512 << 20;

    fn day() -> Date {
        date(2026, 2, 3)
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn files(sizes: impl IntoIterator<Item = u64>, compacted: bool) -> Vec<SnapshotFile> {
        let file = |(n, size)| {
            let path = format!("{compacted}-{n}-{size}");
            SnapshotFile { path, size, date: day(), stats: None, crc32c: None, compacted }
        };
        sizes.into_iter().enumerate().map(file).collect()
    }

    /// Merges until nothing is due; returns the sizes and how often each byte was rewritten.
    fn run(mut files: Vec<SnapshotFile>, now: Timestamp) -> (Vec<u64>, f64) {
        let total: u64 = files.iter().map(|file| file.size).sum();
        let mut rewritten = 0;
        for round in 0.. {
            assert!(round < 20, "it never ends");
            let jobs = plan(&files, now, SIZE, None);
            if jobs.is_empty() {
                break;
            }
            for (n, job) in jobs.into_iter().enumerate() {
                assert!((2..=FAN_IN).contains(&job.inputs.len()));
                let inputs: HashSet<_> = job.inputs.iter().map(|file| file.path.clone()).collect();
                let before = files.len();
                files.retain(|file| !inputs.contains(&file.path));
                assert_eq!(before - files.len(), job.inputs.len(), "no two jobs share a file");
                let bytes: u64 = job.inputs.iter().map(|file| file.size).sum();
                rewritten += bytes;
                files.extend((0..job.pieces).map(|piece| SnapshotFile {
                    path: format!("{round}-{n}-{piece}"),
                    size: bytes / job.pieces,
                    compacted: job.of_day,
                    ..job.inputs[0].clone()
                }));
            }
        }
        let mut sizes: Vec<u64> = files.iter().map(|file| file.size).collect();
        sizes.sort_unstable();
        (sizes, rewritten as f64 / total as f64)
    }

    #[test]
    fn a_day_that_is_over_ends_in_as_few_files_as_it_needs() {
        let after = at("2026-02-04T01:00:01Z");
        for (count, size) in
            [(2, 1000), (17_280, 60_000), (17_280, 600_000), (300, 300 * MB), (4, 256 * MB), (70, 9 * MB)]
        {
            let total = count * size;
            let (sizes, rewritten) = run(files((0..count).map(|_| size), false), after);
            assert!(rewritten < 2.1, "{count} files of {size} are rewritten {rewritten} times");
            assert!(sizes.iter().all(|size| *size <= 1000 * MB), "{sizes:?}");
            match total < 2 * FILE_BYTES_MIN {
                true => assert_eq!(sizes.len(), 1, "{sizes:?}"),
                false => assert!(sizes[0] >= FILE_BYTES_MIN, "{sizes:?}"),
            }
        }
    }

    #[test]
    fn a_day_is_over_an_hour_after_its_end() {
        let two = files([1, 2], false);
        for (now, jobs) in [
            ("2026-02-03T12:00:00Z", 0),
            ("2026-02-04T00:59:59Z", 0),
            ("2026-02-04T01:00:00Z", 1),
            ("2026-02-05T00:00:00Z", 1),
        ] {
            assert_eq!(plan(&two, at(now), SIZE, None).len(), jobs, "{now}");
        }
        assert_eq!(plan(&two, at("2026-02-03T12:00:00Z"), SIZE, Some(day())).len(), 1, "asked for by name");
        assert_eq!(plan(&two, at("2026-02-09T12:00:00Z"), SIZE, Some(date(2026, 2, 4))).len(), 0);
        assert_eq!(plan(&files([1], false), at("2026-02-09T12:00:00Z"), SIZE, None), [], "one file is sorted");
    }

    #[test]
    fn what_is_merged_is_merged_again_only_for_what_came_late() {
        let after = at("2026-02-05T00:00:00Z");
        let due = |files: Vec<SnapshotFile>| !plan(&files, after, SIZE, None).is_empty();
        let merged = || files([500 * MB, 500 * MB], true);
        assert!(!due(merged()));
        let with = |late: Vec<u64>| [merged(), files(late, false)].concat();
        assert!(!due(with(vec![MB; 3])), "a few small ones are not worth it");
        assert!(due(with(vec![MB; 8])));
        assert!(due(with(vec![200 * MB])));
        assert!(due(files([40 * MB; 20], true)), "retention has left little of it");
    }

    #[test]
    fn on_the_day_itself_a_row_is_rewritten_only_a_few_times() {
        let now = at("2026-02-03T23:00:00Z");
        let (mut files, mut rewritten, mut total) = (Vec::new(), 0, 0);
        for n in 0..17_280_u64 {
            total += 60_000;
            files.push(SnapshotFile {
                path: format!("new-{n}"),
                size: 60_000,
                date: day(),
                stats: None,
                crc32c: None,
                compacted: false,
            });
            for (k, job) in plan(&files, now, SIZE, None).into_iter().enumerate() {
                assert!(!job.of_day);
                files.retain(|file| !job.inputs.contains(file));
                let size: u64 = job.inputs.iter().map(|file| file.size).sum();
                rewritten += size;
                files.push(SnapshotFile { path: format!("{n}-{k}"), size, ..job.inputs[0].clone() });
            }
            assert!(files.len() < FAN_IN, "{}", files.len());
        }
        assert!(rewritten <= total * 5 / 2, "{}", rewritten as f64 / total as f64);
    }
}
