//! The table: a Delta Lake log on the store, and nothing else is shared between collectors.
//!
//! | file | noun |
//! |---|---|
//! | `actions` | the lines of a commit |
//! | `stats` | what a sink file says about its rows |
//! | `contract` | what a table must be for Logboom to write to it |
//! | `log` | the objects of the log, read and put with deadlines |
//! | `checkpoint_file` | the marks in a checkpoint |
//! | `view` | the table at one version, with its marks |
//! | `stamps` | the times in the log's marks, and whether they can be trusted |
//! | `change` | what a commit changes, and what contradicts it |
//! | `commit` | the step that makes sink files visible and moves the marks |
//! | `alter` | changes of what the table is: its columns and properties |
//! | `checkpoint` | checkpoints and the clean-up of the log |
//! | `origin` | which commit brought a file |
//! | `snapshot` | the files of the table at one version |
//! | `tombstones` | the files that were taken out of the table not long ago |
//! | `history` | the commits that the log still has |
//!
//! Committing is our own; snapshots and checkpoints are the Delta library's (`kernel`), which gets each commit once (`once`).
//! Sink files are written elsewhere, and deleted by nothing in here.

pub mod actions;
mod alter;
mod change;
mod checkpoint;
mod checkpoint_file;
mod clock;
mod commit;
mod contract;
mod history;
mod kernel;
mod log;
mod once;
mod origin;
mod snapshot;
mod stamps;
mod stats;
mod tombstones;
mod view;

use std::sync::Arc;
use std::time::Duration;

use arrow_schema::FieldRef;
use logboom_config::FileFormat;
use logboom_config::random::{self, Rng};

pub use alter::set_property;
pub use change::{Batch, Begun, Change, DataFile, Operation, Rewrite};
pub use checkpoint::{CleanUp, checkpoint_due, clean_up, write_checkpoint};
pub use clock::{Clock, Moment, SystemClock};
pub use commit::{Outcome, commit};
pub use history::{Entry, history};
pub(crate) use origin::streams_of;
pub use snapshot::{Snapshot, SnapshotFile};
pub use stats::FileStats;
pub use tombstones::tombstones;
pub use view::View;

/// How this process treats the table. The first three are written into a table when it is created.
#[derive(Clone, Debug)]
pub struct TableOptions {
    /// What its sink files are written in. A table of another format is not opened.
    pub format: FileFormat,
    /// How long commits stay readable one by one. Days: it also has to outlast a collector that sleeps.
    pub log_retention: Duration,
    /// A checkpoint every so many commits.
    pub checkpoint_interval: u64,
    /// Columns besides those of every table, which may be null. A table that lacks them gets them when it is opened to
    /// write to it.
    pub columns: Vec<FieldRef>,
    /// How long files stay on the store that no version needs any more, or none yet. Also how long a new table remembers
    /// what was removed from it. Files older than half of it are not committed.
    pub vacuum_grace: Duration,
    /// Deadlines and patience.
    pub timing: Timing,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

impl Default for TableOptions {
    fn default() -> Self {
        Self {
            format: FileFormat::default(),
            log_retention: Duration::from_secs(7 * 24 * 60 * 60),
            checkpoint_interval: 100,
            columns: Vec::new(),
            vacuum_grace: Duration::from_secs(7 * 24 * 60 * 60),
            timing: Timing::default(),
            clock: Arc::new(SystemClock),
        }
    }
}

impl From<&logboom_config::Sink> for TableOptions {
    fn from(sink: &logboom_config::Sink) -> Self {
        Self {
            format: sink.format,
            log_retention: sink.log_retention,
            checkpoint_interval: sink.checkpoint_interval,
            vacuum_grace: sink.vacuum_grace,
            columns: crate::promote::columns(&sink.promote),
            ..Self::default()
        }
    }
}

/// Deadlines and patience. Only tests have a reason to change them.
#[derive(Clone, Debug)]
pub struct Timing {
    /// A call on the store that takes longer has an unknown outcome.
    pub call_deadline: Duration,
    /// So many unknown answers in a row, and a commit gives up for now.
    pub attempts: u32,
    /// The first pause after an unknown answer or a lost race is random, up to this; each next one up to the double.
    pub pause_first: Duration,
    /// No pause is longer.
    pub pause_max: Duration,
    /// A view older than this may have missed the clean-up of the log, and is not trusted for a commit.
    pub view_age_max: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            call_deadline: Duration::from_secs(60),
            attempts: 8,
            pause_first: Duration::from_millis(50),
            pause_max: Duration::from_secs(5),
            view_age_max: Duration::from_secs(10 * 60),
        }
    }
}

impl Timing {
    /// Waits before try `tries` (from 0): full jitter, so that writers who lost to one another spread out.
    async fn pause(&self, tries: u32) {
        let limit = self.pause_first.saturating_mul(1 << tries.min(16)).min(self.pause_max);
        tokio::time::sleep(limit.mul_f64(random::rng().random::<f64>())).await;
    }
}
