//! What a query cost: files and bytes read, of how many there are.

use std::collections::HashSet;
use std::fmt;
use std::sync::Mutex;

use object_store::path::Path;

/// Files and bytes that a query has read so far, and those of the whole table.
///
/// A query that is answered from the table's log alone has read nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Sink files, and indexes of those in JSON, of which at least one byte was fetched.
    pub files_read: u64,
    /// Bytes fetched from the store, footers and gaps between merged ranges included.
    pub bytes_read: u64,
    /// Requests sent to the store.
    pub requests: u64,
    /// Sink files in the snapshot; of those in JSON, the indexes and what those name that were read.
    pub files_total: u64,
    /// Their size together.
    pub bytes_total: u64,
    /// A cluster reads; what it reads is not counted here.
    pub elsewhere: bool,
}

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.elsewhere {
            return write!(f, "{} files of {}, read by the cluster", self.files_total, human_bytes(self.bytes_total));
        }
        let noun = if self.files_read == 1 { "file" } else { "files" };
        let (read, total) = (human_bytes(self.bytes_read), human_bytes(self.bytes_total));
        write!(f, "{} {noun}, {read} read of {total}", self.files_read)
    }
}

/// Counts fetches while they happen.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    fetched: Mutex<Fetched>,
    elsewhere: bool,
}

#[derive(Debug, Default)]
struct Fetched {
    files: HashSet<Path>,
    bytes: u64,
    requests: u64,
}

impl Meter {
    /// For what a cluster reads.
    #[cfg(feature = "remote")]
    pub(crate) fn elsewhere() -> Self {
        Self { elsewhere: true, ..Self::default() }
    }

    pub(crate) fn add(&self, file: &Path, bytes: u64, requests: u64) {
        let mut fetched = self.fetched.lock().expect("no panic while counting");
        fetched.bytes += bytes;
        fetched.requests += requests;
        if bytes > 0 && !fetched.files.contains(file) {
            fetched.files.insert(file.clone());
        }
    }

    pub(crate) fn usage(&self, files_total: u64, bytes_total: u64) -> Usage {
        let fetched = self.fetched.lock().expect("no panic while counting");
        Usage {
            files_read: fetched.files.len() as u64,
            bytes_read: fetched.bytes,
            requests: fetched.requests,
            files_total,
            bytes_total,
            elsewhere: self.elsewhere,
        }
    }
}

fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let mut value = bytes as f64 / 1000.0;
    let mut unit = 0;
    // 999.95 is where one decimal would round to 1000.0.
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if value < 10.0 { format!("{value:.1} {}", UNITS[unit]) } else { format!("{value:.0} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_reads_as_a_sentence() {
        let usage = Usage {
            files_read: 3,
            bytes_read: 1_234_567,
            requests: 9,
            files_total: 70,
            bytes_total: 840_000_000,
            elsewhere: false,
        };
        assert_eq!(usage.to_string(), "3 files, 1.2 MB read of 840 MB");
        let usage = Usage { elsewhere: true, ..usage };
        assert_eq!(usage.to_string(), "70 files of 840 MB, read by the cluster");
        assert_eq!(Usage::default().to_string(), "0 files, 0 B read of 0 B");
    }

    #[test]
    fn a_size_keeps_two_digits_or_more_and_never_says_a_thousand() {
        assert_eq!(human_bytes(999), "999 B");
        assert_eq!(human_bytes(1000), "1.0 kB");
        assert_eq!(human_bytes(999_970), "1.0 MB");
        assert_eq!(human_bytes(u64::MAX), "18447 PB");
    }
}
