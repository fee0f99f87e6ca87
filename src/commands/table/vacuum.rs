//! `logboom table vacuum`.

use anyhow::Result;
use clap::Args;
use logboom_config::{HumanDuration, on_one_line};
use logboom_sink::maintain::vacuum;
use logboom_sink::table::clean_up;
use serde_json::json;

use super::{Bar, Place, bytes, count};

/// Options of `logboom table vacuum`.
#[derive(Args)]
pub struct VacuumArgs {
    #[command(flatten)]
    place: Place,
    /// Keep files that were part of the table for so long after their removal, for queries that still read them; those
    /// that never were keep the grace of collectors [default: `sink.vacuum_grace`]
    #[arg(long, value_name = "DURATION")]
    grace: Option<HumanDuration>,
    /// Only print what would be deleted
    #[arg(long)]
    dry_run: bool,
}

/// Deletes garbage, and what the log has outlived.
pub async fn run(args: VacuumArgs) -> Result<()> {
    let (store, mut settings) = if args.dry_run { args.place.open_to_read()? } else { args.place.open()? };
    if let Some(HumanDuration(grace)) = args.grace {
        settings.removed_grace = Some(grace);
    }
    let bar = Bar::new("deleting", "files");
    let done = vacuum(&store, &settings, args.dry_run, &bar.control()).await?;
    let log_objects = if args.dry_run { 0 } else { clean_up(&store, &settings.table).await?.deleted };
    drop(bar);
    if args.place.json {
        println!(
            "{}",
            json!({
                "dry_run": args.dry_run, "files": done.garbage.len(), "bytes": done.bytes(),
                "waiting_files": done.waiting, "waiting_bytes": done.waiting_bytes, "log_objects": log_objects,
                "paths": done.garbage.iter().map(|garbage| &garbage.path).collect::<Vec<_>>(),
            })
        );
        return Ok(());
    }
    if args.dry_run {
        done.garbage.iter().for_each(|garbage| println!("{}", on_one_line(&garbage.path)));
    }
    println!(
        "{} {}, {}; {}, {}, wait until their grace is over",
        if args.dry_run { "would delete" } else { "deleted" },
        count(done.garbage.len() as u64, "file"),
        bytes(done.bytes()),
        count(done.waiting, "file"),
        bytes(done.waiting_bytes)
    );
    if log_objects > 0 {
        println!("deleted {} of the log", count(log_objects as u64, "object"));
    }
    Ok(())
}
