//! The actions in a checkpoint.
//!
//! A checkpoint lists every file of the table, which may be many; only the columns that are asked for are fetched and
//! decoded. Writing checkpoints is elsewhere.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use arrow_json::LineDelimitedWriter;
use futures::{FutureExt, TryStreamExt};
use object_store::ObjectStore;
use object_store::path::Path;
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::errors::{ParquetError, Result as ParquetResult};

use super::actions::{self, Action};
use super::log::Log;
use crate::Error;
use crate::object::Object;
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

async fn read_rows(store: Arc<dyn ObjectStore>, path: Path, size: u64, columns: &[&str]) -> ParquetResult<Vec<u8>> {
    let builder = ParquetRecordBatchStreamBuilder::new(Object::new(store, path, size)).await?;
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
