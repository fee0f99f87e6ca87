//! `logboom table compact`.

use anyhow::{Context as _, Result};
use clap::Args;
use jiff::civil::Date;
use logboom_sink::maintain::{Days, compact, compaction_due};
use serde_json::json;

use super::{Bar, Place, bytes, count, table};

/// Options of `logboom table compact`.
#[derive(Args)]
pub struct CompactArgs {
    #[command(flatten)]
    place: Place,
    /// Compact this day (YYYY-MM-DD) as a whole, whether it is due or not; else those that are due
    #[arg(short, long, value_name = "DATE")]
    date: Option<String>,
    /// Only say what would be merged
    #[arg(long)]
    dry_run: bool,
}

/// Compacts until nothing is due.
pub async fn run(args: CompactArgs) -> Result<()> {
    let days = match &args.date {
        None => Days::Due,
        Some(text) => Days::One(
            text.parse::<Date>().with_context(|| format!("`{text}` is not a date; write for example 2026-02-03"))?,
        ),
    };
    if args.dry_run {
        return plan(&args, days).await;
    }
    let (store, settings) = args.place.open()?;
    let bar = Bar::new("compacting", "records");
    let done = compact(&store, &settings, days, &bar.control()).await?;
    drop(bar);
    if args.place.json {
        println!(
            "{}",
            json!({
                "commits": done.commits, "conflicts": done.conflicts, "rows": done.rows,
                "files_before": done.files_before, "files_after": done.files_after,
                "bytes_before": done.bytes_before, "bytes_after": done.bytes_after,
            })
        );
        return Ok(());
    }
    match done.commits {
        0 => println!("nothing to compact"),
        _ => println!(
            "{} of {} merged into {} of {}, {}",
            count(done.files_before, "file"),
            bytes(done.bytes_before),
            done.files_after,
            bytes(done.bytes_after),
            count(done.rows, "record")
        ),
    }
    if done.conflicts > 0 {
        println!("another compaction was faster {} times; what it left is for the next", done.conflicts);
    }
    Ok(())
}

async fn plan(args: &CompactArgs, days: Days) -> Result<()> {
    let (store, settings) = args.place.open_to_read()?;
    let jobs = compaction_due(&store, &settings, days).await?;
    if args.place.json {
        for job in &jobs {
            let date = job.date.to_string();
            println!("{}", json!({ "date": date, "files": job.inputs.len(), "bytes": job.bytes, "into": job.pieces }));
        }
        return Ok(());
    }
    if jobs.is_empty() {
        println!("nothing to compact");
        return Ok(());
    }
    let rows = jobs
        .iter()
        .map(|job| [job.date.to_string(), job.inputs.len().to_string(), bytes(job.bytes), job.pieces.to_string()]);
    println!("{}", table(["date", "files", "bytes", "into files"], rows));
    Ok(())
}
