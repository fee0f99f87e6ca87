//! Rows of a sink file for tests, and the way from rows to a JSON file and back.

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, MapBuilder, MapFieldNames, StringBuilder};
use arrow_array::{ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::SchemaRef;
use bytes::Bytes;
use jiff::civil::date;
use logboom_sink::json::{Decoder, JsonWriter, Member, read_index};
use logboom_sink::schema::file_schema;
use logboom_sink::table::{DataFile, SnapshotFile};
use logboom_sink::{Error, FileFormat, FileSettings, Store};
use object_store::ObjectStoreExt;

pub type Attributes = Vec<(&'static str, Option<String>)>;

/// One row; what is not given is null where it may be.
#[derive(Clone, Debug, Default)]
pub struct Row {
    pub timestamp: i64,
    pub observed: i64,
    pub category: String,
    pub host: String,
    pub severity: Option<(i32, &'static str)>,
    pub body: String,
    pub body_bytes: Option<Vec<u8>>,
    pub attributes: Option<Attributes>,
    pub trace: Option<String>,
    pub seq: i64,
}

pub fn row(category: &str, timestamp: i64, body: &str) -> Row {
    Row { timestamp, category: category.into(), body: body.into(), host: "web-1".into(), ..Row::default() }
}

pub fn batch(rows: &[Row]) -> RecordBatch {
    let instants = |value: fn(&Row) -> i64| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from_iter_values(rows.iter().map(value)).with_timezone("UTC"))
    };
    let texts =
        |value: fn(&Row) -> Option<&str>| -> ArrayRef { Arc::new(rows.iter().map(value).collect::<StringArray>()) };
    let mut bytes = BinaryBuilder::new();
    rows.iter().for_each(|row| bytes.append_option(row.body_bytes.as_ref()));
    let names = MapFieldNames { entry: "key_value".into(), key: "key".into(), value: "value".into() };
    let mut attributes = MapBuilder::new(Some(names), StringBuilder::new(), StringBuilder::new());
    for row in rows {
        for (key, value) in row.attributes.iter().flatten() {
            attributes.keys().append_value(key);
            attributes.values().append_option(value.as_ref());
        }
        attributes.append(row.attributes.is_some()).unwrap();
    }
    let columns: Vec<ArrayRef> = vec![
        instants(|row| row.timestamp),
        instants(|row| row.observed),
        texts(|row| Some(&row.category)),
        texts(|row| Some(&row.host)),
        texts(|_| Some("app")),
        Arc::new(rows.iter().map(|row| row.severity.map(|(number, _)| number)).collect::<Int32Array>()),
        texts(|row| row.severity.map(|(_, text)| text)),
        texts(|row| Some(&row.body)),
        Arc::new(bytes.finish()),
        Arc::new(attributes.finish()),
        texts(|row| row.trace.as_deref()),
        texts(|row| row.trace.as_ref().map(|trace| &trace[..16])),
        texts(|_| Some("00112233445566778899aabbccddeeff")),
        Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.seq))),
    ];
    RecordBatch::try_new(file_schema(), columns).unwrap()
}

pub fn settings() -> FileSettings {
    FileSettings {
        format: FileFormat::Json,
        target_file_size: 256 << 20,
        compression_level: 5,
        row_group_rows: 1 << 20,
        merge_memory: 64 << 20,
        promote: vec![],
    }
}

pub fn store() -> Store {
    Store::open("memory://", &Default::default()).unwrap()
}

/// Writes rows that come sorted; a run of one category is handed over in pieces.
pub async fn write(store: &Store, rows: &RecordBatch, settings: &FileSettings) -> Option<DataFile> {
    let mut writer = JsonWriter::new(store.clone(), date(2026, 1, 2), settings);
    let categories: Vec<String> = texts(rows, "category");
    let mut start = 0;
    for run in categories.chunk_by(|a, b| a == b) {
        for at in (start..start + run.len()).step_by(1000) {
            writer.write(&rows.slice(at, 1000.min(start + run.len() - at))).await.unwrap();
        }
        start += run.len();
        writer.category_ended().await.unwrap();
    }
    writer.finish().await.unwrap()
}

pub fn texts(rows: &RecordBatch, name: &str) -> Vec<String> {
    use arrow_array::cast::AsArray;
    rows[name].as_string::<i32>().iter().map(|text| text.unwrap().to_owned()).collect()
}

pub async fn members(store: &Store, file: &DataFile) -> Vec<Member> {
    read_index(&**store.objects(), &file.path, file.size).await.unwrap()
}

pub fn snapshot_file(file: &DataFile) -> SnapshotFile {
    SnapshotFile {
        path: file.path.clone(),
        size: file.size,
        date: file.date,
        stats: None,
        crc32c: None,
        compacted: false,
    }
}

pub async fn object(store: &Store, path: &str) -> Bytes {
    store.objects().get(&path.into()).await.unwrap().bytes().await.unwrap()
}

/// Decodes consecutive members, whose bytes come in pieces of `piece` bytes.
pub fn decode(members: &[Member], bytes: &[u8], wanted: SchemaRef, piece: usize) -> Result<Vec<RecordBatch>, Error> {
    let mut decoder = Decoder::new(members.iter().cloned(), wanted, 1000);
    let mut batches = Vec::new();
    for piece in bytes.chunks(piece) {
        decoder.push(Bytes::copy_from_slice(piece));
        while let Some(batch) = decoder.next_batch()? {
            batches.push(batch);
        }
    }
    batches.extend(decoder.finish()?);
    Ok(batches)
}

/// What is in the files of an index, as one batch.
pub async fn read(store: &Store, file: &DataFile) -> RecordBatch {
    let members = members(store, file).await;
    let mut batches = Vec::new();
    for members in members.chunk_by(|a, b| a.path == b.path) {
        let bytes = object(store, &members[0].path).await;
        batches.extend(decode(members, &bytes, file_schema(), 5000).unwrap());
    }
    arrow_select::concat::concat_batches(&file_schema(), &batches).unwrap()
}
