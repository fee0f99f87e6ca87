//! Footers of sink files: fetched once for all partitions of a scan, together with the page index that follows them.
//!
//! DataFusion's own reader fetches the footer without the index, then each partition the index again, although both
//! lie in what was fetched first.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use datafusion::datasource::listing::PartitionedFile;
use datafusion::datasource::physical_plan::parquet::{CachedParquetFileReaderFactory, ParquetFileReaderFactory};
use datafusion::error::Result;
use datafusion::physical_plan::metrics::ExecutionPlanMetricsSet;
use futures::FutureExt;
use futures::future::BoxFuture;
use object_store::path::Path;
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::errors::Result as ParquetResult;
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};

/// Readers of the files of one scan.
#[derive(Debug)]
pub(crate) struct Readers {
    inner: CachedParquetFileReaderFactory,
    with_page_index: bool,
    /// Who holds a file's lock fetches its footer; the next one finds it in the cache.
    turns: Mutex<HashMap<Path, Arc<tokio::sync::Mutex<()>>>>,
}

impl Readers {
    /// Without conditions there is nothing to look up in a page index.
    pub(crate) fn new(inner: CachedParquetFileReaderFactory, with_page_index: bool) -> Self {
        Self { inner, with_page_index, turns: Mutex::default() }
    }
}

impl ParquetFileReaderFactory for Readers {
    fn create_reader(
        &self,
        partition: usize,
        file: PartitionedFile,
        footer_bytes: Option<usize>,
        metrics: &ExecutionPlanMetricsSet,
    ) -> Result<Box<dyn AsyncFileReader + Send>> {
        let mut turns = self.turns.lock().expect("no panic while it is held");
        let turn = turns.entry(file.path().clone()).or_default().clone();
        drop(turns);
        let inner = self.inner.create_reader(partition, file, footer_bytes, metrics)?;
        Ok(Box::new(Reader { inner, with_page_index: self.with_page_index, turn }))
    }
}

struct Reader {
    inner: Box<dyn AsyncFileReader + Send>,
    with_page_index: bool,
    turn: Arc<tokio::sync::Mutex<()>>,
}

impl AsyncFileReader for Reader {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        self.inner.get_bytes(range)
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>>
    where
        Self: Send,
    {
        self.inner.get_byte_ranges(ranges)
    }

    fn get_metadata<'a>(
        &'a mut self,
        options: Option<&'a ArrowReaderOptions>,
    ) -> BoxFuture<'a, ParquetResult<Arc<ParquetMetaData>>> {
        let mut options = options.cloned().unwrap_or_default();
        if self.with_page_index {
            options = options.with_page_index_policy(PageIndexPolicy::Optional);
        }
        async move {
            let _turn = self.turn.lock().await;
            self.inner.get_metadata(Some(&options)).await
        }
        .boxed()
    }
}
