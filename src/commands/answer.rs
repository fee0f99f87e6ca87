//! What `query`, `grep` and `trace` have in common: which table is asked, and where the answer goes.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write, stderr, stdout};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Args;
use futures::StreamExt;
use futures::future::join_all;
use logboom_query::{AsOf, Error as QueryError, Output, Rows, Session, TimeRange, Usage, Watch, When};

use super::pager::Pager;
use super::place::{NamedTable, named_tables};

/// A query that is answered sooner shows no progress.
const PROGRESS_AFTER: Duration = Duration::from_millis(500);
const PROGRESS_EVERY: Duration = Duration::from_millis(100);

/// Which table is asked.
#[derive(Args)]
pub struct TableArgs {
    /// Where the table is: a folder, file://…, s3://bucket/prefix [default: ./logboom-data/store]
    #[arg(short, long, value_name = "URL")]
    store: Option<String>,
    /// Ask the table of `[sink]` in this settings file together with those of its routes; with --store, that one of them
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Ask the table as it was: at a time, so long ago (2h), or at a version
    #[arg(long, value_name = "TIME|VERSION")]
    as_of: Option<AsOf>,
    /// Only records from this time on: 2026-03-01T10:00:00Z, 2026-03-01, or how long ago (30m, 1h, 7d)
    #[arg(long, value_name = "TIME")]
    since: Option<When>,
    /// Only records before this time
    #[arg(long, value_name = "TIME")]
    until: Option<When>,
}

impl TableArgs {
    /// Opens the table, or all of those in the settings.
    pub async fn open(&self) -> Result<Session> {
        let tables = named_tables(self.config.as_deref(), self.store.as_deref())?;
        if tables.len() > 1 && matches!(self.as_of, Some(AsOf::Version(_))) {
            bail!("--as-of with a version is for one table, and there are {}; name it with --store", tables.len());
        }
        let opened = tables.iter().map(|table| self.open_one(table));
        let (mut sessions, mut empty) = (Vec::new(), None);
        for (table, opened) in tables.iter().zip(join_all(opened).await) {
            match opened {
                Ok(session) => sessions.push((table.name.clone(), session)),
                // Nothing has come to that table so far.
                Err(error @ QueryError::NoTable { .. }) => {
                    empty.get_or_insert(error);
                }
                Err(error) => return Err(error.into()),
            }
        }
        match (empty, tables.len()) {
            (Some(error), _) if sessions.is_empty() => Err(error.into()),
            (_, 1) => Ok(sessions.remove(0).1.within(self.range())),
            _ => Ok(Session::joined(sessions)?.within(self.range())),
        }
    }

    async fn open_one(&self, table: &NamedTable) -> Result<Session, QueryError> {
        match self.as_of {
            Some(as_of) => logboom_query::open_as_of(&table.url, &table.options, as_of).await,
            None => logboom_query::open(&table.url, &table.options).await,
        }
    }

    /// The time range that was asked for.
    pub fn range(&self) -> TimeRange {
        let at = |when: Option<When>| when.map(|When(at)| at);
        TimeRange { since: at(self.since), until: at(self.until) }
    }
}

/// Where the answer goes.
#[derive(Args)]
pub struct AnswerArgs {
    /// Write the answer to this file
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// Never start a pager
    #[arg(long)]
    no_pager: bool,
    /// Say nothing of what was read
    #[arg(short, long)]
    quiet: bool,
    #[arg(skip = Instant::now())]
    start: Instant,
}

impl AnswerArgs {
    /// The file that the answer is written to.
    pub fn to(&self) -> Option<&Path> {
        self.to.as_deref()
    }

    /// Refuses what a terminal cannot take, before anything is read.
    pub fn check(&self, output: Output) -> Result<()> {
        if output == Output::Parquet && self.to.is_none() && stdout().is_terminal() {
            bail!("Parquet is not for terminals; write it to a file with --to FILE");
        }
        Ok(())
    }

    /// Only counts the rows.
    pub async fn count(&self, mut rows: Rows) -> Result<(u64, Usage)> {
        let progress = Progress::start(!self.quiet, rows.watch());
        let mut count = 0;
        while let Some(batch) = rows.next().await {
            count += batch?.num_rows() as u64;
        }
        progress.hide();
        Ok((count, rows.usage()))
    }

    /// Writes text that is harmless already.
    pub fn print_text(&self, text: &str) -> Result<()> {
        match &self.to {
            Some(path) => std::fs::write(path, text).with_context(|| format!("cannot write to {}", path.display())),
            None if stdout().is_terminal() => {
                let mut pager = Pager::new(!self.no_pager, || {});
                let written = pager.write_all(text.as_bytes()).and_then(|()| pager.flush());
                pager.wait();
                through(written)
            }
            None => through(stdout().write_all(text.as_bytes())),
        }
    }

    /// Says what was found and what that has cost, unless nobody wants to know.
    pub fn summary(&self, count: u64, usage: &Usage) {
        if !self.quiet {
            eprintln!("{}; {usage}; {}", rows(count), seconds(self.start.elapsed()));
        }
    }

    /// Prints the rows, and then to standard error how many there were and what they have cost. Returns their number.
    pub async fn print(&self, output: Output, mut rows: Rows) -> Result<u64> {
        let progress = Progress::start(!self.quiet, rows.watch());
        let schema = rows.schema();
        let count = match &self.to {
            Some(path) => {
                let file = File::create(path).with_context(|| format!("cannot write to {}", path.display()))?;
                output.write(schema, &mut rows, &mut BufWriter::new(file)).await?
            }
            None if stdout().is_terminal() => {
                let mut pager = Pager::new(!self.no_pager, || progress.hide());
                let count = output.write_to_terminal(schema, &mut rows, &mut pager).await?;
                pager.wait();
                count
            }
            None => output.write(schema, &mut rows, &mut BufWriter::new(stdout().lock())).await?,
        };
        progress.hide();
        self.summary(count, &rows.usage());
        Ok(count)
    }
}

fn seconds(time: Duration) -> String {
    match time.as_millis() {
        ms @ 0..1000 => format!("{ms} ms"),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}

/// What has been read so far, on standard error if that is a terminal.
struct Progress(Option<indicatif::ProgressBar>);

impl Progress {
    fn start(wanted: bool, watch: Watch) -> Self {
        if !wanted || !stderr().is_terminal() {
            return Self(None);
        }
        let bar = indicatif::ProgressBar::new_spinner();
        let weak = bar.downgrade();
        tokio::spawn(async move {
            tokio::time::sleep(PROGRESS_AFTER).await;
            // Ends with the bar.
            while let Some(bar) = weak.upgrade().filter(|bar| !bar.is_finished()) {
                bar.set_message(watch.usage().to_string());
                bar.tick();
                drop(bar);
                tokio::time::sleep(PROGRESS_EVERY).await;
            }
        });
        Self(Some(bar))
    }

    fn hide(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}

fn rows(count: u64) -> String {
    if count == 1 { "1 row".to_owned() } else { format!("{count} rows") }
}

/// A reader that goes away early, as `head` does, is no error.
fn through(written: io::Result<()>) -> Result<()> {
    match written {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("cannot write the result"),
        _ => Ok(()),
    }
}
