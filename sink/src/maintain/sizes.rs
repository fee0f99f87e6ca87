//! What the records of files come to on the store, in bytes: what merges are planned by.
//!
//! A file in Parquet has the size that the log says. That of an index has nothing to do with how much it lists, which is
//! therefore read from it; only of days of more than one file, for others are not merged.

use std::collections::HashMap;

use futures::StreamExt;
use jiff::civil::Date;

use crate::json::read_index;
use crate::table::{Snapshot, SnapshotFile};
use crate::{FileFormat, Store};

/// Indexes that are read at once.
const FETCHES: usize = 16;

/// See the module. By default those of the log.
#[derive(Debug, Default)]
pub(super) struct Sizes(HashMap<String, u64>);

impl Sizes {
    /// Those of the files of a snapshot.
    pub async fn of(store: &Store, snapshot: &Snapshot) -> Self {
        if snapshot.format == FileFormat::Parquet {
            return Self::default();
        }
        let mut files_of_day: HashMap<Date, u64> = HashMap::new();
        snapshot.files.iter().for_each(|file| *files_of_day.entry(file.date).or_default() += 1);
        let files: Vec<_> = snapshot.files.iter().filter(|file| files_of_day[&file.date] > 1).collect();
        let read = files.into_iter().map(|file| async {
            // One that cannot be read says so when it is to be merged, and holds up only its day.
            let members = read_index(&**store.objects(), &file.path, file.size).await;
            let bytes = members.map_or(file.size, |members| members.iter().map(|member| member.length).sum());
            (file.path.clone(), bytes)
        });
        let read: Vec<_> = read.collect();
        Self(futures::stream::iter(read).buffer_unordered(FETCHES).collect().await)
    }

    /// That of this file.
    pub fn get(&self, file: &SnapshotFile) -> u64 {
        self.0.get(&file.path).copied().unwrap_or(file.size)
    }
}
