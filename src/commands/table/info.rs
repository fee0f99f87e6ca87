//! `logboom table info`.

use std::collections::BTreeSet;

use anyhow::Result;
use clap::Args;
use jiff::Timestamp;
use logboom_sink::FileFormat;
use logboom_sink::json::listed_files;
use logboom_sink::maintain::{Control, Days, FILE_BYTES_MIN, compaction_due, vacuum};
use logboom_sink::table::{Snapshot, View};
use serde_json::{Value, json};

use super::{Place, bytes, count};

/// Options of `logboom table info`.
#[derive(Args)]
pub struct InfoArgs {
    #[command(flatten)]
    place: Place,
}

/// Prints what is in the table.
pub async fn run(args: InfoArgs) -> Result<()> {
    let (store, settings) = args.place.open_to_read()?;
    let view = View::open_in_any_format(&store, &settings.table).await?;
    let Snapshot { version, format, files: committed, .. } = Snapshot::load(&store).await?;
    let compacted = committed.iter().filter(|file| file.compacted).count();
    let files = match format {
        FileFormat::Parquet => committed,
        FileFormat::Json => listed_files(&store, &committed).await?,
    };
    let due = compaction_due(&store, &settings, Days::Due).await?;
    let garbage = vacuum(&store, &settings, true, &Control::default()).await?;

    let stats = || files.iter().filter_map(|file| file.stats.as_ref());
    let records: u64 = stats().map(|stats| stats.records).sum();
    let size: u64 = files.iter().map(|file| file.size).sum();
    let days: BTreeSet<_> = files.iter().map(|file| file.date).collect();
    let oldest = stats().filter_map(|stats| stats.timestamp).map(|(least, _)| least).min();
    let newest = stats().filter_map(|stats| stats.timestamp).map(|(_, greatest)| greatest).max();
    let time = |micros: Option<i64>| micros.and_then(|micros| Timestamp::from_microsecond(micros).ok());
    let small = files.iter().filter(|file| file.size < FILE_BYTES_MIN).count();
    let (garbage_files, garbage_bytes) =
        (garbage.garbage.len() as u64 + garbage.waiting, garbage.bytes() + garbage.waiting_bytes);
    let due_files: usize = due.iter().map(|job| job.inputs.len()).sum();

    if args.place.json {
        let text = |time: Option<Timestamp>| time.map_or(Value::Null, |time| format!("{time:.3}").into());
        println!(
            "{}",
            json!({
                "url": store.url().as_str(), "format": format.name(), "version": version, "files": files.len(), "records": records,
                "bytes": size, "days": days.len(), "first_day": days.first().map(ToString::to_string),
                "last_day": days.last().map(ToString::to_string), "streams": view.marks().len(),
                "oldest": text(time(oldest)), "newest": text(time(newest)), "small_files": small,
                "compacted_files": compacted, "files_to_compact": due_files,
                "garbage_files": garbage_files, "garbage_bytes": garbage_bytes,
            })
        );
        return Ok(());
    }
    let span = |from: Option<String>, to: Option<String>| match from.zip(to) {
        Some((from, to)) if from == to => from,
        Some((from, to)) => format!("{from} to {to}"),
        None => "none".to_owned(),
    };
    let instant = |time: Option<Timestamp>| time.map(|time| format!("{time:.3}"));
    for (name, value) in [
        ("table", store.url().to_string()),
        ("format", format.name().to_owned()),
        ("version", version.to_string()),
        ("records", records.to_string()),
        ("files", format!("{}, {}", count(files.len() as u64, "file"), bytes(size))),
        ("days", span(days.first().map(ToString::to_string), days.last().map(ToString::to_string))),
        ("timestamps", span(instant(time(oldest)), instant(time(newest)))),
        ("streams", view.marks().len().to_string()),
        ("small files", format!("{small} below {}; {compacted} are sorted over their day", bytes(FILE_BYTES_MIN))),
        ("to compact", count(due_files as u64, "file")),
        ("garbage", format!("{}, {}", count(garbage_files, "file"), bytes(garbage_bytes))),
    ] {
        println!("{name:<12} {value}");
    }
    Ok(())
}
