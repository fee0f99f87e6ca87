//! `logboom table retain`.

use anyhow::Result;
use clap::Args;
use logboom_config::HumanDuration;
use logboom_sink::maintain::{Retention, retain};
use serde_json::json;

use super::{Bar, Place, bytes, count};

/// Options of `logboom table retain`.
#[derive(Args)]
pub struct RetainArgs {
    #[command(flatten)]
    place: Place,
    /// Keep records for so long from the end of their day on, such as 30d, whatever `sink.retention` says
    #[arg(long, value_name = "DURATION")]
    max_age: Option<HumanDuration>,
    /// Only say what would be removed
    #[arg(long)]
    dry_run: bool,
}

/// Removes what is past.
pub async fn run(args: RetainArgs) -> Result<()> {
    let (store, mut settings) = if args.dry_run { args.place.open_to_read()? } else { args.place.open()? };
    if let Some(HumanDuration(age)) = args.max_age {
        settings.retention.max_age = Some(age);
    }
    if settings.retention == Retention::default() && !args.place.json {
        println!("nothing is removed: no retention is set; give --max-age, or --config with `sink.retention`");
        return Ok(());
    }
    let bar = Bar::new("removing", "records");
    let done = retain(&store, &settings, args.dry_run, &bar.control()).await?;
    drop(bar);
    if args.place.json {
        println!(
            "{}",
            json!({
                "dry_run": args.dry_run, "files_removed": done.files_removed,
                "files_rewritten": done.files_rewritten, "rows": done.rows_removed,
                "bytes": done.bytes_removed, "conflicts": done.conflicts,
            })
        );
        return Ok(());
    }
    let (removed, of) = (count(done.files_removed, "file"), count(done.rows_removed, "record"));
    let (rewritten, freed) = (count(done.files_rewritten, "file"), bytes(done.bytes_removed));
    match args.dry_run {
        true => println!("would remove {removed} as a whole ({of}, {freed}) and records out of {rewritten}"),
        false => println!("removed {of}, {freed}: {removed} as a whole, {rewritten} written anew"),
    }
    Ok(())
}
