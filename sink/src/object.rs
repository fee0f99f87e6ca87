//! An object of known size as a Parquet file.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

/// Reads ranges from the store, or from memory once all of it was fetched.
#[derive(Clone)]
pub(crate) struct Object {
    store: Arc<dyn ObjectStore>,
    path: Path,
    size: u64,
    whole: Option<Bytes>,
}

fn external(error: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

impl Object {
    pub fn new(store: Arc<dyn ObjectStore>, path: Path, size: u64) -> Self {
        Self { store, path, size, whole: None }
    }

    /// Fetches all of it with one request, from which everything is read then.
    pub async fn fetch(&mut self) -> ParquetResult<()> {
        let whole = self.store.get_range(&self.path, 0..self.size).await.map_err(external)?;
        self.whole = Some(whole);
        Ok(())
    }

    fn in_memory(&self, range: &Range<u64>) -> Option<ParquetResult<Bytes>> {
        let whole = self.whole.as_ref()?;
        let inside = range.start <= range.end && range.end <= whole.len() as u64;
        let bytes = inside.then(|| whole.slice(range.start as usize..range.end as usize));
        Some(bytes.ok_or_else(|| ParquetError::EOF(format!("{range:?} lies beyond its end"))))
    }
}

impl AsyncFileReader for Object {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        if let Some(bytes) = self.in_memory(&range) {
            return async move { bytes }.boxed();
        }
        async move { self.store.get_range(&self.path, range).await }.map_err(external).boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
        if self.whole.is_some() {
            let bytes = ranges.iter().map(|range| self.in_memory(range).expect("it is in memory")).collect();
            return async move { bytes }.boxed();
        }
        async move { self.store.get_ranges(&self.path, &ranges).await }.map_err(external).boxed()
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        async move {
            let size = self.size;
            let reader = ParquetMetaDataReader::new().with_arrow_reader_options(options);
            Ok(Arc::new(reader.load_and_finish(self, size).await?))
        }
        .boxed()
    }
}
