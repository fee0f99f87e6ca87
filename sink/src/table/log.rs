//! The objects of the log, on the store: each read, put and listed within a deadline.
//!
//! Owns no state and decides nothing. An answer that did not come is an error like any other here; what it may mean
//! is `commit`'s to know.

use std::future::Future;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectMeta, ObjectStoreExt, PutMode};
use serde::Deserialize;

use super::Timing;
use super::actions::{self, Action};
use crate::paths::{self, LOG_FOLDER, Name};
use crate::{Error, Store};

/// More than any commit can sensibly be. Guards memory against an object that only looks like one.
const COMMIT_BYTES_MAX: u64 = 256 << 20;

/// The log of one table.
#[derive(Clone, Debug)]
pub(super) struct Log {
    pub store: Store,
    pub timing: Timing,
}

/// A commit as it is on the store.
#[derive(Debug)]
pub(super) struct Found {
    pub actions: Vec<Action>,
    /// When it landed: milliseconds since 1970 by the store's clock.
    pub landed_ms: i64,
}

impl Log {
    /// A commit. `None`: there is no such commit.
    pub async fn read(&self, version: u64) -> Result<Option<Found>, Error> {
        let name = Name::Commit(version);
        match self.read_bytes(name).await? {
            Some((text, landed_ms)) => {
                Ok(Some(Found { actions: actions::parse(&name.to_string(), &text)?, landed_ms }))
            }
            None => Ok(None),
        }
    }

    /// When an object was put: milliseconds since 1970 by the store's clock. `None`: there is no such object.
    pub async fn put_at(&self, path: &Path) -> Result<Option<i64>, Error> {
        let head = async {
            match self.store.objects().head(path).await {
                Err(object_store::Error::NotFound { .. }) => Ok(None),
                meta => Ok(Some(meta?.last_modified.timestamp_millis())),
            }
        };
        self.within("looking at", path, head).await
    }

    /// Puts a commit if there is none with this version. Only `Ok` says what happened.
    pub async fn put(&self, version: u64, text: Bytes) -> Result<(), Error> {
        let name = Name::Commit(version);
        let path = name.path();
        let put = self.store.objects().put_opts(&path, text.into(), PutMode::Create.into());
        self.within("writing", &name, put).await?;
        Ok(())
    }

    /// The objects of the log with their names, those of `from` and later.
    pub async fn list(&self, from: Option<u64>) -> Result<Vec<(Name, ObjectMeta)>, Error> {
        let folder = Path::from(LOG_FOLDER);
        let objects = self.store.objects();
        let listing = match from {
            Some(version) => objects.list_with_offset(Some(&folder), &paths::log_from(version)),
            None => objects.list(Some(&folder)),
        };
        let names = listing
            .try_filter_map(|meta| async move { Ok(Name::parse(meta.location.as_ref()).map(|name| (name, meta))) });
        self.within("listing", LOG_FOLDER, names.try_collect()).await
    }

    /// The version of the newest checkpoint, as the hint has it. The hint may be missing, old or damaged:
    /// it only says where to start to list.
    pub async fn hint(&self) -> Result<Option<u64>, Error> {
        #[derive(Deserialize)]
        struct Hint {
            version: u64,
        }
        let Some((text, _)) = self.read_bytes(Name::LastCheckpoint).await? else { return Ok(None) };
        match serde_json::from_slice::<Hint>(&text) {
            Ok(hint) => Ok(Some(hint.version)),
            Err(error) => {
                tracing::warn!(table = %self.store.url(), %error, "the hint at the last checkpoint is damaged; listing the log");
                Ok(None)
            }
        }
    }

    /// Deletes objects of the log; one that is gone already is as good.
    pub async fn delete(&self, names: Vec<Name>) -> Result<(), Error> {
        let paths = futures::stream::iter(names.into_iter().map(|name| Ok(name.path())));
        let deleted = self.store.objects().delete_stream(paths.boxed());
        let all = deleted.try_for_each(|_| async { Ok(()) });
        match self.within("deleting from", LOG_FOLDER, all).await {
            Err(Error::Store { source: object_store::Error::NotFound { .. }, .. }) => Ok(()),
            result => result,
        }
    }

    /// An object, and when it was put, as in [`Found`].
    async fn read_bytes(&self, name: Name) -> Result<Option<(Bytes, i64)>, Error> {
        let path = name.path();
        let read = async {
            let object = match self.store.objects().get(&path).await {
                Err(object_store::Error::NotFound { .. }) => return Ok(Some(None)),
                object => object?,
            };
            if object.meta.size > COMMIT_BYTES_MAX {
                return Ok(None);
            }
            let put_ms = object.meta.last_modified.timestamp_millis();
            Ok(Some(Some((object.bytes().await?, put_ms))))
        };
        self.within("reading", &name, read).await?.ok_or_else(|| Error::bad_log(name, "it is far too large"))
    }

    /// Bounds a call on the store.
    pub async fn within<T>(
        &self,
        action: &'static str,
        object: impl ToString,
        call: impl Future<Output = object_store::Result<T>>,
    ) -> Result<T, Error> {
        let after = self.timing.call_deadline;
        match tokio::time::timeout(after, call).await {
            Ok(answer) => answer.map_err(|source| Error::store(action, object, source)),
            Err(_) => Err(Error::NoAnswer { action, object: object.to_string(), after }),
        }
    }
}
