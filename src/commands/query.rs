//! `logboom query`.

use std::collections::BTreeMap;
use std::io::{BufWriter, stdout};
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use logboom_config::Settings;
use logboom_query::Output;

use super::up::DEFAULT_STORE;

/// Options of `logboom query`.
#[derive(Args)]
pub struct QueryArgs {
    /// The query; the table is `logs`
    sql: String,
    /// Where the table is: a folder, file://…, s3://bucket/prefix [default: ./logboom-data/store]
    #[arg(short, long, value_name = "URL")]
    store: Option<String>,
    /// Take `[sink]` with its url and options from this settings file
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How to print the answer: table, json (one object a line) or csv
    #[arg(short, long, value_name = "FORMAT", default_value = "table")]
    output: Output,
    /// Say nothing of what was read
    #[arg(short, long)]
    quiet: bool,
}

/// Answers one query.
pub async fn run(args: QueryArgs) -> Result<()> {
    let sink = match &args.config {
        Some(file) => Settings::load(file)?.sink,
        None => None,
    };
    let url = args.store.or_else(|| sink.as_ref().map(|sink| sink.url.clone()));
    let url = url.unwrap_or_else(|| DEFAULT_STORE.to_owned());
    let options = sink.map_or_else(BTreeMap::new, |sink| sink.options);
    let session = logboom_query::open(&url, &options).await?;
    let mut rows = session.sql(&args.sql).await?;
    let mut out = BufWriter::new(stdout().lock());
    let count = args.output.write(rows.schema(), &mut rows, &mut out).await?;
    if !args.quiet {
        eprintln!("{count} rows; {}", rows.usage());
    }
    Ok(())
}
