//! `logboom query`.

use std::path::Path;

use anyhow::Result;
use clap::Args;
use logboom_query::{Cluster, Output, warm_up};

use super::answer::{AnswerArgs, TableArgs};

/// Options of `logboom query`.
#[derive(Args)]
pub struct QueryArgs {
    /// The query; the table is `logs`
    sql: String,
    #[command(flatten)]
    table: TableArgs,
    /// Have a Ballista cluster answer, whose scheduler this is: df://host:50050
    #[arg(long, value_name = "URL")]
    remote: Option<Cluster>,
    /// How to write the answer: table, json (one object a line), csv or parquet [default: by the name of FILE, or table]
    #[arg(short, long, value_name = "FORMAT")]
    output: Option<Output>,
    #[command(flatten)]
    answer: AnswerArgs,
}

/// Answers one query.
pub async fn run(args: QueryArgs) -> Result<()> {
    let output = args.output.or_else(|| args.answer.to().and_then(by_name)).unwrap_or_default();
    args.answer.check(output)?;
    warm_up();
    let session = args.table.open().await?;
    let rows = match &args.remote {
        None => session.sql(&args.sql).await?,
        Some(cluster) => session.sql_on(cluster, &args.sql).await?,
    };
    args.answer.print(output, rows).await?;
    Ok(())
}

fn by_name(path: &Path) -> Option<Output> {
    match path.extension()?.to_str()? {
        "parquet" => Some(Output::Parquet),
        "csv" => Some(Output::Csv),
        "json" | "jsonl" | "ndjson" => Some(Output::Json),
        _ => None,
    }
}
