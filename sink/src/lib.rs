//! The table of Logboom on an object store: merge, sink files, object names, commit and snapshot.

pub mod schema;
