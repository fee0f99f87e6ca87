//! What can go wrong in this crate, and what to do about it.

use std::path::PathBuf;
use std::time::Duration;

/// An error of the sink. Every message names the object, the folder or the version it is about.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The place given for the table cannot be one.
    #[error("`{url}` cannot be the place of a table: {reason}")]
    BadUrl {
        /// As it was given.
        url: String,
        /// What is wrong with it, and what is expected.
        reason: String,
    },

    /// An option of the store has no meaning there.
    #[error("`{key}` in [sink.options] is not an option of the store `{url}`{fix}")]
    BadOption {
        /// The store.
        url: String,
        /// The option's name.
        key: String,
        /// What may have been meant, after a comma or the like; or nothing.
        fix: String,
    },

    /// The store does not do what a commit needs.
    #[error("the store `{url}` is unfit for a table: {reason}")]
    UnfitStore {
        /// The table.
        url: String,
        /// What it did, what would come of it, and what to do.
        reason: String,
    },

    /// The folder of a local table cannot be used.
    #[error("the folder {} cannot be used: {source}; it must be a folder that this user may write to", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },

    /// The store refused, or could not be reached.
    #[error("{action} `{object}` failed: {source}")]
    Store {
        /// What was tried: "reading", "writing", "listing", "deleting".
        action: &'static str,
        /// The object, relative to the table's root.
        object: String,
        /// The store's answer.
        source: object_store::Error,
    },

    /// The store did not answer in time. The call may still take effect later.
    #[error("{action} `{object}`: no answer from the store within {after:?}")]
    NoAnswer {
        /// What was tried.
        action: &'static str,
        /// The object, relative to the table's root.
        object: String,
        /// The deadline.
        after: Duration,
    },

    /// There is no table at this place.
    #[error("there is no table at `{url}`: no `_delta_log` with a commit in it")]
    NoTable {
        /// The place.
        url: String,
    },

    /// There is a table, but not one that Logboom may write to or can read.
    #[error("the table at `{url}` is not one of this Logboom: {reason}; give Logboom an empty place of its own")]
    ForeignTable {
        /// The place.
        url: String,
        /// What differs.
        reason: String,
    },

    /// The log of the table does not go back so far.
    #[error("the table at `{url}` cannot be read as of {instant}: its log goes back to {oldest}")]
    TooOld {
        /// The table.
        url: String,
        /// What was asked for.
        instant: jiff::Timestamp,
        /// The oldest commit that can be read.
        oldest: jiff::Timestamp,
    },

    /// There is a table, but its sink files are of another format than was asked for.
    #[error(
        "the table at `{url}` was created with `format = \"{found}\"`, which it keeps: set that instead of \"{wanted}\", \
         or give Logboom another place"
    )]
    OtherFormat {
        /// The place.
        url: String,
        /// The format of the table.
        found: &'static str,
        /// The one that was asked for.
        wanted: &'static str,
    },

    /// The log of the table says something that cannot be.
    #[error("the table's log is damaged at `{object}`: {reason}")]
    BadLog {
        /// The object, relative to the table's root.
        object: String,
        /// What is wrong with it.
        reason: String,
    },

    /// It is not known whether a commit took effect. No data file may be deleted;
    /// refresh the view, filter the blocks by it, and commit what is left.
    #[error(
        "commit {version} has an unknown outcome after {attempts} attempts, the last: {source}; refresh, filter and commit again"
    )]
    OutcomeUnknown {
        /// The version it was to become.
        version: u64,
        /// How often the store was asked.
        attempts: u32,
        /// The last answer.
        source: Box<Error>,
    },

    /// Sink files waited for so long to be committed that vacuum may have taken them for garbage.
    #[error(
        "sink files were written {age:?} ago and are no longer committed, the most is {max:?}; they have to be written again"
    )]
    FilesTooOld {
        /// How long ago, at least.
        age: Duration,
        /// The most: half of the grace of vacuum.
        max: Duration,
    },

    /// A sink file could not be read, or does not hold what it should.
    #[error("the sink file `{path}` cannot be rewritten: {reason}")]
    BadFile {
        /// Relative to the table's root.
        path: String,
        /// What is wrong with it.
        reason: String,
    },

    /// The index of sink files in JSON says something that cannot be.
    #[error("the index `{object}` is damaged: {reason}")]
    BadIndex {
        /// The index, relative to the table's root.
        object: String,
        /// What is wrong with it.
        reason: String,
    },

    /// Maintenance stopped because it was told to.
    #[error("stopped before it was done; what was committed stays")]
    Cancelled,

    /// A sink file could not be read.
    #[error("the sink file `{path}` cannot be read: {reason}")]
    Unreadable {
        /// Relative to the table's root.
        path: String,
        /// What is wrong with it, or what the store said.
        reason: String,
    },

    /// Bytes of a sink file in JSON are not what its index says.
    #[error("the JSON file `{object}` is damaged at bytes {from} to {to}: {reason}")]
    BadMember {
        /// The file, relative to the table's root.
        object: String,
        /// The first byte of the gzip members that it is about.
        from: u64,
        /// The byte after the last.
        to: u64,
        /// What is wrong with them.
        reason: String,
    },

    /// A sink file could not be written.
    #[error("writing a sink file failed: {reason}")]
    Encoding {
        /// What the library said.
        reason: String,
    },

    /// The Delta library failed at something that is not a commit.
    #[error("{action} of the table at `{url}` failed: {source}")]
    Delta {
        /// What was tried: "the checkpoint", "the snapshot".
        action: &'static str,
        /// The table.
        url: String,
        /// The library's answer.
        source: Box<delta_kernel::KernelError>,
    },
}

impl Error {
    pub(crate) fn encoding(source: impl std::fmt::Display) -> Self {
        Self::Encoding { reason: source.to_string() }
    }

    pub(crate) fn bad_log(object: impl ToString, reason: impl ToString) -> Self {
        Self::BadLog { object: object.to_string(), reason: reason.to_string() }
    }

    pub(crate) fn store(action: &'static str, object: impl ToString, source: object_store::Error) -> Self {
        Self::Store { action, object: object.to_string(), source }
    }
}
