//! The Arrow stream of one run, from bytes that may be hostile to a record batch that may be trusted.
//!
//! Owns what such a stream may contain: a schema of our columns, then one record batch, uncompressed and without
//! dictionaries. This is checked on the messages' metadata before the decoder sees them, for the decoder believes
//! announced lengths (a compressed body may announce terabytes) and copies what lies askew.

use arrow_array::{Array, RecordBatch};
use arrow_buffer::Buffer;
use arrow_ipc::reader::StreamDecoder;
use arrow_ipc::{Message, MessageHeader, root_as_message};
use arrow_schema::{DataType, Schema};

use crate::{attributes_type, column};

/// Largest metadata of a message, in bytes: ours take about one KiB.
const METADATA_BYTES_MAX: usize = 16 << 10;
const CONTINUATION: [u8; 4] = [0xff; 4];

/// Decodes the stream `raw`, which must hold `rows` rows.
pub fn decode(raw: Vec<u8>, rows: usize) -> Result<RecordBatch, String> {
    // The decoder checks what it reads, but a library that indexes into hostile bytes may still panic.
    let decoded = std::panic::catch_unwind(|| {
        check(&raw, rows)?;
        let mut decoder = StreamDecoder::new();
        let batch = decoder.decode(&mut Buffer::from_vec(raw)).map_err(|error| error.to_string())?;
        batch.ok_or_else(|| "no record batch in it".to_owned())
    });
    let batch = decoded.unwrap_or_else(|_| Err("the decoder panicked".into()))?;
    if batch.num_rows() != rows {
        return Err(format!("{} rows where {rows} were announced", batch.num_rows()));
    }
    for (field, values) in batch.schema_ref().fields().iter().zip(batch.columns()) {
        let may_be_null = [column::SEVERITY_TEXT, column::TRACE_ID, column::SPAN_ID].contains(&field.name().as_str());
        if values.null_count() > 0 && !may_be_null {
            return Err(format!("nulls in its column {}", field.name()));
        }
    }
    Ok(batch)
}

/// Refuses what is not a schema of our columns and one plain record batch.
fn check(raw: &[u8], rows: usize) -> Result<(), String> {
    let (message, rest) = next_message(raw)?;
    let schema =
        message.header_as_schema().filter(|_| message.bodyLength() == 0).ok_or("it does not begin with a schema")?;
    if schema.fields().is_none() {
        return Err("its schema has no fields".into());
    }
    check_schema(&arrow_ipc::convert::fb_to_schema(schema))?;

    let (message, body) = next_message(rest)?;
    if message.header_type() != MessageHeader::RecordBatch {
        return Err("no record batch follows its schema".into());
    }
    let batch = message.header_as_record_batch().ok_or("its record batch is empty")?;
    if batch.compression().is_some() {
        return Err("its body is compressed".into());
    }
    if batch.length() != rows as i64 {
        return Err(format!("{} rows where {rows} were announced", batch.length()));
    }
    let body_bytes = usize::try_from(message.bodyLength()).ok().filter(|length| *length <= body.len());
    let body_bytes = body_bytes.ok_or("its body is cut off")? as i64;
    let mut end = 0;
    for buffer in batch.buffers().into_iter().flatten() {
        // Buffers that overlap would let few bytes become many.
        if buffer.offset() < end || buffer.length() < 0 || buffer.length() > body_bytes - buffer.offset() {
            return Err("a buffer lies outside its body".into());
        }
        end = buffer.offset() + buffer.length();
    }
    Ok(())
}

/// The first message of `bytes`, and what comes after its metadata.
fn next_message(bytes: &[u8]) -> Result<(Message<'_>, &[u8]), String> {
    let bytes = bytes.strip_prefix(&CONTINUATION).unwrap_or(bytes);
    let (length, bytes) = bytes.split_first_chunk::<4>().ok_or("it is cut off")?;
    let length = u32::from_le_bytes(*length) as usize;
    if length == 0 || length > METADATA_BYTES_MAX || length > bytes.len() {
        return Err("the length of its metadata is out of range".into());
    }
    let (metadata, rest) = bytes.split_at(length);
    Ok((root_as_message(metadata).map_err(|error| error.to_string())?, rest))
}

fn check_schema(schema: &Schema) -> Result<(), String> {
    for (index, field) in schema.fields().iter().enumerate() {
        let name = field.name().as_str();
        let expected = match name {
            column::TIMESTAMP | column::OBSERVED_TIMESTAMP => DataType::Int64,
            column::SEVERITY_NUMBER => DataType::UInt8,
            column::SEVERITY_TEXT => DataType::Utf8,
            column::BODY => DataType::Binary,
            column::ATTRIBUTES => attributes_type(),
            column::TRACE_ID => DataType::FixedSizeBinary(16),
            column::SPAN_ID => DataType::FixedSizeBinary(8),
            _ => return Err("it has a column that is none of ours".into()),
        };
        if *field.data_type() != expected {
            return Err(format!("its column {name} has another type"));
        }
        if schema.fields()[..index].iter().any(|other| other.name() == name) {
            return Err(format!("it has two columns {name}"));
        }
    }
    for name in [column::OBSERVED_TIMESTAMP, column::BODY] {
        schema.index_of(name).map_err(|_| format!("it has no column {name}"))?;
    }
    Ok(())
}
