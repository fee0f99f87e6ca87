//! The table of Logboom on an object store: merge, sink files, object names, commit and snapshot.

mod error;
pub mod maintain;
mod merge;
mod object;
mod parquet;
pub mod paths;
pub mod schema;
pub mod store;
pub mod table;

pub use error::Error;
pub use merge::{MergeError, merge};
pub use parquet::{FileSettings, FileWriter};
pub use store::Store;
