//! How an answer is written: as a table or lines for people, as NDJSON, CSV or Parquet for programs.
//!
//! Owns the formats. Control characters are made harmless for people and left alone for programs.
//! Instants are RFC 3339 in all of them.

use std::io::{self, Write};
use std::str::FromStr;

use arrow_array::RecordBatch;
use arrow_cast::pretty::pretty_format_batches_with_schema;
use arrow_csv::WriterBuilder;
use arrow_json::LineDelimitedWriter;
use arrow_schema::SchemaRef;
use futures::stream::{Stream, StreamExt};
use logboom_config::{harmless, harmless_json};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::cells;
use crate::error::Error;
use crate::lines::lines;

/// The format of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Output {
    /// Aligned columns between rules, for people.
    #[default]
    Table,
    /// One JSON object per line; columns without a value are left out.
    Json,
    /// Comma-separated values with a header; maps and lists as JSON text.
    Csv,
    /// A Parquet file.
    Parquet,
    /// `timestamp host category body` of each record, in this order whatever else there is.
    Lines,
}

/// Rows that are aligned together. A longer answer is printed as several tables, so that memory stays bounded.
const TABLE_ROWS: usize = 4096;

/// Rows of a row group, which are in memory until it is written.
const ROW_GROUP_ROWS: usize = 128 << 10;

impl Output {
    /// Writes the batches as they come and says how many rows there were.
    ///
    /// A reader that goes away early, as `head` does, ends the answer and is no error.
    pub async fn write<S>(self, schema: SchemaRef, batches: S, out: &mut dyn Write) -> Result<u64, Error>
    where
        S: Stream<Item = Result<RecordBatch, Error>>,
    {
        self.write_as(false, schema, batches, out).await
    }

    /// The same, but what reaches `out` is harmless on a terminal whatever the format.
    pub async fn write_to_terminal<S>(self, schema: SchemaRef, batches: S, out: &mut dyn Write) -> Result<u64, Error>
    where
        S: Stream<Item = Result<RecordBatch, Error>>,
    {
        self.write_as(true, schema, batches, out).await
    }

    async fn write_as<S>(self, terminal: bool, schema: SchemaRef, batches: S, out: &mut dyn Write) -> Result<u64, Error>
    where
        S: Stream<Item = Result<RecordBatch, Error>>,
    {
        match self.try_write(terminal, schema, batches, out).await {
            Err((Error::Write(error), rows)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(rows),
            Err((error, _)) => Err(error),
            Ok(rows) => Ok(rows),
        }
    }

    async fn try_write<S>(
        self,
        terminal: bool,
        schema: SchemaRef,
        batches: S,
        out: &mut dyn Write,
    ) -> Result<u64, (Error, u64)>
    where
        S: Stream<Item = Result<RecordBatch, Error>>,
    {
        let mut batches = std::pin::pin!(batches);
        let mut rows = 0;
        let mut printer = Printer::new(self, schema).map_err(|error| (error, 0))?;
        // A table has been made harmless before it was aligned.
        let shown = |text: Vec<u8>| match self {
            Self::Json if terminal => harmless_json(&text),
            Self::Csv | Self::Lines if terminal => harmless(&String::from_utf8_lossy(&text)).into_bytes(),
            _ => text,
        };
        while let Some(batch) = batches.next().await {
            let text = batch.and_then(|batch| {
                rows += batch.num_rows() as u64;
                printer.push(batch)
            });
            let text = text.map_err(|error| (error, rows))?;
            out.write_all(&shown(text)).map_err(|error| (error.into(), rows))?;
        }
        let text = printer.finish().map_err(|error| (error, rows))?;
        out.write_all(&shown(text)).and_then(|()| out.flush()).map_err(|error| (error.into(), rows))?;
        Ok(rows)
    }
}

impl FromStr for Output {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        match name {
            "table" => Ok(Self::Table),
            "json" => Ok(Self::Json),
            "csv" => Ok(Self::Csv),
            "parquet" => Ok(Self::Parquet),
            _ => Err(format!("unknown output {name:?}: it is table, json, csv or parquet")),
        }
    }
}

/// Turns batches into bytes; does no I/O, so that an error of the writer is never mixed up with one of a format.
struct Printer {
    output: Output,
    schema: SchemaRef,
    waiting: Vec<RecordBatch>,
    started: bool,
    file: Option<ArrowWriter<Vec<u8>>>,
}

impl Printer {
    fn new(output: Output, schema: SchemaRef) -> Result<Self, Error> {
        let file = match output {
            Output::Parquet => {
                let properties = WriterProperties::builder()
                    .set_compression(Compression::ZSTD(ZstdLevel::default()))
                    .set_max_row_group_row_count(Some(ROW_GROUP_ROWS));
                Some(ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties.build()))?)
            }
            _ => None,
        };
        Ok(Self { output, schema, waiting: Vec::new(), started: false, file })
    }

    fn push(&mut self, batch: RecordBatch) -> Result<Vec<u8>, Error> {
        match self.output {
            Output::Table => {
                self.waiting.push(batch);
                let rows: usize = self.waiting.iter().map(RecordBatch::num_rows).sum();
                if rows < TABLE_ROWS { Ok(Vec::new()) } else { self.table() }
            }
            Output::Json => json(&batch),
            Output::Csv => self.csv(&batch),
            Output::Lines => Ok(lines(&batch)?),
            Output::Parquet => {
                let file = self.file.as_mut().expect("made with the printer");
                file.write(&batch)?;
                // The writer counts for itself what has gone through it.
                Ok(std::mem::take(file.inner_mut()))
            }
        }
    }

    fn finish(mut self) -> Result<Vec<u8>, Error> {
        match self.output {
            Output::Table if self.started && self.waiting.is_empty() => Ok(Vec::new()),
            Output::Table => self.table(),
            Output::Csv if !self.started => self.csv(&RecordBatch::new_empty(self.schema.clone())),
            Output::Json | Output::Csv | Output::Lines => Ok(Vec::new()),
            Output::Parquet => Ok(self.file.take().expect("made with the printer").into_inner()?),
        }
    }

    fn table(&mut self) -> Result<Vec<u8>, Error> {
        self.started = true;
        let batches: Vec<_> = self.waiting.drain(..).map(|batch| cells::readable(&batch)).collect::<Result<_, _>>()?;
        let table = pretty_format_batches_with_schema(cells::readable_schema(&self.schema), &batches)?;
        Ok(format!("{table}\n").into_bytes())
    }

    fn csv(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, Error> {
        let mut text = Vec::new();
        let header = !std::mem::replace(&mut self.started, true);
        WriterBuilder::new().with_header(header).build(&mut text).write(&cells::flat(batch)?)?;
        Ok(text)
    }
}

fn json(batch: &RecordBatch) -> Result<Vec<u8>, Error> {
    let mut writer = LineDelimitedWriter::new(Vec::new());
    writer.write(batch)?;
    writer.finish()?;
    Ok(writer.into_inner())
}
