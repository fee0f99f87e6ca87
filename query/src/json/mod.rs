//! Queries on a table whose sink files are JSON: the same table `logs`, with the same columns.
//!
//! ```text
//!  table ─► indexes, pruned by the log ─► members, pruned by the indexes ─► runs ─► scan
//! ```
//! A *run* is members that lie side by side in one file: one range, one request. Rows inside a member are filtered after
//! the scan. What members and indexes are is the sink's to know.

mod bounds;
mod indexes;
mod runs;
mod scan;
mod table;

pub(crate) use indexes::Indexes;
pub(crate) use runs::Run;
pub(crate) use scan::read_run;
pub(crate) use table::JsonTable;
