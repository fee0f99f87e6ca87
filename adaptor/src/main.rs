//! `logboom-adaptor`: the adaptor alone, small, for a sidecar.

use std::process::ExitCode;

use clap::Parser;
use logboom_adaptor::{command, process};

/// Takes log records from local sockets and files, keeps them on local disk, and sends them to a Logboom collector
#[derive(Parser)]
#[command(name = "logboom-adaptor", version)]
struct Cli {
    #[command(flatten)]
    args: command::AdaptorArgs,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    process::init_logging("info");
    process::raise_open_files();
    // Two threads do: the work is in the spool's writer, which has its own.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let result = runtime.map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(command::run(cli.args)));
    result.map_or_else(|error| process::report(&error), |()| ExitCode::SUCCESS)
}
