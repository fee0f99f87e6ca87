//! Members and files: when one ends and the next begins.
//!
//! - A member ends with its category, at [`MEMBER_RAW_BYTES`], or with its file.
//! - A file ends at the target size, counted in bytes as they are on the store: a member may end after any record, so a
//!   file is over its target by what one call of the compressor gives.
//! - All files of one writer are in one index, which is put last: a name in it stands for an object that is there.

use std::io::Write;
use std::mem;
use std::sync::Arc;

use arrow_array::RecordBatch;
use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::civil::Date;
use logboom_config::crash;
use object_store::buffered::BufWriter;
use tokio::io::AsyncWriteExt;

use super::index::{Member, write_index};
use super::line::{Clock, Lines};
use crate::parquet::{FileSettings, PART_BYTES, count, given};
use crate::paths::Name;
use crate::table::{DataFile, FileStats};
use crate::{Error, Store};

/// Lines of one member at most, but for its last record. A compressor that begins anew costs less than a thousandth of
/// that; a reader that wants a minute of a busy category saves nearly all of it.
const MEMBER_RAW_BYTES: u64 = 16 << 20;
/// Lines are compressed in pieces of this size.
const PIECE_BYTES: usize = 64 << 10;

/// Writes sorted rows into as many JSON files of one partition as they need.
pub struct JsonWriter {
    store: Store,
    date: Date,
    target_file_size: u64,
    level: Compression,
    clock: Clock,
    /// Lines of the open member that are not compressed yet.
    lines: Vec<u8>,
    /// The records of the open member.
    stats: FileStats,
    file: Option<OpenFile>,
    index: Name,
    files: u32,
    done: Vec<Member>,
}

struct OpenFile {
    path: Arc<str>,
    upload: BufWriter,
    /// Bytes that the upload was given.
    length: u64,
    member: Option<OpenMember>,
}

struct OpenMember {
    gzip: GzEncoder<Vec<u8>>,
    offset: u64,
    raw_length: u64,
    crc32c: u32,
}

impl JsonWriter {
    /// Writes nothing yet.
    pub fn new(store: Store, date: Date, settings: &FileSettings) -> Self {
        Self {
            store,
            date,
            target_file_size: settings.target_file_size,
            level: Compression::new(settings.compression_level.clamp(0, 9) as u32),
            clock: Clock::default(),
            lines: Vec::with_capacity(2 * PIECE_BYTES),
            stats: FileStats::default(),
            file: None,
            index: Name::new_index(date),
            files: 0,
            done: Vec::new(),
        }
    }

    /// Writes rows of one category that come after all before them in the order of a sink file.
    pub async fn write(&mut self, rows: &RecordBatch) -> Result<(), Error> {
        let rows = &given(rows).map_err(Error::encoding)?;
        let lines = Lines::of(rows);
        let mut counted = 0;
        for row in 0..rows.num_rows() {
            lines.write(row, &mut self.clock, &mut self.lines)?;
            if self.lines.len() >= PIECE_BYTES && self.compress().await? {
                count(&mut self.stats, &rows.slice(counted, row + 1 - counted));
                counted = row + 1;
                self.end_member().await?;
            }
        }
        if counted < rows.num_rows() {
            count(&mut self.stats, &rows.slice(counted, rows.num_rows() - counted));
        }
        Ok(())
    }

    /// The category is complete: what follows is another one's.
    pub async fn category_ended(&mut self) -> Result<(), Error> {
        self.end_member().await
    }

    /// Ends the last file and puts the index of all. All is on the store now, durably. `None`: there was no row.
    pub async fn finish(mut self) -> Result<Option<DataFile>, Error> {
        self.end_member().await?;
        self.end_file().await?;
        if self.done.is_empty() {
            return Ok(None);
        }
        crash::point("collector.index.before");
        Ok(Some(write_index(&self.store, self.date, self.index, &self.done).await?))
    }

    /// Compresses the lines that wait. Whether the member has to end with them.
    async fn compress(&mut self) -> Result<bool, Error> {
        let file = self.file.get_or_insert_with(|| {
            self.files += 1;
            OpenFile::new(&self.store, self.index.listed(self.files))
        });
        let member = file.member.get_or_insert_with(|| OpenMember::new(file.length, self.level));
        member.raw_length += self.lines.len() as u64;
        member.gzip.write_all(&self.lines).expect("a vector takes everything");
        self.lines.clear();
        let full = member.raw_length >= MEMBER_RAW_BYTES;
        file.upload().await?;
        Ok(full || file.length >= self.target_file_size)
    }

    /// Ends the open member, if there is one, and its file if that is large enough.
    async fn end_member(&mut self) -> Result<(), Error> {
        if !self.lines.is_empty() {
            self.compress().await?;
        }
        let Some(file) = &mut self.file else { return Ok(()) };
        let Some(member) = &mut file.member else { return Ok(()) };
        member.gzip.try_finish().expect("a vector takes everything");
        file.upload().await?;
        let member = file.member.take().expect("it was there");
        self.done.push(Member {
            path: file.path.clone(),
            offset: member.offset,
            length: file.length - member.offset,
            raw_length: member.raw_length,
            crc32c: member.crc32c,
            stats: mem::take(&mut self.stats),
        });
        if file.length >= self.target_file_size {
            self.end_file().await?;
        }
        Ok(())
    }

    async fn end_file(&mut self) -> Result<(), Error> {
        let Some(mut file) = self.file.take() else { return Ok(()) };
        file.upload.shutdown().await.map_err(Error::encoding)
    }
}

impl OpenFile {
    fn new(store: &Store, name: Name) -> Self {
        let path = name.path();
        let upload = BufWriter::with_capacity(store.objects().clone(), path.clone(), PART_BYTES);
        Self { path: path.as_ref().into(), upload, length: 0, member: None }
    }

    /// Gives the upload what the compressor has made so far.
    async fn upload(&mut self) -> Result<(), Error> {
        let Some(member) = &mut self.member else { return Ok(()) };
        let made = member.gzip.get_mut();
        member.crc32c = crc32c::crc32c_append(member.crc32c, made);
        self.length += made.len() as u64;
        self.upload.write_all(made).await.map_err(Error::encoding)?;
        made.clear();
        Ok(())
    }
}

impl OpenMember {
    fn new(offset: u64, level: Compression) -> Self {
        let gzip = GzEncoder::new(Vec::with_capacity(PIECE_BYTES), level);
        Self { gzip, offset, raw_length: 0, crc32c: 0 }
    }
}
