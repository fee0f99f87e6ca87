//! Maintenance: what keeps a table cheap to own after years of commits.
//!
//! | file | what |
//! |---|---|
//! | `plan` | which files are to be merged, decided from a snapshot |
//! | `input` | a sink file, read in windows of rows |
//! | `inputs` | rows of many of them in one order |
//! | `sizes` | what files come to, for the plan |
//! | `rewrite` | many sink files in, few sorted ones out, with the same rows |
//! | `compact` | a day's files become few large ones |
//! | `retain` | rows go when they are too old for their category |
//! | `vacuum` | objects go that nothing refers to any more |
//! | `lease` | who does all that, so that not everybody does |
//!
//! All of it goes through [`crate::table::commit()`], and nothing depends on who does it or on how many do it at once.
//!
//! # When vacuum may delete a file
//!
//! 1. A file that no version has named is garbage, or it is about to be committed. Who commits refuses files that were
//!    written longer ago than half of the grace; vacuum takes none that the store has not had for all of it.
//! 2. Between its look at the clock and its put a writer may sleep. So vacuum takes the next version for itself (an
//!    empty commit, the *fence*) before it looks which files the table has: whoever looked at the clock before that has
//!    lost the version, and has to look again.
//! 3. Ages are differences between times that the store itself gave: that of the fence, and that of the file.
//! 4. A file that was part of the table is kept for the grace after its removal, for queries that still read it.

mod compact;
mod input;
mod inputs;
mod lease;
mod plan;
mod retain;
mod rewrite;
mod sizes;
mod vacuum;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

pub use compact::{Compacted, Days, compact, compaction_due};
pub use lease::{Lease, LeaseSettings, Standing};
pub use plan::{FILE_BYTES_MIN, Job};
pub use retain::{Retained, Retention, RetentionRule, retain};
pub use vacuum::{Garbage, Vacuumed, vacuum};

use crate::table::{TableOptions, View};
use crate::{Error, FileSettings, Store};

/// What maintenance goes by.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How this process treats the table.
    pub table: TableOptions,
    /// How sink files are made, but for their size.
    pub files: FileSettings,
    /// Compaction makes files of about this many bytes.
    pub compact_file_size: u64,
    /// What is kept for how long.
    pub retention: Retention,
    /// Files that were part of the table stay so long after their removal, if not for `table.vacuum_grace`. It is what
    /// can be shortened at will: it is queries that need them, not commits.
    pub removed_grace: Option<Duration>,
    /// Columns of sink files that the writer makes from other columns. Others that the table has are kept as they are; one
    /// that it does not have would be lost by a rewrite, which therefore refuses the file.
    pub derived_columns: Vec<String>,
    /// About the most bytes of decoded rows that a rewrite holds at once.
    pub memory: u64,
    /// A rewrite rests for this long after a second of work; 0 for never.
    pub rest: f64,
}

impl Settings {
    /// Decoded rows that a rewrite holds unless it is told otherwise.
    pub const MEMORY: u64 = 128 << 20;
}

impl From<&logboom_config::Sink> for Settings {
    fn from(sink: &logboom_config::Sink) -> Self {
        Self {
            table: TableOptions::from(sink),
            files: FileSettings::from(sink),
            compact_file_size: sink.compact_file_size,
            retention: Retention::from(sink),
            removed_grace: None,
            derived_columns: sink.promote.iter().map(|promoted| promoted.column.clone()).collect(),
            memory: Self::MEMORY,
            rest: 0.0,
        }
    }
}

/// Opens the table. Its files are written in the format that it has, whatever the settings say.
async fn open(store: &Store, settings: &Settings) -> Result<(View, Settings), Error> {
    let view = View::open_in_any_format(store, &settings.table).await?;
    let mut settings = settings.clone();
    if settings.files.format != view.format() {
        settings.files.format = view.format();
        settings.files.compression_level = view.format().default_level();
    }
    Ok((view, settings))
}

/// How far a step has come: rows of a rewrite, objects of a vacuum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// So many are done.
    pub done: u64,
    /// Of so many.
    pub total: u64,
}

/// Hears of progress.
type Listener = dyn Fn(Progress) + Send + Sync;

/// The other end of a running maintenance: stops it, and hears how far it has come. Cheap to clone.
#[derive(Clone, Default)]
pub struct Control {
    stopped: Arc<AtomicBool>,
    listener: Option<Arc<Listener>>,
}

impl Control {
    /// One that tells `listener` now and then.
    pub fn with_listener(listener: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        Self { stopped: Arc::default(), listener: Some(Arc::new(listener)) }
    }

    /// Makes what runs end soon, with [`Error::Cancelled`]. What it has committed stays.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    fn check(&self) -> Result<(), Error> {
        match self.stopped.load(Ordering::Relaxed) {
            true => Err(Error::Cancelled),
            false => Ok(()),
        }
    }

    fn tell(&self, done: u64, total: u64) {
        if let Some(listener) = &self.listener {
            listener(Progress { done, total });
        }
    }
}

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Control").field("stopped", &self.stopped).finish_non_exhaustive()
    }
}
