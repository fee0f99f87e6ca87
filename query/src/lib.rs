//! SQL over the committed sink files of Logboom, read in place.
//!
//! ```text
//!  session ─► table ─► file pruning ─► parquet scan ─► rows ─► output
//!     │                                    │             │
//!   snapshot                        counting store ──► usage
//! ```
//! Owns how a committed snapshot becomes the table `logs`, what may be asked of it, and how answers are printed.
//! Owns no file format and no commit: those are the sink's. Nothing here ever writes to the store.

mod bounds;
mod cells;
mod error;
mod file;
mod json;
mod output;
mod rows;
mod session;
mod store;
mod table;
mod usage;

pub use error::Error;
pub use output::Output;
pub use rows::Rows;
pub use session::{Session, open};
pub use usage::Usage;
