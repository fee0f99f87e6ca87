//! The object store as a query sees it: read-only, and every fetch is counted.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, OBJECT_STORE_COALESCE_DEFAULT, ObjectMeta,
    ObjectStore, ObjectStoreExt, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result, coalesce_ranges,
};
use url::Url;

use crate::usage::Meter;

/// A store that counts what is fetched through it and refuses to change anything.
#[derive(Debug)]
pub(crate) struct CountingStore {
    inner: Arc<dyn ObjectStore>,
    meter: Arc<Meter>,
    gap: Gap,
}

/// What to do about two wanted ranges with a gap between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gap {
    /// A local disk seeks for free: fetch exactly what is wanted.
    Skip,
    /// A request costs more than the bytes it saves: fetch small gaps along. They are counted as read, since they are.
    Bridge,
}

impl Gap {
    /// What suits the place that `url` names.
    pub(crate) fn of(url: &Url) -> Self {
        if matches!(url.scheme(), "file" | "memory") { Self::Skip } else { Self::Bridge }
    }
}

impl CountingStore {
    pub(crate) fn new(inner: Arc<dyn ObjectStore>, meter: Arc<Meter>, gap: Gap) -> Self {
        Self { inner, meter, gap }
    }
}

impl fmt::Display for CountingStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}

#[async_trait]
impl ObjectStore for CountingStore {
    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        let head = options.head;
        let result = self.inner.get_opts(location, options).await?;
        let bytes = if head { 0 } else { result.range.end - result.range.start };
        self.meter.add(location, bytes, 1);
        Ok(result)
    }

    async fn get_ranges(&self, location: &Path, ranges: &[Range<u64>]) -> Result<Vec<Bytes>> {
        match self.gap {
            Gap::Skip => {
                let fetched = self.inner.get_ranges(location, ranges).await?;
                self.meter.add(location, fetched.iter().map(|b| b.len() as u64).sum(), fetched.len() as u64);
                Ok(fetched)
            }
            // Merged here, above the count, so that the inner store has nothing left to merge.
            Gap::Bridge => {
                coalesce_ranges(ranges, |range| self.get_range(location, range), OBJECT_STORE_COALESCE_DEFAULT).await
            }
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn put_opts(&self, _: &Path, _: PutPayload, _: PutOptions) -> Result<PutResult> {
        Err(read_only("put"))
    }

    async fn put_multipart_opts(&self, _: &Path, _: PutMultipartOptions) -> Result<Box<dyn MultipartUpload>> {
        Err(read_only("put"))
    }

    fn delete_stream(&self, _: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        stream::once(async { Err(read_only("delete")) }).boxed()
    }

    async fn copy_opts(&self, _: &Path, _: &Path, _: CopyOptions) -> Result<()> {
        Err(read_only("copy"))
    }
}

fn read_only(operation: &str) -> Error {
    Error::NotImplemented { operation: operation.to_owned(), implementer: "a query, which only reads,".to_owned() }
}

#[cfg(test)]
mod tests {
    use object_store::memory::InMemory;

    use super::*;

    async fn fetch(gap: Gap) -> (Vec<Bytes>, crate::Usage) {
        let inner = Arc::new(InMemory::new());
        let path = Path::from("a");
        inner.put(&path, vec![7_u8; 10_000].into()).await.unwrap();
        let meter = Arc::new(Meter::default());
        let store = CountingStore::new(inner, meter.clone(), gap);
        let bytes = store.get_ranges(&path, &[0..10, 5_000..5_010]).await.unwrap();
        (bytes, meter.usage(1, 10_000))
    }

    #[tokio::test]
    async fn a_local_fetch_reads_the_ranges_and_nothing_between_them() {
        let (bytes, usage) = fetch(Gap::Skip).await;
        assert_eq!(bytes.iter().map(Bytes::len).sum::<usize>(), 20);
        assert_eq!((usage.files_read, usage.bytes_read, usage.requests), (1, 20, 2));
    }

    #[tokio::test]
    async fn a_remote_fetch_bridges_small_gaps_and_counts_them() {
        let (bytes, usage) = fetch(Gap::Bridge).await;
        assert_eq!(bytes.iter().map(Bytes::len).sum::<usize>(), 20);
        assert_eq!((usage.files_read, usage.bytes_read, usage.requests), (1, 5_010, 1));
    }

    #[tokio::test]
    async fn a_query_cannot_write_or_delete_objects() {
        let inner = Arc::new(InMemory::new());
        let path = Path::from("a");
        inner.put(&path, "kept".into()).await.unwrap();
        let store = CountingStore::new(inner.clone(), Arc::default(), Gap::Skip);
        assert!(store.put(&path, "changed".into()).await.is_err());
        assert!(store.delete(&path).await.is_err());
        assert_eq!(inner.get(&path).await.unwrap().bytes().await.unwrap(), "kept");
    }
}
