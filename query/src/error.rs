//! What can go wrong with a query, each in one line.

use std::io::ErrorKind;

use datafusion::error::DataFusionError;
use logboom_sink::Error as SinkError;

/// Why a query was refused or failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The store answered, but holds no table.
    #[error("no table at {url}: nothing has been committed there yet, or --store names another place")]
    NoTable {
        /// Where a table was looked for.
        url: String,
    },

    /// The store did not answer, or the table's log makes no sense.
    #[error("cannot read the table at {url}: {reason}")]
    Table {
        /// Where the table is.
        url: String,
        /// What the store or the log said.
        reason: String,
    },

    /// A statement that would change something.
    #[error("{statement} is refused: a query only reads; SELECT, EXPLAIN, SHOW and DESCRIBE are allowed")]
    ReadOnly {
        /// The first word of the statement.
        statement: String,
    },

    /// The cluster did not take the query, or failed.
    #[error("the cluster at {scheduler} cannot answer: {reason}")]
    Cluster {
        /// Its scheduler.
        scheduler: String,
        /// What is wrong.
        reason: String,
    },

    /// The statement makes no sense, or failed while it ran.
    #[error("{0}")]
    Sql(String),

    /// The answer could not be written.
    #[error("cannot write the result: {0}")]
    Write(#[from] std::io::Error),
}

impl Error {
    /// What the sink says about the table at `url`.
    pub(crate) fn from_sink(url: &str, error: SinkError) -> Self {
        let url = url.to_owned();
        match error {
            SinkError::NoTable { .. } => Self::NoTable { url },
            SinkError::Folder { source, .. } if source.kind() == ErrorKind::NotFound => Self::NoTable { url },
            error => Self::Table { url, reason: one_line(&error.to_string()) },
        }
    }
}

impl From<DataFusionError> for Error {
    fn from(error: DataFusionError) -> Self {
        Self::Sql(reason(&error))
    }
}

/// In one line.
pub(crate) fn reason(error: &DataFusionError) -> String {
    match error.find_root() {
        DataFusionError::SQL(error, _) => one_line(&error.to_string()),
        _ => one_line(&error.strip_backtrace()),
    }
}

impl From<arrow_schema::ArrowError> for Error {
    fn from(error: arrow_schema::ArrowError) -> Self {
        Self::Sql(one_line(&error.to_string()))
    }
}

impl From<parquet::errors::ParquetError> for Error {
    fn from(error: parquet::errors::ParquetError) -> Self {
        Self::Sql(one_line(&error.to_string()))
    }
}

/// Without line feeds, and with single spaces.
fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_many_lines_becomes_one() {
        let error = DataFusionError::Plan("no such column\n  did you mean 'body'?".to_owned());
        let text = Error::from(error.context("while planning")).to_string();
        assert!(!text.contains('\n'), "{text}");
        assert!(text.contains("no such column did you mean 'body'?"), "{text}");
    }
}
