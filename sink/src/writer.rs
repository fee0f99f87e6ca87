//! The writer of sink files, in whichever format the table has.

use arrow_array::RecordBatch;
use jiff::civil::Date;
use logboom_config::FileFormat;

use crate::json::JsonWriter;
use crate::parquet::{FileSettings, FileWriter};
use crate::table::DataFile;
use crate::{Error, Store};

/// Writes sorted rows into as many sink files of one partition as they need.
pub enum SinkWriter {
    /// In Parquet.
    Parquet(Box<FileWriter>),
    /// In JSON.
    Json(Box<JsonWriter>),
}

impl SinkWriter {
    /// Writes nothing yet.
    pub fn new(store: Store, date: Date, settings: FileSettings) -> Self {
        match settings.format {
            FileFormat::Parquet => Self::Parquet(Box::new(FileWriter::new(store, date, settings))),
            FileFormat::Json => Self::Json(Box::new(JsonWriter::new(store, date, &settings))),
        }
    }

    /// Writes rows of one category that come after all before them in the order of a sink file.
    pub async fn write(&mut self, rows: &RecordBatch) -> Result<(), Error> {
        match self {
            Self::Parquet(writer) => writer.write(rows).await,
            Self::Json(writer) => writer.write(rows).await,
        }
    }

    /// As [`FileWriter::input_left`]; files in JSON are cut without it.
    pub fn input_left(&mut self, bytes: u64) {
        if let Self::Parquet(writer) = self {
            writer.input_left(bytes);
        }
    }

    /// The category is complete: what follows is another one's.
    pub async fn category_ended(&mut self) -> Result<(), Error> {
        match self {
            Self::Parquet(writer) => writer.category_ended().await,
            Self::Json(writer) => writer.category_ended().await,
        }
    }

    /// Ends the last file. All is on the store now, durably; no reader sees it before what this returns is committed.
    pub async fn finish(self) -> Result<Vec<DataFile>, Error> {
        match self {
            Self::Parquet(writer) => writer.finish().await,
            Self::Json(writer) => Ok(writer.finish().await?.into_iter().collect()),
        }
    }
}
