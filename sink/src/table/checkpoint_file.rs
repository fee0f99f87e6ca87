//! The actions in a checkpoint.
//!
//! A checkpoint lists every file of the table, which may be many; only the columns that are asked for are fetched and
//! decoded. Writing checkpoints is elsewhere.

use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow_json::LineDelimitedWriter;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, TryFutureExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::AsyncFileReader;
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::errors::{ParquetError, Result as ParquetResult};
use parquet::file::metadata::{ParquetMetaData, ParquetMetaDataReader};

use super::actions::{self, Action};
use super::log::Log;
use crate::Error;
use crate::paths::Name;

/// Reads the actions in these columns of one object of a checkpoint.
pub(super) async fn read(log: &Log, name: Name, size: u64, columns: &[&str]) -> Result<Vec<Action>, Error> {
    // A checkpoint takes several calls, so it may take as many deadlines.
    let after = log.timing.call_deadline * 5;
    let rows = read_rows(log.store.objects().clone(), name.path(), size, columns);
    // The decoder panics on some damaged files. It owns all it works on, so there is nothing left half done.
    let rows = AssertUnwindSafe(rows).catch_unwind().map(|caught| {
        caught.unwrap_or_else(|_| Err(ParquetError::General("the decoder cannot make sense of it".into())))
    });
    let json = match tokio::time::timeout(after, rows).await {
        Ok(Ok(json)) => json,
        Ok(Err(ParquetError::External(error))) if error.is::<object_store::Error>() => {
            let source = *error.downcast::<object_store::Error>().expect("checked");
            return Err(Error::store("reading", name, source));
        }
        Ok(Err(error)) => return Err(Error::bad_log(name, error)),
        Err(_) => return Err(Error::NoAnswer { action: "reading", object: name.to_string(), after }),
    };
    // The rows of a checkpoint are the lines of commits, so one parser checks both.
    actions::parse_lines(&name.to_string(), &json)
}

async fn read_rows(
    store: Arc<dyn ObjectStore>,
    path: Path,
    size: u64,
    columns: &[&str],
) -> ParquetResult<Vec<u8>> {
    let builder = ParquetRecordBatchStreamBuilder::new(Object { store, path, size }).await?;
    let columns = ProjectionMask::columns(builder.parquet_schema(), columns.iter().copied());
    let mut batches = builder.with_projection(columns).build()?;
    let mut json = LineDelimitedWriter::new(Vec::new());
    while let Some(batch) = batches.try_next().await? {
        if batch.num_columns() > 0 {
            json.write(&batch)?;
        }
    }
    json.finish()?;
    Ok(json.into_inner())
}

/// An object of known size as a Parquet file.
struct Object {
    store: Arc<dyn ObjectStore>,
    path: Path,
    size: u64,
}

fn external(error: object_store::Error) -> ParquetError {
    ParquetError::External(Box::new(error))
}

impl AsyncFileReader for Object {
    fn get_bytes(&mut self, range: Range<u64>) -> BoxFuture<'_, ParquetResult<Bytes>> {
        async move { self.store.get_range(&self.path, range).await }.map_err(external).boxed()
    }

    fn get_byte_ranges(&mut self, ranges: Vec<Range<u64>>) -> BoxFuture<'_, ParquetResult<Vec<Bytes>>> {
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
