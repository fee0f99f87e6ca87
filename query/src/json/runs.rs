//! Members that lie side by side, put together into what is fetched by one request.

use datafusion::datasource::listing::PartitionedFile;
use jiff::civil::Date;
use logboom_sink::json::Member;
use logboom_sink::schema::file_schema;
use logboom_sink::table::{FileStats, SnapshotFile};

use crate::file::{newest, partitioned};

/// A run that has this many bytes takes no more members: what is larger is worth a second request, because two are
/// unpacked at the same time.
const RUN_BYTES: u64 = 32 << 20;

/// Members of one file, each beginning where the one before it ends. Never empty.
#[derive(Debug)]
pub(crate) struct Run(Vec<Member>);

impl Run {
    /// Puts together what lies side by side. `members` come as in their index.
    pub(crate) fn of(members: impl IntoIterator<Item = Member>) -> Vec<Self> {
        let mut runs: Vec<Self> = Vec::new();
        for member in members {
            match runs.last_mut() {
                Some(run) if run.takes(&member) => run.0.push(member),
                _ => runs.push(Self(vec![member])),
            }
        }
        runs
    }

    fn takes(&self, member: &Member) -> bool {
        let range = self.range();
        self.0[0].path == member.path && range.end == member.offset && range.end - range.start < RUN_BYTES
    }

    pub(super) fn members(&self) -> &[Member] {
        &self.0
    }

    pub(super) fn range(&self) -> std::ops::Range<u64> {
        let last = self.0.last().expect("never empty");
        self.0[0].offset..last.offset + last.length
    }

    /// The run as DataFusion scans it: a file of the range's size, and the run beside it. `date` is that of the index.
    /// How new its newest record is comes first.
    pub(super) fn into_file(self, date: Date) -> ((i64, Date), PartitionedFile) {
        let mut stats = FileStats::default();
        self.0.iter().for_each(|member| stats.extend(&member.stats));
        let range = self.range();
        let (path, size) = (self.0[0].path.to_string(), range.end - range.start);
        let file = SnapshotFile { path, size, date, stats: Some(stats), crc32c: None, compacted: false };
        (newest(&file), partitioned(&file, &file_schema()).with_extension(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(path: &str, offset: u64, length: u64) -> Member {
        Member { path: path.into(), offset, length, raw_length: 1, crc32c: 0, stats: FileStats::default() }
    }

    #[test]
    fn what_lies_side_by_side_is_one_run_up_to_its_limit() {
        let members = [
            member("a", 0, 10),
            member("a", 10, 5),
            member("a", 16, 5),
            member("b", 21, 5),
            member("b", 26, RUN_BYTES),
            member("b", 26 + RUN_BYTES, 1),
        ];
        let runs = Run::of(members);
        let ranges: Vec<_> = runs.iter().map(|run| (&*run.members()[0].path, run.range())).collect();
        assert_eq!(
            ranges,
            [("a", 0..15), ("a", 16..21), ("b", 21..26 + RUN_BYTES), ("b", 26 + RUN_BYTES..27 + RUN_BYTES)]
        );
    }
}
