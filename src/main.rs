//! The `logboom` command: every role in one binary.

mod commands;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use logboom_adaptor::{command, process};

use commands::{check, collector, query, send, table, up};

/// A log aggregation pipeline: exactly once from host to object storage, with no other service
#[derive(Parser)]
#[command(name = "logboom", version, after_help = "Start with `logboom up`; it tells how to send and how to query.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run everything in one process on one folder
    Up(up::UpArgs),
    /// Take records in on this host and send them to collectors
    Adaptor(command::AdaptorArgs),
    /// Take blocks from adaptors and commit them to the table
    Collector(collector::CollectorArgs),
    /// Ask the committed records in SQL; the table is `logs`
    Query(query::QueryArgs),
    /// Look after a table
    Table(table::TableArgs),
    /// Send lines from standard input to a local socket, and wait until they are on disk
    Send(send::SendArgs),
    /// Check a settings file and say what it will do
    Check(check::CheckArgs),
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Up(args) => serve("warn", up::run(args)),
        Command::Adaptor(args) => serve("info", command::run(args)),
        Command::Collector(args) => serve("info", collector::run(args)),
        Command::Query(args) => serve("error", query::run(args)),
        // What the Delta library logs as an error comes back as one, and is said then.
        Command::Table(args) => serve("warn,delta_kernel=off", table::run(args)),
        Command::Send(args) => send::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "logboom", &mut std::io::stdout());
            Ok(())
        }
    };
    result.map_or_else(|error| process::report(&error), |()| ExitCode::SUCCESS)
}

/// Runs a role on a runtime of its own, logging from level `default` on.
fn serve(default: &str, role: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    process::init_logging(default);
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(role)
}
