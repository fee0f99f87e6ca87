//! The Delta library, run on a table of ours.
//!
//! Owns how it gets at the store and on which threads it runs. Whatever it is asked to do is off the path of a commit.

use delta_kernel::snapshot::{Snapshot, SnapshotRef};
use delta_kernel::{Engine, KernelResult, Version};
use delta_kernel_default_engine::DefaultEngineBuilder;
use delta_kernel_default_engine::executor::tokio::TokioMultiThreadExecutor;
use std::sync::Arc;
use tokio::runtime::{Handle, RuntimeFlavor};

use super::Timing;
use super::log::Log;
use super::once::CommitsOnce;
use crate::paths::Name;
use crate::{Error, Store, thread};

/// The root, as the library sees it: paths in a `Store` are relative to the table already.
/// It takes listings from `file` as unsorted, which is true of some stores and safe for all.
const ROOT: &str = "file:///";

/// Runs blocking work of the library, given its engine and the table at `version` (`None`: the newest).
pub(super) async fn with_snapshot<T: Send + 'static>(
    store: &Store,
    action: &'static str,
    version: Option<Version>,
    work: impl FnOnce(SnapshotRef, &dyn Engine) -> KernelResult<T> + Send + 'static,
) -> Result<T, Error> {
    let objects = Arc::new(CommitsOnce::new(store.objects().clone()));
    let runtime = Handle::current();
    let blocking = move || {
        // On this very runtime where it can be: connections of a store do not outlive the runtime they were made on.
        // The library needs two threads: a checkpoint is written by one that waits for the other to read.
        let executor = match runtime.runtime_flavor() {
            RuntimeFlavor::MultiThread => TokioMultiThreadExecutor::new(runtime),
            _ => TokioMultiThreadExecutor::new_owned_runtime(Some(2), None)?,
        };
        let engine = DefaultEngineBuilder::new(objects).with_task_executor(Arc::new(executor)).build();
        let mut snapshot = Snapshot::builder_for(ROOT);
        if let Some(version) = version {
            snapshot = snapshot.at_version(version);
        }
        work(snapshot.build(&engine)?, &engine)
    };
    match thread::blocking(blocking).await {
        Ok(value) => Ok(value),
        Err(error) => {
            // The library has many words for "nothing is there".
            let log = Log { store: store.clone(), timing: Timing::default() };
            let is_table = |(name, _): &(Name, _)| matches!(name, Name::Commit(_) | Name::Checkpoint(_));
            if matches!(log.list(None).await, Ok(names) if !names.iter().any(is_table)) {
                return Err(Error::NoTable { url: store.url().to_string() });
            }
            Err(Error::Delta { action, url: store.url().to_string(), source: Box::new(error) })
        }
    }
}
