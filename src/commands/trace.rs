//! `logboom trace`.

use anyhow::Result;
use clap::Args;
use logboom_query::{Output, TraceId};

use super::answer::{AnswerArgs, TableArgs};

/// Options of `logboom trace`.
#[derive(Args)]
#[command(after_help = "Exits with 1 if there is no such trace.\n\
    A span's parent is taken from its records' attribute `parent_span_id`; where it is not there, spans are listed by time.")]
pub struct TraceArgs {
    /// The trace's id: 32 hexadecimal digits
    id: TraceId,
    #[command(flatten)]
    table: TableArgs,
    /// Print whole records by time, one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    answer: AnswerArgs,
}

/// Prints the records of a trace. Returns whether there are any.
pub async fn run(args: TraceArgs) -> Result<bool> {
    let session = args.table.open().await?;
    if args.json {
        let rows = session.trace_rows(&args.id).await?;
        return Ok(args.answer.print(Output::Json, rows).await? > 0);
    }
    let trace = session.trace(&args.id).await?;
    args.answer.print_text(&trace.tree())?;
    args.answer.summary(trace.records() as u64, &trace.usage);
    Ok(trace.records() > 0)
}
