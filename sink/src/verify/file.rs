//! One sink file against the log: is it there, is it as long as it was, are its bytes the ones that were written, and
//! are its rows what the log says?

use std::fmt;
use std::panic::AssertUnwindSafe;

use futures::{FutureExt, TryStreamExt};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::errors::ParquetError;

use super::Progress;
use super::json;
use super::pass::{FileRows, Wanted};
use super::rows;
use crate::object::Object;
use crate::table::SnapshotFile;
use crate::{Error, FileFormat, Store};

/// What is wrong with a sink file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There is no such object.
    Missing,
    /// It has another length than the log says.
    Length {
        /// In bytes.
        found: u64,
        /// In bytes, as the log has it.
        expected: u64,
    },
    /// Its bytes are not those that were written.
    Checksum {
        /// CRC32C of the object.
        found: u32,
        /// CRC32C as the log has it.
        expected: u32,
    },
    /// Its content is not what the log says it is, or cannot be read at all.
    Content(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Missing => write!(f, "missing: there is no such object"),
            Fault::Length { found, expected } => {
                write!(f, "damaged: it has {found} bytes where the log has {expected}")
            }
            Fault::Checksum { found, expected } => {
                write!(f, "damaged: its checksum is {found:08x} where the log has {expected:08x}")
            }
            Fault::Content(reason) => write!(f, "damaged: {reason}"),
        }
    }
}

/// What came of looking at a file.
pub(super) struct Checked {
    /// What is in it, as far as that can be read.
    pub rows: Option<FileRows>,
    pub fault: Option<Fault>,
}

/// Looks at `file`; with `whole` at each of its bytes. If it is an index, also at what that lists.
///
/// # Errors
/// The store cannot be asked, which says nothing about the file.
pub(super) async fn check(
    store: &Store,
    format: FileFormat,
    file: &SnapshotFile,
    whole: bool,
    wanted: &Wanted,
    progress: &Progress,
) -> Result<Checked, Error> {
    let path = Path::from(file.path.as_str());
    let objects = store.objects().clone();
    let failed = |source| Error::store("reading", &file.path, source);
    let fault = match whole {
        true => sum(&*objects, &path, file, progress).await,
        false => look(&*objects, &path, file).await,
    };
    let mut fault = fault.map_err(failed)?;
    if matches!(fault, Some(Fault::Missing | Fault::Length { .. })) {
        return Ok(Checked { rows: None, fault });
    }
    if format == FileFormat::Json {
        let read = AssertUnwindSafe(json::read(store, file, wanted, Some(progress))).catch_unwind().await;
        let Ok(read) = read else {
            fault.get_or_insert(Fault::Content("the decoder cannot make sense of it".into()));
            return Ok(Checked { rows: None, fault });
        };
        let json::Read { rows, fault: found } = read?;
        return Ok(Checked { rows: Some(rows), fault: fault.or(found.map(Fault::Content)) });
    }
    let object = Object::new(objects, path, file.size);
    let reading = async {
        if whole && file.crc32c.is_none() {
            rows::decode_all(object.clone()).await?;
        }
        rows::read(object, file.stats.as_ref(), wanted).await
    };
    // The decoder panics on some damaged files. It owns all it works on, so there is nothing left half done.
    let read = AssertUnwindSafe(reading).catch_unwind().await;
    let read = read.unwrap_or_else(|_| Err(ParquetError::General("the decoder cannot make sense of it".into())));
    match read {
        Ok(rows) => Ok(Checked { rows: Some(rows), fault }),
        Err(ParquetError::External(error)) if error.is::<object_store::Error>() => {
            match *error.downcast::<object_store::Error>().expect("checked") {
                object_store::Error::NotFound { .. } => Ok(Checked { rows: None, fault: Some(Fault::Missing) }),
                source => Err(failed(source)),
            }
        }
        Err(ParquetError::General(reason)) => {
            fault.get_or_insert(Fault::Content(reason));
            Ok(Checked { rows: None, fault })
        }
        Err(error) => {
            fault.get_or_insert(Fault::Content(error.to_string()));
            Ok(Checked { rows: None, fault })
        }
    }
}

/// Reads all of the object.
async fn sum(
    objects: &dyn ObjectStore,
    path: &Path,
    file: &SnapshotFile,
    progress: &Progress,
) -> object_store::Result<Option<Fault>> {
    let object = match objects.get(path).await {
        Err(object_store::Error::NotFound { .. }) => return Ok(Some(Fault::Missing)),
        object => object?,
    };
    let (mut found, mut crc32c) = (0, 0);
    let mut parts = object.into_stream();
    while let Some(part) = parts.try_next().await? {
        found += part.len() as u64;
        crc32c = crc32c::crc32c_append(crc32c, &part);
        progress.add_bytes(part.len() as u64);
    }
    Ok(match file.crc32c {
        _ if found != file.size => Some(Fault::Length { found, expected: file.size }),
        Some(expected) if expected != crc32c => Some(Fault::Checksum { found: crc32c, expected }),
        _ => None,
    })
}

/// Asks only whether the object is there and how long it is.
async fn look(objects: &dyn ObjectStore, path: &Path, file: &SnapshotFile) -> object_store::Result<Option<Fault>> {
    match objects.head(path).await {
        Err(object_store::Error::NotFound { .. }) => Ok(Some(Fault::Missing)),
        meta => {
            let found = meta?.size;
            Ok((found != file.size).then_some(Fault::Length { found, expected: file.size }))
        }
    }
}
