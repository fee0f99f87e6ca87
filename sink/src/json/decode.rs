//! Members back to rows: bytes in, record batches out, no I/O.
//!
//! What comes in is hostile until it fits the index: a member may unpack to no more than that says, must hold as many
//! records, and must end where it says. What is held at a time is a few MiB, or one record if that is larger.

use std::collections::VecDeque;
use std::sync::Arc;

use arrow_array::builder::BinaryBuilder;
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_json::ReaderBuilder;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use logboom_wire::decompress::Gunzip;

use super::index::Member;
use crate::Error;
use crate::schema::file_schema;

/// Rows are given away when their lines have so many bytes, however few they are.
const BATCH_RAW_BYTES: usize = 4 << 20;

/// Unpacks consecutive members of one file.
pub struct Decoder {
    /// The columns that are wanted.
    wanted: SchemaRef,
    json: arrow_json::reader::Decoder,
    held: Held,
    input: Bytes,
    open: Option<OpenMember>,
    waiting: VecDeque<Member>,
    ready: VecDeque<RecordBatch>,
    /// Rows that were given away.
    given: u64,
}

/// What the rows are of that are decoded and not given away.
#[derive(Default)]
struct Held {
    /// Bytes of their lines.
    bytes: usize,
    path: Arc<str>,
    /// The bytes of the file that they are from.
    from: u64,
    to: u64,
}

struct OpenMember {
    member: Member,
    gunzip: Gunzip,
    /// Bytes of the member that are still to come.
    left: u64,
    crc32c: u32,
    /// How many rows came before its first.
    rows_before: u64,
}

impl Decoder {
    /// For `members`, whose bytes come one after the other; `wanted` are some columns of
    /// [`file_schema`], a batch has at most `batch_rows`.
    pub fn new(members: impl IntoIterator<Item = Member>, wanted: SchemaRef, batch_rows: usize) -> Self {
        let read: Vec<Field> = match wanted.fields().is_empty() {
            // Some column has to be read to know how many rows there are.
            true => vec![file_schema().field_with_name("seq").expect("it is a column").clone()],
            false => wanted.fields().iter().map(|field| as_in_lines(field)).collect(),
        };
        let json = ReaderBuilder::new(Arc::new(Schema::new(read))).with_batch_size(batch_rows.max(1)).build_decoder();
        Self {
            wanted,
            json: json.expect("columns of these types can be read"),
            held: Held::default(),
            input: Bytes::new(),
            open: None,
            waiting: members.into_iter().collect(),
            ready: VecDeque::new(),
            given: 0,
        }
    }

    /// Gives the next bytes, once the last are used up: when [`Decoder::next_batch`] has said `None`.
    pub fn push(&mut self, bytes: Bytes) {
        assert!(self.input.is_empty(), "the last bytes are used up");
        self.input = bytes;
    }

    /// The next rows. `None`: there are none in the bytes that came so far. What comes after the last member is passed over.
    ///
    /// # Errors
    /// [`Error::BadMember`]; the decoder is of no more use then.
    pub fn next_batch(&mut self) -> Result<Option<RecordBatch>, Error> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(Some(batch));
            }
            if self.input.is_empty() {
                return Ok(None);
            }
            let Some(mut member) = self.next_member() else {
                self.input.clear();
                return Ok(None);
            };
            self.unpack(&mut member)?;
            if member.left > 0 {
                self.open = Some(member);
            }
        }
    }

    /// All bytes have come, and [`Decoder::next_batch`] has said `None`: gives the last rows.
    ///
    /// # Errors
    /// [`Error::BadMember`] if bytes are missing.
    pub fn finish(mut self) -> Result<Option<RecordBatch>, Error> {
        if let Some(member) = self.next_member() {
            return Err(member.bad(format!("the last {} of them are missing", member.left)));
        }
        self.flush()?;
        Ok(self.ready.pop_front())
    }

    fn next_member(&mut self) -> Option<OpenMember> {
        self.open.take().or_else(|| {
            let member = OpenMember::new(self.waiting.pop_front()?, self.rows());
            self.held.to = member.member.offset + member.member.length;
            if self.held.bytes == 0 {
                self.held.path = member.member.path.clone();
                self.held.from = member.member.offset;
            }
            Some(member)
        })
    }

    /// Rows so far.
    fn rows(&self) -> u64 {
        self.given + self.json.len() as u64
    }

    /// Unpacks a slice of the input, which is of this member.
    fn unpack(&mut self, member: &mut OpenMember) -> Result<(), Error> {
        let slice = Gunzip::SLICE_BYTES.min(self.input.len()).min(usize::try_from(member.left).unwrap_or(usize::MAX));
        let lines = member.unpack(&self.input.split_to(slice)).map_err(|reason| member.bad(reason))?;
        // Rows can be given away only between two lines.
        let (whole, begun) = lines.split_at(memchr::memrchr(b'\n', &lines).map_or(0, |at| at + 1));
        for mut part in [whole, begun] {
            while !part.is_empty() {
                let used = self.json.decode(part).map_err(|error| member.bad(error.to_string()))?;
                self.held.bytes += used;
                part = &part[used..];
                if !part.is_empty() {
                    self.flush()?;
                }
            }
            if self.held.bytes >= BATCH_RAW_BYTES && !self.json.has_partial_record() {
                self.flush()?;
                self.held.from = member.member.offset;
            }
        }
        if member.left == 0 {
            let whole = !self.json.has_partial_record();
            member.check_end(whole, self.rows()).map_err(|reason| member.bad(reason))?;
        }
        Ok(())
    }

    /// Gives away the rows that are held.
    fn flush(&mut self) -> Result<(), Error> {
        let batch = self.json.flush().map_err(|error| error.to_string());
        let batch = batch.and_then(|batch| batch.map(|batch| self.as_wanted(&batch)).transpose());
        let Held { path, from, to, .. } = &self.held;
        let bad = |reason| Error::BadMember { object: path.to_string(), from: *from, to: *to, reason };
        let batch = batch.map_err(bad)?;
        self.held.bytes = 0;
        self.given += batch.as_ref().map_or(0, |batch| batch.num_rows() as u64);
        self.ready.extend(batch);
        Ok(())
    }

    fn as_wanted(&self, batch: &RecordBatch) -> Result<RecordBatch, String> {
        if self.wanted.fields().is_empty() {
            return batch.project(&[]).map_err(|error| error.to_string());
        }
        let columns = batch.columns().iter().zip(self.wanted.fields());
        let columns: Result<Vec<ArrayRef>, String> = columns
            .map(|(column, field)| match field.data_type() {
                DataType::Binary => from_base64(column),
                _ => Ok(column.clone()),
            })
            .collect();
        RecordBatch::try_new(self.wanted.clone(), columns?).map_err(|error| error.to_string())
    }
}

impl OpenMember {
    fn new(member: Member, rows_before: u64) -> Self {
        Self { left: member.length, gunzip: Gunzip::new(member.raw_length), member, crc32c: 0, rows_before }
    }

    /// Takes the next bytes of the member and gives their lines.
    fn unpack(&mut self, slice: &[u8]) -> Result<Vec<u8>, String> {
        self.left -= slice.len() as u64;
        self.crc32c = crc32c::crc32c_append(self.crc32c, slice);
        self.gunzip.push(slice, self.left == 0)
    }

    /// All of it has come, and `rows` are decoded, the last of them whole or not.
    fn check_end(&self, whole: bool, rows: u64) -> Result<(), String> {
        let Member { raw_length, crc32c, stats, .. } = &self.member;
        if self.crc32c != *crc32c {
            return Err(format!("its checksum is {:08x}, not {crc32c:08x}", self.crc32c));
        }
        if self.gunzip.given() != *raw_length {
            return Err(format!("it unpacks to {} bytes, not {raw_length}", self.gunzip.given()));
        }
        let rows = rows - self.rows_before;
        if !whole || rows != stats.records {
            return Err(format!("it has {rows} lines, not {}", stats.records));
        }
        Ok(())
    }

    fn bad(&self, reason: String) -> Error {
        let Member { path, offset, length, .. } = &self.member;
        Error::BadMember { object: path.to_string(), from: *offset, to: offset + length, reason }
    }
}

/// The column as the lines have it.
fn as_in_lines(field: &Field) -> Field {
    match field.data_type() {
        DataType::Binary => field.clone().with_data_type(DataType::Utf8),
        _ => field.clone(),
    }
}

fn from_base64(column: &ArrayRef) -> Result<ArrayRef, String> {
    let texts = column.as_string::<i32>();
    let mut bytes = BinaryBuilder::with_capacity(texts.len(), texts.value_data().len() / 4 * 3);
    let mut decoded = Vec::new();
    for text in texts {
        let Some(text) = text else {
            bytes.append_null();
            continue;
        };
        decoded.clear();
        STANDARD.decode_vec(text, &mut decoded).map_err(|error| format!("its body_bytes are not base64: {error}"))?;
        bytes.append_value(&decoded);
    }
    Ok(Arc::new(bytes.finish()))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;
    use logboom_fuzz::fuzz;

    use super::*;
    use crate::table::FileStats;

    const LINE: &[u8] = br#"{"timestamp":"2026-01-01T00:00:00Z","observed_timestamp":"2026-01-01T00:00:00.5Z","category":"a","host":"h","source":"s","severity_number":9,"severity_text":"INFO","body":"b\u00e9\n","body_bytes":"/w==","attributes":{"k":"v","n":null},"trace_id":"ab","stream":"x","seq":1}
"#;

    /// All that `lines` unpack to, of an index that says what is true of their gzip.
    fn decoded(lines: &[u8], gzip: &[u8], rows: usize) -> Result<u64, Error> {
        let member = Member {
            path: "_json/x".into(),
            offset: 0,
            length: gzip.len() as u64,
            raw_length: lines.len() as u64,
            crc32c: crc32c::crc32c(gzip),
            stats: FileStats { records: rows as u64, ..FileStats::default() },
        };
        let mut decoder = Decoder::new([member], file_schema(), 1000);
        decoder.push(gzip.to_vec().into());
        let mut found = 0;
        while let Some(batch) = decoder.next_batch()? {
            found += batch.num_rows() as u64;
        }
        Ok(found)
    }

    #[test]
    fn no_lines_of_a_member_make_it_panic() {
        fuzz(&[LINE, &LINE.repeat(3)], |lines| {
            // Stored, not compressed: the lines are what is tried here.
            let mut gzip = GzEncoder::new(Vec::new(), Compression::none());
            gzip.write_all(lines).unwrap();
            let rows = lines.iter().filter(|byte| **byte == b'\n').count();
            let _ = decoded(lines, &gzip.finish().unwrap(), rows);
        });
    }

    #[test]
    fn no_gzip_of_a_member_makes_it_panic_or_unpack_to_more_than_it_says() {
        let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
        gzip.write_all(LINE).unwrap();
        fuzz(&[&gzip.finish().unwrap()], |bytes| {
            if let Ok(rows) = decoded(LINE, bytes, 1) {
                assert!(rows <= 1, "{rows}");
            }
        });
    }
}
