//! `logboom table history`.

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;
use logboom_sink::table::{Entry, history};
use serde_json::json;

use super::{Place, bytes, table};

/// Options of `logboom table history`.
#[derive(Args)]
pub struct HistoryArgs {
    #[command(flatten)]
    place: Place,
    /// The most commits, from the newest on
    #[arg(short = 'n', long, value_name = "NUMBER", default_value_t = 20)]
    limit: usize,
}

/// Prints the newest commits.
pub async fn run(args: HistoryArgs) -> Result<()> {
    let (store, settings) = args.place.open_to_read()?;
    let entries = history(&store, &settings.table, args.limit).await?;
    let time = |entry: &Entry| {
        let time = entry.timestamp_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
        time.map_or_else(String::new, |time| format!("{time:.3}"))
    };
    let operation = |entry: &Entry| entry.operation.clone().unwrap_or_default();
    if args.place.json {
        for entry in &entries {
            println!(
                "{}",
                json!({
                    "version": entry.version, "time": time(entry), "operation": operation(entry),
                    "files_added": entry.files_added, "files_removed": entry.files_removed,
                    "records_added": entry.rows_added, "bytes_added": entry.bytes_added, "streams": entry.streams,
                })
            );
        }
        return Ok(());
    }
    let rows = entries.iter().map(|entry| {
        [
            entry.version.to_string(),
            time(entry),
            operation(entry),
            entry.rows_added.to_string(),
            entry.files_added.to_string(),
            entry.files_removed.to_string(),
            bytes(entry.bytes_added),
            entry.streams.to_string(),
        ]
    });
    let heads = ["version", "time", "operation", "records", "files added", "removed", "bytes", "streams"];
    println!("{}", table(heads, rows));
    Ok(())
}
