//! `logboom grep`.

use anyhow::{Result, anyhow};
use clap::Args;
use logboom_config::{Globs, Severities};
use logboom_query::{Grep, MatchOptions, Matcher, Output, Wanted};

use super::answer::{AnswerArgs, TableArgs};

/// Options of `logboom grep`.
#[derive(Args)]
#[command(after_help = "Exits with 1 if nothing matches. With --limit the search ends early.\n\
    Example: logboom grep 'timed? ?out' --category 'nginx.*' --since 1h -i")]
pub struct GrepArgs {
    /// A regular expression, to be found anywhere in a body
    pattern: String,
    #[command(flatten)]
    table: TableArgs,
    /// Only categories that match this glob, such as 'nginx.*'; may be repeated
    #[arg(long, value_name = "GLOB")]
    category: Vec<String>,
    /// Only hosts that match this glob; may be repeated
    #[arg(long, value_name = "GLOB")]
    host: Vec<String>,
    /// Only this severity and worse, such as warn; or with a sign: =info, <warn
    #[arg(long, value_name = "SEVERITY", value_parser = severities)]
    severity: Option<Severities>,
    /// Capitals do not matter
    #[arg(short, long)]
    ignore_case: bool,
    /// Find the bodies that do not match
    #[arg(short = 'v', long)]
    invert_match: bool,
    /// The pattern is plain text
    #[arg(short = 'F', long)]
    fixed_strings: bool,
    /// Only say how many match
    #[arg(short, long)]
    count: bool,
    /// Print whole records, one JSON object a line
    #[arg(long, conflicts_with = "count")]
    json: bool,
    /// Stop after so many
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Sort by time. Without it, what is found first comes first: file by file, in each by category and time
    #[arg(long)]
    sort: bool,
    #[command(flatten)]
    answer: AnswerArgs,
}

/// Searches bodies. Returns whether anything was found.
pub async fn run(args: GrepArgs) -> Result<bool> {
    let options = MatchOptions { fixed: args.fixed_strings, ignore_case: args.ignore_case, invert: args.invert_match };
    let (wanted, output) = match () {
        () if args.count => (Wanted::Count, Output::Lines),
        () if args.json => (Wanted::Records, Output::Json),
        () => (Wanted::Lines, Output::Lines),
    };
    let grep = Grep {
        pattern: Matcher::new(&args.pattern, options).map_err(|error| anyhow!(error))?,
        categories: globs("--category", args.category)?,
        hosts: globs("--host", args.host)?,
        severities: args.severity,
        time: args.table.range(),
        wanted,
    };
    let session = args.table.open().await?;
    let mut rows = session.grep(grep);
    if args.sort && !args.count {
        rows = rows.sorted_by_time();
    }
    if let Some(limit) = args.limit {
        rows = rows.limited(limit);
    }
    if args.count {
        let (count, usage) = args.answer.count(rows).await?;
        args.answer.print_text(&format!("{count}\n"))?;
        args.answer.summary(count, &usage);
        return Ok(count > 0);
    }
    Ok(args.answer.print(output, rows).await? > 0)
}

fn globs(option: &str, texts: Vec<String>) -> Result<Option<Globs>> {
    if texts.is_empty() {
        return Ok(None);
    }
    Globs::new(texts).map(Some).map_err(|error| anyhow!("{option} {error}"))
}

/// A bare name is that severity or worse.
fn severities(text: &str) -> Result<Severities, String> {
    let signed = text.starts_with(['<', '>', '=']) || text == "none";
    let text = if signed { text.to_owned() } else { format!(">={text}") };
    text.parse().map_err(|error: logboom_config::Unparsable| format!("it {error}"))
}
