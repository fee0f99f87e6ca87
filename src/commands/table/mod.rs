//! `logboom table`: looking after a table.

mod verify;

use anyhow::Result;
use clap::{Args, Subcommand};

/// Options of `logboom table`.
#[derive(Args)]
pub struct TableArgs {
    #[command(subcommand)]
    command: TableCommand,
}

#[derive(Subcommand)]
enum TableCommand {
    /// Tell whether every record is there exactly once, and every file as it was written
    Verify(verify::VerifyArgs),
}

/// Does what was asked for.
pub async fn run(args: TableArgs) -> Result<()> {
    match args.command {
        TableCommand::Verify(args) => verify::run(args).await,
    }
}
