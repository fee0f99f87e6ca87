//! The index: which members there are, in which file each lies, and what it says about its records.
//!
//! A row of the index is all that a reader knows before it fetches: it is checked here, so that a file that only looks
//! like an index can make nobody read another object, or more than it may hold.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Int64Type, TimestampMicrosecondType};
use arrow_array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use jiff::civil::Date;
use object_store::{ObjectStore, ObjectStoreExt};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::{ArrowReaderOptions, ParquetRecordBatchReaderBuilder};
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::paths::Name;
use crate::schema::index_schema;
use crate::table::{DataFile, FileStats, SnapshotFile};
use crate::{Error, Store};

/// More than any index can sensibly be: its rows are a few dozen bytes each.
const INDEX_BYTES_MAX: u64 = 256 << 20;
/// More than the lines of any member can be: a member ends at a few MiB, or with the one record that is larger.
const RAW_LENGTH_MAX: u64 = 1 << 30;
/// So many indexes are fetched at a time.
const FETCHES: usize = 16;

/// One gzip member of a JSON file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// The JSON file, relative to the table's root.
    pub path: Arc<str>,
    /// Where the member begins in it, in bytes.
    pub offset: u64,
    /// How many bytes it has there.
    pub length: u64,
    /// How many bytes its lines have.
    pub raw_length: u64,
    /// CRC-32C of its bytes in the file, so that they can be checked without unpacking them.
    pub crc32c: u32,
    /// Its records: how many, and their bounds. The least category and the greatest are the same one.
    pub stats: FileStats,
}

/// Puts the index of these members, of which there is at least one.
pub(super) async fn write_index(store: &Store, date: Date, name: Name, members: &[Member]) -> Result<DataFile, Error> {
    let mut stats = FileStats { members: Some(members.len() as u64), ..FileStats::default() };
    members.iter().for_each(|member| stats.extend(&member.stats));
    let properties = WriterProperties::builder()
        .set_created_by(concat!("logboom ", env!("CARGO_PKG_VERSION")).to_owned())
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .build();
    let mut content = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut content, index_schema(), Some(properties)).map_err(Error::encoding)?;
    writer.write(&rows(members)?).map_err(Error::encoding)?;
    writer.close().map_err(Error::encoding)?;
    let size = content.len() as u64;
    let crc32c = Some(crc32c::crc32c(&content));
    store.put(name, content.into()).await?;
    Ok(DataFile { path: name.to_string(), size, date, stats, crc32c })
}

fn rows(members: &[Member]) -> Result<RecordBatch, Error> {
    let number = |value: fn(&Member) -> u64| -> ArrayRef {
        let value = |member| i64::try_from(value(member)).expect("no object is so large");
        Arc::new(Int64Array::from_iter_values(members.iter().map(value)))
    };
    let texts = |value: &dyn Fn(&Member) -> Option<String>| -> ArrayRef {
        Arc::new(members.iter().map(value).collect::<StringArray>())
    };
    let instants = |value: fn(&FileStats) -> Option<i64>| -> ArrayRef {
        let values: TimestampMicrosecondArray = members.iter().map(|member| value(&member.stats)).collect();
        Arc::new(values.with_timezone("UTC"))
    };
    let columns: Vec<ArrayRef> = vec![
        texts(&|member| Some(member.stats.category.as_ref()?.0.clone())),
        texts(&|member| Some(member.path.to_string())),
        number(|member| member.offset),
        number(|member| member.length),
        number(|member| member.raw_length),
        number(|member| u64::from(member.crc32c)),
        number(|member| member.stats.records),
        instants(|stats| Some(stats.timestamp?.0)),
        instants(|stats| Some(stats.timestamp?.1)),
        instants(|stats| Some(stats.observed_timestamp?.0)),
        instants(|stats| Some(stats.observed_timestamp?.1)),
        texts(&|member| Some(member.stats.host.as_ref()?.0.clone())),
        texts(&|member| Some(member.stats.host.as_ref()?.1.clone())),
    ];
    RecordBatch::try_new(index_schema(), columns).map_err(Error::encoding)
}

/// Reads an index of this size in bytes that a snapshot of a JSON table names.
///
/// # Errors
/// [`Error::Store`] if it cannot be fetched, [`Error::BadIndex`] if it is damaged or says what cannot be.
pub async fn read_index(objects: &dyn ObjectStore, path: &str, size: u64) -> Result<Vec<Member>, Error> {
    let bad = |reason: String| Error::BadIndex { object: path.to_owned(), reason };
    if size > INDEX_BYTES_MAX {
        return Err(bad(format!("it has {size} bytes, which is far too many")));
    }
    let failed = |error| Error::store("reading", path, error);
    // The range is what the log says: an object that has grown is not read into memory.
    let content = objects.get_range(&path.into(), 0..size).await.map_err(failed)?;
    parse(content).map_err(bad)
}

fn parse(content: Bytes) -> Result<Vec<Member>, String> {
    // The decoder panics on some damaged files. It owns all it works on, so there is nothing left half done.
    let members = std::panic::catch_unwind(|| members(content));
    members.unwrap_or_else(|_| Err("the decoder cannot make sense of it".into()))
}

fn members(content: Bytes) -> Result<Vec<Member>, String> {
    // What Arrow has written about the columns beside Parquet's own types is not needed.
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let reader = ParquetRecordBatchReaderBuilder::try_new_with_options(content, options);
    let reader = reader.and_then(|builder| builder.build());
    let mut members = Vec::new();
    let mut path = None;
    for batch in reader.map_err(|error| error.to_string())? {
        let batch = batch.map_err(|error| error.to_string())?;
        let columns = Columns::of(&batch)?;
        for row in 0..batch.num_rows() {
            let member = columns.member(row, &mut path);
            members.push(member.map_err(|reason| format!("row {}: {reason}", members.len()))?);
        }
    }
    Ok(members)
}

struct Columns<'a>(&'a RecordBatch);

impl<'a> Columns<'a> {
    fn of(batch: &'a RecordBatch) -> Result<Self, String> {
        for field in index_schema().fields() {
            let column =
                batch.column_by_name(field.name()).ok_or_else(|| format!("it has no column `{}`", field.name()))?;
            if column.data_type() != field.data_type() || column.null_count() > 0 {
                return Err(format!("its column `{}` is not one of {} without nulls", field.name(), field.data_type()));
            }
        }
        Ok(Self(batch))
    }

    fn text(&self, name: &str, row: usize) -> &'a str {
        self.0[name].as_string::<i32>().value(row)
    }

    fn number(&self, name: &str, row: usize) -> Result<u64, String> {
        let value = self.0[name].as_primitive::<Int64Type>().value(row);
        u64::try_from(value).map_err(|_| format!("its {name} is {value}"))
    }

    fn instants(&self, name: &str, row: usize) -> Option<(i64, i64)> {
        let bound = |end: &str| self.0[&*format!("{name}_{end}")].as_primitive::<TimestampMicrosecondType>().value(row);
        Some((bound("min"), bound("max")))
    }

    /// `path` is that of the row before: rows of one file share its text.
    fn member(&self, row: usize, path: &mut Option<Arc<str>>) -> Result<Member, String> {
        let text = self.text("path", row);
        let path = match path {
            Some(path) if **path == *text => path,
            // No other object may be read in its place.
            _ if !matches!(Name::parse(text), Some(Name::Json { .. })) => {
                return Err(format!("`{text}` is not the name of a JSON file"));
            }
            other => other.insert(text.into()),
        };
        let category = self.text("category", row).to_owned();
        let member = Member {
            path: path.clone(),
            offset: self.number("offset", row)?,
            length: self.number("length", row)?,
            raw_length: self.number("raw_length", row)?,
            crc32c: u32::try_from(self.number("crc32c", row)?).map_err(|_| "its crc32c has more than 32 bits")?,
            stats: FileStats {
                records: self.number("records", row)?,
                timestamp: self.instants("timestamp", row),
                observed_timestamp: self.instants("observed_timestamp", row),
                category: Some((category.clone(), category)),
                host: Some((self.text("host_min", row).to_owned(), self.text("host_max", row).to_owned())),
                ..FileStats::default()
            },
        };
        let end = member.offset.checked_add(member.length).filter(|end| i64::try_from(*end).is_ok());
        let fits = (1..=RAW_LENGTH_MAX).contains(&member.raw_length)
            && (1..=member.raw_length).contains(&member.stats.records)
            && member.length > 0
            && end.is_some();
        match fits {
            true => Ok(member),
            false => Err(format!(
                "{} bytes at {} cannot be {} bytes of {} records",
                member.length, member.offset, member.raw_length, member.stats.records
            )),
        }
    }
}

/// The JSON files that these indexes of a snapshot list, sorted by name: each with the size that it must have at least,
/// and what its records are. Whatever deletes unreferenced objects must spare them: the log itself names only indexes.
///
/// # Errors
/// As [`read_index`]: an index that cannot be read names nobody knows what.
pub async fn listed_files(store: &Store, indexes: &[SnapshotFile]) -> Result<Vec<SnapshotFile>, Error> {
    let read = |index: &SnapshotFile| {
        let index = index.clone();
        async move { Ok::<_, Error>((read_index(&**store.objects(), &index.path, index.size).await?, index)) }
    };
    let read: Vec<_> = indexes.iter().map(read).collect();
    let files = futures::stream::iter(read).buffer_unordered(FETCHES).try_fold(
        BTreeMap::<String, SnapshotFile>::new(),
        |mut files, (members, index)| async move {
            for member in members {
                if !files.contains_key(&*member.path) {
                    let path = member.path.to_string();
                    let file = SnapshotFile { path: path.clone(), size: 0, stats: None, crc32c: None, ..index.clone() };
                    files.insert(path, file);
                }
                let file = files.get_mut(&*member.path).expect("it is there");
                file.size = file.size.max(member.offset + member.length);
                file.stats.get_or_insert_default().extend(&member.stats);
            }
            Ok(files)
        },
    );
    Ok(files.await?.into_values().collect())
}

#[cfg(test)]
mod tests {
    use logboom_fuzz::fuzz;

    use super::*;

    #[test]
    fn no_bytes_of_an_index_make_the_reader_panic_or_name_another_object() {
        let name = Name::new_index(jiff::civil::date(2026, 3, 1)).listed(0).to_string();
        let stats = FileStats {
            records: 7,
            timestamp: Some((1, 2)),
            observed_timestamp: Some((3, 4)),
            category: Some(("a".into(), "a".into())),
            host: Some(("h".into(), "i".into())),
            ..FileStats::default()
        };
        let member = Member { path: name.as_str().into(), offset: 5, length: 100, raw_length: 900, crc32c: 6, stats };
        let seed = |compression| {
            let mut content = Vec::new();
            let properties = WriterProperties::builder().set_compression(compression).build();
            let mut writer = ArrowWriter::try_new(&mut content, index_schema(), Some(properties)).unwrap();
            writer.write(&rows(&[member.clone(), member.clone()]).unwrap()).unwrap();
            writer.close().unwrap();
            content
        };
        let (plain, zstd) = (seed(Compression::UNCOMPRESSED), seed(Compression::ZSTD(ZstdLevel::default())));
        assert_eq!(parse(plain.clone().into()).unwrap().len(), 2);
        fuzz(&[&plain, &zstd], |bytes| {
            for member in parse(bytes.to_vec().into()).unwrap_or_default() {
                assert!(matches!(Name::parse(&member.path), Some(Name::Json { .. })), "{}", member.path);
                assert!(member.raw_length <= RAW_LENGTH_MAX && member.offset.checked_add(member.length).is_some());
            }
        });
    }
}
