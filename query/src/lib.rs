//! SQL over the committed sink files of Logboom, read in place.
//!
//! ```text
//!  session ─► table ─► file pruning ─► parquet scan ─► rows ─► output
//!     │                                    │             │
//!   snapshot                        counting store ──► usage
//! ```
//! With the cargo feature `remote` a Ballista cluster can take the part from the scan on; the plan is made here.
//! `grep` goes from the session to the files by a way of its own.
//!
//! Owns how a committed snapshot becomes the table `logs`, what may be asked of it, and how answers are printed.
//! Owns no file format and no commit: those are the sink's. Nothing here ever writes to the store.

mod bounds;
mod cells;
mod cluster;
mod columns;
mod counts;
mod error;
mod file;
mod footers;
mod functions;
mod grep;
mod json;
mod lines;
mod output;
#[cfg(feature = "remote")]
mod remote;
mod rows;
mod session;
mod store;
mod table;
mod tables;
mod trace;
mod usage;
mod warm;
mod when;

pub use cluster::Cluster;
pub use error::Error;
pub use grep::{Grep, MatchOptions, Matcher, Wanted};
pub use output::Output;
pub use rows::{Rows, Watch};
pub use session::{Session, open, open_as_of};
pub use trace::{Trace, TraceId};
pub use usage::Usage;
pub use warm::warm_up;
pub use when::{AsOf, TimeRange, When};
