//! `logboom token`: a new token, and what the collector is told of it.

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use logboom_config::{Secret, TokenHash};
use rand::TryRngCore;
use rand::rngs::OsRng;

/// Options of `logboom token`.
#[derive(Args)]
pub struct TokenArgs {
    /// Put the token into this new file, for its owner only, and print no more than its hash
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print the hash of the token in this file
    #[arg(long, value_name = "FILE", conflicts_with = "out")]
    hash: Option<PathBuf>,
}

/// Makes a token of 256 random bits, or hashes one that there is.
pub fn run(args: &TokenArgs) -> Result<()> {
    if let Some(file) = &args.hash {
        let token = Secret::read(file).map_err(|error| anyhow::anyhow!("--hash {error}"))?;
        println!("{}", TokenHash::of(token.expose()));
        return Ok(());
    }
    let mut bytes = [0; 32];
    OsRng.try_fill_bytes(&mut bytes).context("the system gives no random numbers")?;
    let token: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    match &args.out {
        Some(file) => write(file, &token).with_context(|| format!("cannot write the new file {}", file.display()))?,
        None => println!("token_file holds  {token}"),
    }
    let label = if args.out.is_some() { "" } else { "token_hash is     " };
    println!("{label}{}", TokenHash::of(&token));
    Ok(())
}

fn write(file: &Path, token: &str) -> std::io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    writeln!(file, "{token}")?;
    file.sync_all()
}
