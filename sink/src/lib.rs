//! The table of Logboom on an object store: merge, sink files, object names, commit and snapshot.

mod error;
pub mod json;
mod merge;
mod parquet;
pub mod paths;
pub mod schema;
pub mod store;
pub mod table;
mod writer;

pub use error::Error;
pub use logboom_config::FileFormat;
pub use merge::{MergeError, merge};
pub use parquet::{FileSettings, FileWriter};
pub use store::Store;
