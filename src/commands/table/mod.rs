//! `logboom table`: look at a table and keep it in order.
//!
//! One file per command; here is what they share: how a table is named, and how figures and progress are shown. What is
//! done is `logboom_sink`'s. None of them needs the lease: doing what a collector does at the same time is safe.

mod compact;
mod files;
mod history;
mod info;
mod retain;
mod vacuum;
mod verify;

use std::io::{IsTerminal, stderr};
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};
use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use indicatif::{ProgressBar, ProgressStyle};
use logboom_config::{Sink, on_one_line};
use logboom_sink::Store;
use logboom_sink::maintain::{self, Control};

use super::place::sink_of;
use super::up::DEFAULT_STORE;

/// Options of `logboom table`.
#[derive(Args)]
pub struct TableArgs {
    #[command(subcommand)]
    command: TableCommand,
}

#[derive(Subcommand)]
enum TableCommand {
    /// Tell whether every record is there exactly once, and every file as it was written
    Verify(verify::VerifyArgs),
    /// Merge small files into few large ones, sorted over the whole day
    Compact(compact::CompactArgs),
    /// Remove records that are past their retention (`[sink]` retention and retention_rules)
    Retain(retain::RetainArgs),
    /// Delete files that nothing refers to any more
    Vacuum(vacuum::VacuumArgs),
    /// Say what is in a table: files, records, bytes, days, garbage
    Info(info::InfoArgs),
    /// Print the committed files, one a line, for engines that take a list
    Files(files::FilesArgs),
    /// Print the commits that the table's log still has
    History(history::HistoryArgs),
}

/// Runs one of the commands.
pub async fn run(args: TableArgs) -> Result<()> {
    match args.command {
        TableCommand::Verify(args) => verify::run(args).await,
        TableCommand::Compact(args) => compact::run(args).await,
        TableCommand::Retain(args) => retain::run(args).await,
        TableCommand::Vacuum(args) => vacuum::run(args).await,
        TableCommand::Info(args) => info::run(args).await,
        TableCommand::Files(args) => files::run(args).await,
        TableCommand::History(args) => history::run(args).await,
    }
}

/// Which table, and how to print.
#[derive(Args)]
struct Place {
    /// Where the table is: a folder, file://…, s3://bucket/prefix [default: ./logboom-data/store]
    #[arg(short, long, value_name = "URL")]
    store: Option<String>,
    /// Take `[sink]` with its url, options and limits from this settings file
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Place {
    /// The table for reading.
    fn open_to_read(&self) -> Result<(Store, maintain::Settings)> {
        let sink = self.sink()?;
        Ok((Store::open_to_read(&sink.url, &sink.options)?, maintain::Settings::from(&sink)))
    }

    /// The table for changing it. Creates nothing.
    fn open(&self) -> Result<(Store, maintain::Settings)> {
        self.open_to_read()?;
        let sink = self.sink()?;
        Ok((Store::open(&sink.url, &sink.options)?, maintain::Settings::from(&sink)))
    }

    fn sink(&self) -> Result<Sink> {
        let mut sink = match (sink_of(self.config.as_deref())?, &self.config) {
            (Some(sink), _) => sink,
            (None, Some(file)) => bail!("{}: there is no [sink] section in it; add one", file.display()),
            (None, None) => Sink::at(DEFAULT_STORE),
        };
        if let Some(url) = &self.store {
            sink.url.clone_from(url);
        }
        Ok(sink)
    }
}

/// A progress bar on a terminal, and nothing elsewhere.
struct Bar(ProgressBar);

impl Bar {
    fn new(what: &'static str, unit: &str) -> Self {
        if !stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::new(0).with_message(what);
        let style = format!("{{msg}} [{{bar:32}}] {{human_pos}}/{{human_len}} {unit} ({{eta}} left)");
        bar.set_style(ProgressStyle::with_template(&style).expect("it is a template").progress_chars("=> "));
        Self(bar)
    }

    /// What tells the bar.
    fn control(&self) -> Control {
        let bar = self.0.clone();
        Control::with_listener(move |progress| {
            bar.set_length(progress.total);
            bar.set_position(progress.done);
        })
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// A table for people, with these heads; numbers stand to the right. What is in it may be of others who write to the store.
fn table<const N: usize>(heads: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED).set_header(heads);
    let mut numeric = [true; N];
    for row in rows.into_iter().map(|row| row.map(|cell| on_one_line(&cell))) {
        for (numeric, cell) in numeric.iter_mut().zip(&row) {
            *numeric &= cell.starts_with(|c: char| c.is_ascii_digit()) && !cell.contains('-') || cell.is_empty();
        }
        table.add_row(row);
    }
    for (column, _) in numeric.iter().enumerate().filter(|(_, numeric)| **numeric) {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

/// Bytes with three digits or so, in powers of a thousand.
fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["kB", "MB", "GB", "TB", "PB"];
    if bytes < 1000 {
        return format!("{bytes} B");
    }
    let (mut value, mut unit) = (bytes as f64 / 1000.0, 0);
    while value >= 999.95 && unit + 1 < UNITS.len() {
        (value, unit) = (value / 1000.0, unit + 1);
    }
    format!("{value:.1} {}", UNITS[unit])
}

/// `1 file`, `2 files`.
fn count(number: u64, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well() {
        assert_eq!(
            [bytes(999), bytes(1000), bytes(999_960), bytes(512 << 20)],
            ["999 B", "1.0 kB", "1.0 MB", "536.9 MB"]
        );
        assert_eq!([count(0, "file"), count(1, "file"), count(2, "row")], ["0 files", "1 file", "2 rows"]);
    }
}
