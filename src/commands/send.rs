//! `logboom send`: lines from standard input into a local socket, acknowledged.

use std::io::{BufRead, BufReader, BufWriter, Write, stdin};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::Args;

/// Lines between two requests for an acknowledgement.
const LINES_PER_ACK: u64 = 1000;
/// Requests that may wait for their answers.
const ACKS_WAITING_MAX: u64 = 8;

/// Options of `logboom send`.
#[derive(Args)]
pub struct SendArgs {
    /// The socket of a running Logboom
    #[arg(short, long, value_name = "PATH", default_value = "./logboom-data/logboom.sock")]
    socket: PathBuf,
    /// Send every line as a plain record of this category; without it, lines go as they are (JSON or plain)
    #[arg(short, long)]
    category: Option<String>,
}

/// Sends all lines of standard input and returns once they are on disk there.
pub fn run(args: &SendArgs) -> Result<()> {
    let path = args.socket.display();
    let socket = UnixStream::connect(&args.socket)
        .with_context(|| format!("cannot connect to {path}; is `logboom up` running there?"))?;
    let mut answers = BufReader::new(socket.try_clone()?);
    let mut out = BufWriter::with_capacity(256 << 10, socket);
    let lost = || format!("{path}: the connection broke; whether the last lines were taken is not known");
    // Asked before anything is sent, so that a refusal is exact from the first record on.
    writeln!(out, "{{\"$ack\":0}}").with_context(lost)?;
    let (mut sent, mut asked, mut answered) = (0u64, 1, 0);
    let mut line = Vec::new();
    let mut input = stdin().lock();
    loop {
        line.clear();
        let ended = input.read_until(b'\n', &mut line)? == 0;
        if !ended {
            write_record(&mut out, args.category.as_deref(), &line).with_context(lost)?;
            sent += 1;
        }
        if ended || sent.is_multiple_of(LINES_PER_ACK) {
            writeln!(out, "{{\"$ack\":{asked}}}").with_context(lost)?;
            asked += 1;
            out.flush().with_context(lost)?;
        }
        while answered < asked && (ended || asked - answered > ACKS_WAITING_MAX) {
            answered += 1;
            check_answer(&mut answers).with_context(lost)?;
        }
        if ended {
            return Ok(());
        }
    }
}

fn write_record(out: &mut impl Write, category: Option<&str>, line: &[u8]) -> std::io::Result<()> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    match category {
        None => out.write_all(line)?,
        Some(category) => {
            let record = serde_json::json!({ "category": category, "body": String::from_utf8_lossy(line) });
            serde_json::to_writer(&mut *out, &record)?;
        }
    }
    out.write_all(b"\n")
}

fn check_answer(answers: &mut impl BufRead) -> Result<()> {
    let mut answer = String::new();
    if answers.read_line(&mut answer)? == 0 {
        bail!("no answer");
    }
    let answer: serde_json::Value = serde_json::from_str(&answer).context("an answer that is no JSON")?;
    if answer["status"] != "ok" {
        bail!("refused: {}", answer["reason"].as_str().unwrap_or("no reason given"));
    }
    Ok(())
}
