//! The table of Logboom on an object store: merge, sink files, object names, commit and snapshot.

mod error;
mod merge;
mod parquet;
pub mod paths;
pub mod promote;
pub mod schema;
pub mod store;
pub mod table;

pub use error::Error;
pub use merge::{MergeError, merge, merge_categories};
pub use parquet::{FileSettings, FileWriter};
pub use store::Store;
