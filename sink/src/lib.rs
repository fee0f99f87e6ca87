//! The table of Logboom on an object store: merge, sink files, object names, commit and snapshot.

pub mod checksum;
mod error;
pub mod json;
pub mod maintain;
mod merge;
mod object;
mod parquet;
pub mod paths;
pub mod promote;
pub mod schema;
pub mod store;
pub mod table;
pub mod thread;
pub mod verify;
mod writer;

pub use error::Error;
pub use logboom_config::FileFormat;
pub use merge::{MergeError, merge, merge_categories};
pub use parquet::{FileSettings, FileWriter};
pub use store::Store;
