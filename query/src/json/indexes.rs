//! The indexes of one snapshot, each read when a query first needs it and then kept.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use datafusion::datasource::listing::PartitionedFile;
use datafusion::error::{DataFusionError, Result};
use futures::stream::{self, StreamExt, TryStreamExt};
use logboom_sink::json::{Member, read_index};
use logboom_sink::table::{Snapshot, SnapshotFile};
use object_store::ObjectStore;

use crate::columns::plain;
use crate::table::Files;

/// So many indexes are fetched at a time.
const FETCHES: usize = 16;

/// The indexes that a snapshot names, and the members of those that were read.
#[derive(Debug)]
pub(crate) struct Indexes {
    files: Arc<Files>,
    listed: HashMap<String, SnapshotFile>,
    read: Mutex<Read>,
}

#[derive(Debug, Default)]
struct Read {
    members: HashMap<String, Arc<Vec<Member>>>,
    /// The JSON files that they are in: how many, and their bytes.
    files: u64,
    bytes: u64,
}

/// An index with its members.
pub(crate) struct Index {
    pub(crate) file: SnapshotFile,
    pub(crate) members: Arc<Vec<Member>>,
}

impl Indexes {
    pub(crate) fn new(snapshot: Snapshot) -> Self {
        let files = snapshot.files;
        Self {
            listed: files.iter().map(|file| (file.path.clone(), file.clone())).collect(),
            files: Arc::new(Files::with_columns(files, plain())),
            read: Mutex::default(),
        }
    }

    /// The indexes as files that can be pruned.
    pub(crate) fn files(&self) -> &Arc<Files> {
        &self.files
    }

    /// How many files there are: indexes, and the JSON files of those that were read.
    pub(crate) fn count(&self) -> u64 {
        self.files.count() + self.read.lock().expect("no panic while reading").files
    }

    /// The size of those files together.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.bytes() + self.read.lock().expect("no panic while reading").bytes
    }

    /// The members of these indexes, in the order of `files`.
    pub(super) async fn members(&self, files: &[PartitionedFile], store: &dyn ObjectStore) -> Result<Vec<Index>> {
        let listed: Vec<SnapshotFile> = files.iter().map(|file| self.listed[file.path().as_ref()].clone()).collect();
        let indexes = stream::iter(listed).map(|file| self.index(file, store));
        indexes.buffered(FETCHES).try_collect().await
    }

    /// The members of this index.
    pub(crate) async fn index(&self, file: SnapshotFile, store: &dyn ObjectStore) -> Result<Index> {
        let known = self.read.lock().expect("no panic while reading").members.get(&file.path).cloned();
        let members = match known {
            Some(members) => members,
            None => {
                let members = read_index(store, &file.path, file.size).await;
                self.keep(&file, members.map_err(|error| DataFusionError::Execution(error.to_string()))?)
            }
        };
        Ok(Index { file, members })
    }

    fn keep(&self, file: &SnapshotFile, members: Vec<Member>) -> Arc<Vec<Member>> {
        let mut sizes: BTreeMap<Arc<str>, u64> = BTreeMap::new();
        for member in &members {
            let size = sizes.entry(member.path.clone()).or_default();
            *size = (*size).max(member.offset + member.length);
        }
        let members = Arc::new(members);
        let mut read = self.read.lock().expect("no panic while reading");
        // Another query may have read it meanwhile.
        if read.members.insert(file.path.clone(), members.clone()).is_none() {
            read.files += sizes.len() as u64;
            read.bytes += sizes.values().sum::<u64>();
        }
        members
    }
}
