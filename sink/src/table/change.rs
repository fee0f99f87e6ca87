//! What a commit changes: blocks that arrive, or files that others take the place of.
//!
//! Owns what each kind of change must be, the actions that it becomes, and which commit of somebody else contradicts
//! it. In which order things happen is `commit`'s.

use std::collections::{BTreeMap, HashSet};

use jiff::civil::Date;
use logboom_config::{FileFormat, planted};
use logboom_wire::StreamId;

use super::actions::{self, Action, Add, CommitInfo, Remove, Txn};
use super::clock::Moment;
use super::snapshot::{Snapshot, SnapshotFile};
use super::stats::FileStats;
use super::view::{View, stream_of};
use crate::Error;
use crate::checksum;
use crate::paths;
use crate::schema::PARTITION_COLUMN;

/// The tag of an `add` whose file is sorted over all that its day had.
pub(super) const COMPACTED_TAG: &str = "logboom.compacted";

/// A sink file that is on the store and not yet part of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataFile {
    /// Relative to the table's root, not encoded.
    pub path: String,
    /// In bytes.
    pub size: u64,
    /// Its partition.
    pub date: Date,
    /// What it says about its rows.
    pub stats: FileStats,
    /// CRC32C of its bytes, if it was taken while they were written.
    pub crc32c: Option<u32>,
}

/// What was known before files were begun: see [`View::begin_files`].
#[derive(Clone, Copy, Debug)]
pub struct Begun {
    /// The version of the view. A vacuum that takes a later one may count the files as garbage.
    pub(super) version: u64,
    /// The time on this machine.
    pub(super) at: Moment,
}

/// What is committed together: the files hold every block that the marks move past, and nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The sink files.
    pub files: &'a [DataFile],
    /// The new mark of each stream in the batch: higher than the view's.
    pub marks: &'a [(StreamId, u64)],
    /// Taken before the first of the files was begun. Vacuum takes files that stay uncommitted for long for garbage, so
    /// they are refused when they are old.
    pub begun: Begun,
}

/// Files that take the place of others, or of nothing. Moves no mark.
#[derive(Clone, Copy, Debug)]
pub struct Rewrite<'a> {
    /// What it is.
    pub operation: Operation,
    /// These are part of the table, and no longer so afterwards.
    pub remove: &'a [SnapshotFile],
    /// These hold the rows of `remove` that stay, each once.
    pub add: &'a [DataFile],
    /// The files in `add` are sorted over all that their day has.
    pub compacted: bool,
    /// As in [`Batch::begun`], of the very view that `remove` was taken from.
    pub begun: Begun,
}

impl Rewrite<'_> {
    /// One that changes nothing: it takes the version after this view.
    pub fn fence(view: &View) -> Self {
        Self { operation: Operation::Fence, remove: &[], add: &[], compacted: false, begun: view.begin_files() }
    }
}

/// What a rewrite does to the rows of the table. Its name stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// The same rows in other files.
    Compact,
    /// Rows go because they are too old.
    Retain,
    /// Nothing: the next version is taken, so that a writer who slept cannot have it. See [`crate::maintain`].
    Fence,
}

/// Either kind of change.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// Blocks arrive.
    Blocks(Batch<'a>),
    /// Files take the place of others.
    Rewrite(Rewrite<'a>),
}

impl<'a> From<Batch<'a>> for Change<'a> {
    fn from(batch: Batch<'a>) -> Self {
        Self::Blocks(batch)
    }
}

impl<'a> From<Rewrite<'a>> for Change<'a> {
    fn from(rewrite: Rewrite<'a>) -> Self {
        Self::Rewrite(rewrite)
    }
}

/// What a commit is to a change that wanted its version.
pub(super) enum Seen {
    /// It has this identity.
    Ours,
    /// It changes something that the change relies on, or what the table is.
    Conflict,
    /// It has nothing to do with it.
    Other,
}

impl Operation {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Compact => "OPTIMIZE",
            Self::Retain => "DELETE",
            Self::Fence => "VACUUM START",
        }
    }
}

impl Change<'_> {
    /// # Panics
    /// If the change contradicts itself or the view: see [`super::commit()`].
    pub(super) fn check(&self, view: &View) {
        if let Self::Blocks(batch) = self {
            assert!(!batch.marks.is_empty(), "a batch moves at least one mark");
            let mut streams = HashSet::new();
            for (stream, mark) in batch.marks {
                assert!(streams.insert(stream), "stream {stream} is in the batch twice");
                let before = view.mark(*stream);
                assert!(*mark > before, "stream {stream} is at {before} already, the batch ends at {mark}");
            }
        }
        let removed: &[SnapshotFile] = match self {
            Self::Blocks(_) => &[],
            Self::Rewrite(rewrite) => rewrite.remove,
        };
        let mut paths = HashSet::new();
        for path in self.files().iter().map(|file| &file.path).chain(removed.iter().map(|file| &file.path)) {
            assert!(paths.insert(path), "file {path} is in the commit twice");
        }
        for file in self.files() {
            let format = if file.stats.members.is_some() { FileFormat::Json } else { FileFormat::Parquet };
            assert_eq!(format, view.format(), "file {} is none of this table", file.path);
        }
    }

    /// The files that become part of the table.
    pub(super) fn files(&self) -> &[DataFile] {
        match self {
            Self::Blocks(batch) => batch.files,
            Self::Rewrite(rewrite) => rewrite.add,
        }
    }

    pub(super) fn begun(&self) -> Begun {
        match self {
            Self::Blocks(batch) => batch.begun,
            Self::Rewrite(rewrite) => rewrite.begun,
        }
    }

    /// Whether all that the change relies on is as it was, in a view that was opened anew. `marks` are those that the
    /// batch was filtered by.
    pub(super) async fn still_fits(&self, view: &View, marks: &[u64]) -> Result<bool, Error> {
        match self {
            Self::Blocks(batch) => {
                Ok(batch.marks.iter().zip(marks).all(|((stream, _), mark)| view.mark(*stream) == *mark))
            }
            Self::Rewrite(rewrite) if rewrite.remove.is_empty() => Ok(true),
            Self::Rewrite(rewrite) => {
                let snapshot = Snapshot::load_at(&view.log().store, view.version()).await?;
                let live: HashSet<&str> = snapshot.files.iter().map(|file| file.path.as_str()).collect();
                Ok(rewrite.remove.iter().all(|file| live.contains(file.path.as_str())))
            }
        }
    }

    /// What this commit of somebody is to the change, which is put with this identity.
    pub(super) fn compare(&self, found: &[Action], txn_id: &str) -> Seen {
        if actions::txn_id(found) == Some(txn_id) {
            return Seen::Ours;
        }
        let is_input = |path: &str| match self {
            Self::Blocks(_) => false,
            Self::Rewrite(_) if planted::bug("rewrite_ignores_rivals") => false,
            Self::Rewrite(rewrite) => {
                paths::from_uri(path).is_none_or(|path| rewrite.remove.iter().any(|file| file.path == path))
            }
        };
        let conflicts = found.iter().any(|action| match (action, self) {
            (Action::Protocol(_) | Action::Metadata(_), _) => true,
            (Action::Txn(txn), Self::Blocks(batch)) => {
                batch.marks.iter().any(|(stream, _)| stream_of(txn) == Some(*stream))
            }
            (Action::Remove(remove), _) => is_input(&remove.path),
            (Action::Add(add), _) => is_input(&add.path),
            _ => false,
        });
        if conflicts { Seen::Conflict } else { Seen::Other }
    }

    /// The lines of the commit, its marks stamped with a time of their own.
    pub(super) fn actions(&self, txn_id: &str, now_ms: i64, mark_ms: i64) -> Vec<Action> {
        let (operation, removed, data_change, compacted) = match self {
            Self::Blocks(_) => ("WRITE", &[][..], true, false),
            Self::Rewrite(Rewrite { operation, remove, compacted, .. }) => {
                (operation.name(), *remove, matches!(operation, Operation::Retain), *compacted)
            }
        };
        let mut actions = vec![Action::CommitInfo(CommitInfo::new(txn_id, operation, now_ms))];
        if let Self::Blocks(batch) = self {
            actions.extend(batch.marks.iter().map(|(stream, mark)| {
                Action::Txn(Txn {
                    app_id: stream.to_string(),
                    version: i64::try_from(*mark).expect("no stream has so many blocks"),
                    last_updated: Some(mark_ms),
                })
            }));
        }
        actions.extend(removed.iter().map(|file| {
            Action::Remove(Remove {
                path: paths::to_uri(&file.path),
                deletion_timestamp: Some(now_ms),
                data_change,
                extended_file_metadata: Some(true),
                partition_values: Some(partition_values(file.date)),
                size: Some(bytes(file.size)),
            })
        }));
        actions.extend(self.files().iter().map(|file| {
            Action::Add(Add {
                path: paths::to_uri(&file.path),
                partition_values: partition_values(file.date),
                size: bytes(file.size),
                modification_time: now_ms,
                data_change,
                stats: Some(file.stats.to_json()),
                // What tells of removed rows is of another day than they.
                tags: tags(file, compacted && removed.iter().any(|removed| removed.date == file.date)),
            })
        }));
        actions
    }
}

fn tags(file: &DataFile, compacted: bool) -> Option<BTreeMap<String, Option<String>>> {
    let sum = file.crc32c.map(|sum| (checksum::TAG.to_owned(), Some(checksum::to_text(sum))));
    let compacted = compacted.then(|| (COMPACTED_TAG.to_owned(), Some("day".to_owned())));
    let tags: BTreeMap<_, _> = sum.into_iter().chain(compacted).collect();
    (!tags.is_empty()).then_some(tags)
}

fn partition_values(date: Date) -> BTreeMap<String, Option<String>> {
    BTreeMap::from([(PARTITION_COLUMN.to_owned(), Some(date.to_string()))])
}

fn bytes(size: u64) -> i64 {
    i64::try_from(size).expect("no object is so large")
}
