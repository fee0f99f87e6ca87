//! The `logboom` command: every role in one binary.

mod commands;

use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};
use logboom_adaptor::{command, process};
use tikv_jemallocator::Jemalloc;

use commands::{check, collector, grep, query, send, table, tail, token, trace, up};

/// It gives back what it does not need: ARCHITECTURE.md, "Sizes of files, and memory".
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// What commands log that are asked and answer. What the Delta library logs as an error comes back as one, and is said then.
const QUIET: &str = "error,delta_kernel=off";
/// A collector tells of its own doings; the libraries below it only of what is wrong.
const COLLECTOR: &str = "info,delta_kernel=warn,object_store=warn";

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
    /// Find records by what their bodies say
    Grep(grep::GrepArgs),
    /// Show the records of one trace across hosts, as a tree of its spans
    Trace(trace::TraceArgs),
    /// Show records as the collectors receive them, before they are committed
    Tail(tail::TailArgs),
    /// Look at a table and keep it in order
    Table(table::TableArgs),
    /// Send lines from standard input to a local socket, and wait until they are on disk
    Send(send::SendArgs),
    /// Make a token for adaptors or those who tail, and its hash for the collector
    Token(token::TokenArgs),
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
        Command::Collector(args) => serve(COLLECTOR, collector::run(args)),
        Command::Query(args) => serve(QUIET, query::run(args)),
        Command::Tail(args) => serve("error", tail::run(args)),
        Command::Grep(args) => return found(serve(QUIET, grep::run(args))),
        Command::Trace(args) => return found(serve(QUIET, trace::run(args))),
        Command::Table(args) => serve("warn,delta_kernel=off", table::run(args)),
        Command::Send(args) => send::run(&args),
        Command::Token(args) => token::run(&args),
        Command::Check(args) => serve("error", check::run(args)),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "logboom", &mut std::io::stdout());
            Ok(())
        }
    };
    result.map_or_else(|error| process::report(&error), |()| ExitCode::SUCCESS)
}

/// As `grep` does: 0 for something, 1 for nothing, and another code for an error.
fn found(result: anyhow::Result<bool>) -> ExitCode {
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            process::report(&error);
            ExitCode::from(2)
        }
    }
}

/// Runs a role on a runtime of its own, logging from level `default` on.
fn serve<T>(default: &str, role: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    process::init_logging(default);
    process::raise_open_files();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(role)
}
