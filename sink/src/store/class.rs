//! The storage class of sink files. The log is read with every commit and query, so it stays in the store's default
//! class, as does everything that is not a sink file.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    Attribute, AttributeValue, CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

use crate::paths::Name;

/// The option that names the class: the store's own word for it (`STANDARD_IA`, `NEARLINE`, `Cool`).
pub(super) const STORAGE_CLASS: &str = "storage_class";

/// A store that puts sink files into a class of its own. It is below the root of the table: names are the table's.
#[derive(Debug)]
pub(super) struct Classed {
    objects: Arc<dyn ObjectStore>,
    class: AttributeValue,
}

impl Classed {
    pub(super) fn new(objects: Arc<dyn ObjectStore>, class: &str) -> Self {
        Self { objects, class: class.to_owned().into() }
    }

    fn has_class(location: &Path) -> bool {
        matches!(Name::parse(location.as_ref()), Some(Name::Data { .. }))
    }
}

impl fmt::Display for Classed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, sink files as {}", self.objects, self.class.as_ref())
    }
}

#[async_trait]
impl ObjectStore for Classed {
    async fn put_opts(&self, location: &Path, payload: PutPayload, mut options: PutOptions) -> Result<PutResult> {
        if Self::has_class(location) {
            options.attributes.insert(Attribute::StorageClass, self.class.clone());
        }
        self.objects.put_opts(location, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        location: &Path,
        mut options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        if Self::has_class(location) {
            options.attributes.insert(Attribute::StorageClass, self.class.clone());
        }
        self.objects.put_multipart_opts(location, options).await
    }

    async fn get_opts(&self, location: &Path, options: GetOptions) -> Result<GetResult> {
        self.objects.get_opts(location, options).await
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
    use jiff::civil::date;
    use object_store::ObjectStoreExt;
    use object_store::memory::InMemory;

    use super::*;

    #[tokio::test]
    async fn sink_files_have_the_class_and_the_log_has_not() {
        let store = Classed::new(Arc::new(InMemory::new()), "COLD");
        for (name, class) in [(Name::new_data(date(2026, 2, 3)), Some("COLD")), (Name::Commit(1), None)] {
            store.put(&name.path(), "x".into()).await.unwrap();
            let found = store.get(&name.path()).await.unwrap().attributes;
            assert_eq!(found.get(&Attribute::StorageClass).map(|class| class.as_ref()), class, "{name}");
        }
        let name = Name::new_data(date(2026, 2, 3)).path();
        let mut upload = store.put_multipart(&name).await.unwrap();
        upload.put_part("x".into()).await.unwrap();
        upload.complete().await.unwrap();
        assert!(store.get(&name).await.unwrap().attributes.get(&Attribute::StorageClass).is_some());
    }
}
