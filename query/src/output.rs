//! How an answer is written: as a table for people, as NDJSON or CSV for programs.
//!
//! Owns the three formats. Control characters are made harmless for people and left alone for programs.
//! Instants are RFC 3339 in all of them.

use std::io::{self, Write};
use std::str::FromStr;

use arrow_array::RecordBatch;
use arrow_cast::pretty::pretty_format_batches_with_schema;
use arrow_csv::WriterBuilder;
use arrow_json::LineDelimitedWriter;
use arrow_schema::SchemaRef;
use futures::stream::{Stream, StreamExt};

use crate::cells;
use crate::error::Error;

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
}

/// Rows that are aligned together. A longer answer is printed as several tables, so that memory stays bounded.
const TABLE_ROWS: usize = 4096;

impl Output {
    /// Writes the batches as they come and says how many rows there were.
    ///
    /// A reader that goes away early, as `head` does, ends the answer and is no error.
    pub async fn write<S>(self, schema: SchemaRef, batches: S, out: &mut dyn Write) -> Result<u64, Error>
    where
        S: Stream<Item = Result<RecordBatch, Error>>,
    {
        match self.try_write(schema, batches, out).await {
            Err((Error::Write(error), rows)) if error.kind() == io::ErrorKind::BrokenPipe => Ok(rows),
            Err((error, _)) => Err(error),
            Ok(rows) => Ok(rows),
        }
    }

    async fn try_write<S>(self, schema: SchemaRef, batches: S, out: &mut dyn Write) -> Result<u64, (Error, u64)>
    where
        S: Stream<Item = Result<RecordBatch, Error>>,
    {
        let mut batches = std::pin::pin!(batches);
        let mut rows = 0;
        let mut printer = Printer::new(self, schema);
        while let Some(batch) = batches.next().await {
            let text = batch.and_then(|batch| {
                rows += batch.num_rows() as u64;
                printer.push(batch)
            });
            let text = text.map_err(|error| (error, rows))?;
            out.write_all(&text).map_err(|error| (error.into(), rows))?;
        }
        let text = printer.finish().map_err(|error| (error, rows))?;
        out.write_all(&text).and_then(|()| out.flush()).map_err(|error| (error.into(), rows))?;
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
            _ => Err(format!("unknown output {name:?}: it is table, json or csv")),
        }
    }
}

/// Turns batches into bytes; does no I/O, so that an error of the writer is never mixed up with one of a format.
struct Printer {
    output: Output,
    schema: SchemaRef,
    waiting: Vec<RecordBatch>,
    started: bool,
}

impl Printer {
    fn new(output: Output, schema: SchemaRef) -> Self {
        Self { output, schema, waiting: Vec::new(), started: false }
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
        }
    }

    fn finish(mut self) -> Result<Vec<u8>, Error> {
        match self.output {
            Output::Table if self.started && self.waiting.is_empty() => Ok(Vec::new()),
            Output::Table => self.table(),
            Output::Csv if !self.started => self.csv(&RecordBatch::new_empty(self.schema.clone())),
            Output::Json | Output::Csv => Ok(Vec::new()),
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
