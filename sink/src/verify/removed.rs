//! Loss records for what retention removes: rows that are gone because they are old are not to be taken for lost ones.
//!
//! They are rows of the table like those of adaptors, in a stream of their own, and belong into the very commit that removes the
//! rows. What the removed rows themselves say of losses is said again, so that it is not forgotten as long as the table
//! lives. That comes to one row for each stream in most cases, since what follows one another is one loss.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow_array::builder::{MapBuilder, MapFieldNames, StringBuilder};
use arrow_array::{
    ArrayRef, BinaryArray, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray, new_null_array,
};
use arrow_schema::{DataType, Field};
use jiff::civil::Date;
use logboom_wire::{StreamId, loss};
use object_store::path::Path;

use super::ledger::{Loss, Numbered};
use super::pass::{FileRows, Wanted};
use super::seqs::Seqs;
use super::{json, rows};
use crate::object::Object;
use crate::parquet::FileSettings;
use crate::schema::file_schema;
use crate::table::{DataFile, SnapshotFile};
use crate::writer::SinkWriter;
use crate::{Error, FileFormat, Store};

/// The reason that they give.
pub const RETENTION: &str = "retention";
/// Streams of these rows begin so. When they are removed in their turn, nothing has to be told of them: what they say is
/// said again, and nobody misses the rest. An adaptor's stream is one by a chance of one to 2^64.
const STREAM_PREFIX: [u8; 8] = *b"retained";
/// A stream of which more ranges go is told of as one, with what lies between them.
const RANGES_MAX: usize = 64;

/// Rows that go: those of `files`, of these categories only if there are any given.
#[derive(Clone, Copy, Debug)]
pub struct Removed<'a> {
    /// The files.
    pub files: &'a [SnapshotFile],
    /// What they are in, or the files that they are indexes of.
    pub format: FileFormat,
    /// Categories that go; `None` for all of them.
    pub categories: Option<&'a BTreeSet<String>>,
}

impl Removed<'_> {
    /// Writes a sink file of the partition `date` that tells of them, at the time `now` (microseconds since 1970). None if
    /// there is nothing to tell. To be committed together with the removal.
    ///
    /// # Errors
    /// The store failed, or a file cannot be read: then what is in it cannot be told.
    pub async fn tell(
        self,
        store: &Store,
        date: Date,
        now: i64,
        settings: &FileSettings,
    ) -> Result<Vec<DataFile>, Error> {
        let losses = self.losses(store).await?;
        let mut writer = SinkWriter::new(store.clone(), date, settings.clone());
        if !losses.is_empty() {
            writer.write(&batch(&losses, now)).await?;
        }
        writer.finish().await
    }

    async fn read(self, store: &Store, file: &SnapshotFile, wanted: &Wanted) -> Result<FileRows, String> {
        match self.format {
            FileFormat::Parquet => {
                let path = Path::from(file.path.as_str());
                let object = Object::new(store.objects().clone(), path, file.size);
                rows::read(object, None, wanted).await.map_err(|error| error.to_string())
            }
            FileFormat::Json => {
                let read = json::read(store, file, wanted, None).await.map_err(|error| error.to_string())?;
                read.fault.map_or(Ok(read.rows), Err)
            }
        }
    }

    /// By host, stream and reason, in that order.
    async fn losses(self, store: &Store) -> Result<Vec<Loss>, Error> {
        let mut removed: BTreeMap<(String, StreamId, String), Seqs> = BTreeMap::new();
        let goes = |category: &str| self.categories.is_none_or(|categories| categories.contains(category));
        for file in self.files {
            let wanted = Wanted { categories: self.categories.cloned(), ..Wanted::default() };
            let rows = self.read(store, file, &wanted).await;
            let rows = rows.map_err(|reason| Error::Unreadable { path: file.path.clone(), reason })?;
            let parts = rows.parts.into_iter().filter(|(stream, _)| !stream.to_bytes().starts_with(&STREAM_PREFIX));
            for (stream, part) in parts {
                removed.entry((part.host, stream, RETENTION.to_owned())).or_default().merge(&part.seqs);
            }
            for Loss { host, reason, numbered, .. } in rows.losses.into_iter().filter(|_| goes(loss::CATEGORY)) {
                if let Some(Numbered { stream, first, last }) = numbered {
                    removed.entry((host, stream, reason)).or_default().insert_range(first, last);
                }
            }
        }
        let mut losses = Vec::new();
        for ((host, stream, reason), seqs) in removed {
            let mut ranges = seqs.ranges();
            if ranges.len() > RANGES_MAX {
                ranges = vec![*ranges[0].start()..=*ranges[ranges.len() - 1].end()];
            }
            losses.extend(ranges.into_iter().map(|range| {
                let (first, last) = range.into_inner();
                let numbered = Some(Numbered { stream, first, last });
                Loss { host: host.clone(), reason: reason.clone(), records: last - first + 1, numbered }
            }));
        }
        Ok(losses)
    }
}

fn new_stream() -> StreamId {
    let mut bytes = StreamId::random().to_bytes();
    bytes[..STREAM_PREFIX.len()].copy_from_slice(&STREAM_PREFIX);
    StreamId::from_bytes(bytes)
}

fn batch(losses: &[Loss], now: i64) -> RecordBatch {
    // A stream is of one host.
    let mut streams: BTreeMap<&str, (String, i64)> = BTreeMap::new();
    let places = losses.iter().map(|loss| {
        let (stream, next) = streams.entry(&loss.host).or_insert_with(|| (new_stream().to_string(), 0));
        *next += 1;
        (stream.clone(), *next - 1)
    });
    let (streams_of, seqs): (Vec<String>, Vec<i64>) = places.unzip();
    let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
    let mut attributes = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new())
        .with_keys_field(Arc::new(Field::new("key", DataType::Utf8, false)))
        .with_values_field(Arc::new(Field::new("value", DataType::Utf8, true)));
    let mut bodies = Vec::new();
    for Loss { reason, records, numbered, .. } in losses {
        let Numbered { stream, first, last } = numbered.as_ref().expect("only those are told of");
        let texts = [
            (loss::REASON, reason.clone()),
            (loss::RECORDS, records.to_string()),
            (loss::STREAM, stream.to_string()),
            (loss::FIRST_SEQ, first.to_string()),
            (loss::LAST_SEQ, last.to_string()),
        ];
        for (key, value) in texts {
            attributes.keys().append_value(key);
            attributes.values().append_value(value);
        }
        attributes.append(true).expect("as many keys as values");
        bodies.push(format!("{records} records may be missing from stream {stream}, {first} to {last}: {reason}"));
    }
    let rows = losses.len();
    let instants = || Arc::new(TimestampMicrosecondArray::from(vec![now; rows]).with_timezone("UTC")) as ArrayRef;
    let same = |text: &str| Arc::new(StringArray::from(vec![text; rows])) as ArrayRef;
    let schema = file_schema();
    let columns = schema.fields().iter().map(|field| match field.name().as_str() {
        "timestamp" | "observed_timestamp" => instants(),
        "category" => same(loss::CATEGORY),
        "host" => Arc::new(losses.iter().map(|loss| Some(loss.host.as_str())).collect::<StringArray>()) as ArrayRef,
        "source" => same(loss::SOURCE),
        "severity_number" => Arc::new(Int32Array::from(vec![9; rows])) as ArrayRef,
        "severity_text" => same("INFO"),
        "body" => Arc::new(bodies.iter().map(Some).collect::<StringArray>()) as ArrayRef,
        "body_bytes" => Arc::new(BinaryArray::new_null(rows)) as ArrayRef,
        "attributes" => Arc::new(attributes.finish()) as ArrayRef,
        "stream" => Arc::new(StringArray::from(streams_of.clone())),
        "seq" => Arc::new(Int64Array::from(seqs.clone())),
        _ => new_null_array(field.data_type(), rows),
    });
    let columns = columns.collect();
    RecordBatch::try_new(schema, columns).expect("the columns are those of the schema")
}
