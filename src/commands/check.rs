//! `logboom check`: settings, before anything runs on them.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use logboom_config::{Settings, defaults_toml};

/// Options of `logboom check`.
#[derive(Args)]
pub struct CheckArgs {
    /// The settings file
    #[arg(required_unless_present = "defaults")]
    file: Option<PathBuf>,
    /// Print every key with its default and meaning, as a settings file
    #[arg(long)]
    defaults: bool,
}

/// Checks a settings file and prints what it will do.
pub fn run(args: &CheckArgs) -> Result<()> {
    if args.defaults {
        print!("{}", defaults_toml());
    }
    if let Some(file) = &args.file {
        print!("{}", Settings::load(file)?.describe());
    }
    Ok(())
}
