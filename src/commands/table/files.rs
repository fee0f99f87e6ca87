//! `logboom table files`.

use std::io::{BufWriter, IsTerminal, Write, stdout};

use anyhow::{Context as _, Result};
use clap::Args;
use jiff::Timestamp;
use jiff::civil::Date;
use logboom_config::on_one_line;
use logboom_sink::json::listed_files;
use logboom_sink::table::Snapshot;
use logboom_sink::{FileFormat, Store};
use serde_json::json;

use super::Place;

/// Options of `logboom table files`.
#[derive(Args)]
pub struct FilesArgs {
    #[command(flatten)]
    place: Place,
    /// Only those of this day (YYYY-MM-DD)
    #[arg(short, long, value_name = "DATE")]
    date: Option<String>,
    /// Of a table in JSON, print the indexes and not the files that they list
    #[arg(long)]
    indexes: bool,
}

/// Prints the committed files.
pub async fn run(args: FilesArgs) -> Result<()> {
    let (store, _) = args.place.open_to_read()?;
    let parse = |text: &String| {
        text.parse::<Date>().with_context(|| format!("`{text}` is not a date; write for example 2026-02-03"))
    };
    let only = args.date.as_ref().map(parse).transpose()?;
    let Snapshot { mut files, format, .. } = Snapshot::load(&store).await?;
    files.retain(|file| only.is_none_or(|date| file.date == date));
    if format == FileFormat::Json && !args.indexes {
        files = listed_files(&store, &files).await?;
    }
    files.sort_by(|a, b| (a.date, &a.path).cmp(&(b.date, &b.path)));
    let is_terminal = stdout().is_terminal();
    let mut out = BufWriter::new(stdout().lock());
    for file in files {
        let place = place(&store, &file.path);
        if !args.place.json {
            // A program gets the name as it is.
            let shown = if is_terminal { on_one_line(&place) } else { place };
            writeln!(out, "{shown}")?;
            continue;
        }
        let stats = file.stats.unwrap_or_default();
        let time = |micros| Timestamp::from_microsecond(micros).ok().map(|time| format!("{time:.3}"));
        let line = json!({
            "path": place, "date": file.date.to_string(), "bytes": file.size, "records": stats.records,
            "oldest": stats.timestamp.and_then(|(least, _)| time(least)),
            "newest": stats.timestamp.and_then(|(_, greatest)| time(greatest)), "compacted": file.compacted,
        });
        writeln!(out, "{line}")?;
    }
    out.flush()?;
    Ok(())
}

/// The absolute path of a local file; else its URL.
fn place(store: &Store, path: &str) -> String {
    if let Ok(folder) = store.url().to_file_path() {
        return folder.join(path).display().to_string();
    }
    format!("{}/{path}", store.url().as_str().trim_end_matches('/'))
}
