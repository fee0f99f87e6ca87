//! A store from which each commit is fetched once. The Delta library reads the log twice for a snapshot, first for what the
//! table is and then for its files; a commit never changes.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{
    Attributes, CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::paths::Name;

/// So many bytes of commits are kept. What comes after that is fetched again.
const BYTES_MAX: usize = 16 << 20;

/// See the module. It is for one snapshot, and goes with it.
#[derive(Debug)]
pub(super) struct CommitsOnce {
    objects: Arc<dyn ObjectStore>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    commits: HashMap<Path, (ObjectMeta, Bytes)>,
    bytes: usize,
}

impl CommitsOnce {
    pub(super) fn new(objects: Arc<dyn ObjectStore>) -> Self {
        Self { objects, kept: Mutex::default() }
    }

    fn kept<T>(&self, work: impl FnOnce(&mut Kept) -> T) -> T {
        work(&mut self.kept.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Display for CommitsOnce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.objects.fmt(f)
    }
}

fn result_of(meta: ObjectMeta, bytes: Bytes) -> GetResult {
    let range = 0..bytes.len() as u64;
    let payload = GetResultPayload::Stream(async move { Ok(bytes) }.into_stream().boxed());
    GetResult { payload, meta, range, attributes: Attributes::new() }
}

/// Whether the whole object is wanted, as it is now.
fn is_plain(options: &GetOptions) -> bool {
    let GetOptions { if_match, if_none_match, range, version, head, .. } = options;
    let dated = options.if_modified_since.is_some() || options.if_unmodified_since.is_some();
    if_match.is_none() && if_none_match.is_none() && range.is_none() && version.is_none() && !head && !dated
}

#[async_trait]
impl ObjectStore for CommitsOnce {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        if !is_plain(&options) || !matches!(Name::parse(location.as_ref()), Some(Name::Commit(_))) {
            return self.objects.get_opts(location, options).await;
        }
        if let Some((meta, bytes)) = self.kept(|kept| kept.commits.get(location).cloned()) {
            return Ok(result_of(meta, bytes));
        }
        let found = self.objects.get_opts(location, options).await?;
        if found.meta.size > BYTES_MAX as u64 {
            return Ok(found);
        }
        let (meta, bytes) = (found.meta.clone(), found.bytes().await?);
        self.kept(|kept| {
            if kept.bytes + bytes.len() <= BYTES_MAX {
                kept.bytes += bytes.len();
                kept.commits.insert(location.clone(), (meta.clone(), bytes.clone()));
            }
        });
        Ok(result_of(meta, bytes))
    }

    async fn put_opts(&self, location: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.objects.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.objects.put_multipart_opts(location, options).await
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        self.objects.get_ranges(location, ranges).await
    }

    fn delete_stream(&self, locations: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.objects.delete_stream(locations)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.objects.list(prefix)
    }

    fn list_with_offset(&self, prefix: Option<&Path>, offset: &Path) -> BoxStream<'static, Result<ObjectMeta>> {
        self.objects.list_with_offset(prefix, offset)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.objects.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.objects.copy_opts(from, to, options).await
    }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;
    use object_store::{GetRange, ObjectStoreExt};

    use super::*;

    #[tokio::test]
    async fn a_commit_is_fetched_once_and_anything_else_each_time() {
        let below = Arc::new(InMemory::new());
        let store = CommitsOnce::new(below.clone());
        let (commit, hint) = (Name::Commit(7).path(), Path::from("_delta_log/_last_checkpoint"));
        for name in [&commit, &hint] {
            below.put(name, "what it was".into()).await.unwrap();
            assert_eq!(store.get(name).await.unwrap().bytes().await.unwrap(), "what it was");
            // Nobody does this to a commit. It shows where an answer comes from.
            below.put(name, "what it is".into()).await.unwrap();
        }
        assert_eq!(store.get(&commit).await.unwrap().bytes().await.unwrap(), "what it was");
        assert_eq!(store.get(&hint).await.unwrap().bytes().await.unwrap(), "what it is");
        let range = GetOptions { range: Some(GetRange::Suffix(2)), ..GetOptions::default() };
        assert_eq!(store.get_opts(&commit, range).await.unwrap().bytes().await.unwrap(), "is");
        assert!(store.get(&Name::Commit(8).path()).await.is_err(), "and what is not there is looked for each time");
        below.put(&Name::Commit(8).path(), "new".into()).await.unwrap();
        assert_eq!(store.get(&Name::Commit(8).path()).await.unwrap().bytes().await.unwrap(), "new");
        let large = vec![b'x'; BYTES_MAX];
        below.put(&Name::Commit(9).path(), large.into()).await.unwrap();
        assert_eq!(store.get(&Name::Commit(9).path()).await.unwrap().bytes().await.unwrap().len(), BYTES_MAX);
        assert!(store.kept(|kept| kept.bytes) < 100, "there is no room for it beside the others");
    }
}
