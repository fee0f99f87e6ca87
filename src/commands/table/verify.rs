//! `logboom table verify`.

use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, anyhow};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use logboom_config::{HumanDuration, harmless};
use logboom_sink::table::Snapshot;
use logboom_sink::verify::{Progress, Scope, verify};
use logboom_sink::{Error, Store};
use logboom_wire::StreamId;

use crate::commands::place::{NamedTable, named_tables};

/// How often the progress bar moves.
const TICK: Duration = Duration::from_millis(100);

/// Options of `logboom table verify`.
#[derive(Args)]
#[command(after_help = "Exit code: 0 if the table is complete, 1 if it is not or cannot be read.")]
pub struct VerifyArgs {
    /// Where the table is: a folder, file://…, s3://bucket/prefix; once for each table that a collector writes to
    /// [default: ./logboom-data/store]
    #[arg(short, long, value_name = "URL")]
    store: Vec<String>,
    /// Take the table of `[sink]` and those of its routes from this settings file
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Judge only the records of this host
    #[arg(long)]
    host: Option<String>,
    /// Judge only this stream: one run of an adaptor
    #[arg(long, value_name = "ID")]
    stream: Option<StreamId>,
    /// Judge only what was observed from this time on: 2026-01-31T12:00:00Z, or 1h for an hour ago
    #[arg(long, value_name = "TIME", value_parser = instant)]
    since: Option<Timestamp>,
    /// Judge only what was observed before this time
    #[arg(long, value_name = "TIME", value_parser = instant)]
    until: Option<Timestamp>,
    /// Judge this version of the table instead of the newest
    #[arg(long = "version", id = "table_version", value_name = "N")]
    version: Option<u64>,
    /// Do not read every byte of the files: checksums are left out
    #[arg(long)]
    quick: bool,
    /// Print everything that was found as one JSON object
    #[arg(long)]
    json: bool,
}

/// Verifies, prints the report, and fails if the table is not complete.
pub async fn run(args: VerifyArgs) -> Result<()> {
    let stores = stores(args.config.as_deref(), &args.store).await?;
    let scope = Scope {
        host: args.host,
        stream: args.stream,
        since: args.since.map(Timestamp::as_microsecond),
        until: args.until.map(Timestamp::as_microsecond),
        version: args.version,
        quick: args.quick,
    };
    let progress = Arc::new(Progress::default());
    // It is drawn on a terminal only.
    let bar = ProgressBar::no_length().with_style(ProgressStyle::with_template(
        "{bar:40} {binary_bytes} of {binary_total_bytes}, {binary_bytes_per_sec}, {eta} left",
    )?);
    let report = {
        let mut verifying = std::pin::pin!(verify(&stores, &scope, &progress));
        loop {
            match tokio::time::timeout(TICK, &mut verifying).await {
                Ok(report) => break report?,
                Err(_) => {
                    let (done, total) = progress.bytes();
                    bar.set_length(total);
                    bar.set_position(done);
                }
            }
        }
    };
    bar.finish_and_clear();
    let mut out = stdout().lock();
    match args.json {
        true => writeln!(out, "{}", serde_json::to_string(&report)?)?,
        false => write!(out, "{}", harmless(&report.to_string()))?,
    }
    match report.complete {
        true => Ok(()),
        false => Err(anyhow!("the table is {}", report.verdict())),
    }
}

/// The tables that are verified: those at these places, else those of the settings, as far as there are any yet.
async fn stores(config: Option<&Path>, places: &[String]) -> Result<Vec<Store>> {
    let tables = match places {
        [] => named_tables(config, None)?,
        places => {
            let tables = places.iter().map(|place| named_tables(config, Some(place))).collect::<Result<Vec<_>>>()?;
            tables.into_iter().flatten().collect()
        }
    };
    let (mut stores, mut empty) = (Vec::new(), None);
    for NamedTable { url, options, .. } in tables {
        let store = match Store::open_to_read(&url, &options) {
            Err(Error::Folder { path, source }) if source.kind() == std::io::ErrorKind::NotFound => {
                empty.get_or_insert(Error::Folder { path, source });
                continue;
            }
            store => store?,
        };
        // A route that nothing has taken so far leads to no table; without routes that is an error.
        match Snapshot::load(&store).await {
            Err(error @ Error::NoTable { .. }) => {
                empty.get_or_insert(error);
            }
            Err(error) => return Err(error.into()),
            Ok(_) => stores.push(store),
        }
    }
    match empty {
        Some(error) if stores.is_empty() || !places.is_empty() => Err(error.into()),
        _ => Ok(stores),
    }
}

/// A time, or how long ago it was.
fn instant(text: &str) -> Result<Timestamp, String> {
    if let Ok(ago) = text.parse::<HumanDuration>() {
        let ago = jiff::SignedDuration::try_from(ago.0).map_err(|error| error.to_string())?;
        return Timestamp::now().checked_sub(ago).map_err(|error| error.to_string());
    }
    text.parse()
        .map_err(|_| "must be a time such as 2026-01-31T12:00:00Z, or how long ago it was such as 1h".to_owned())
}
