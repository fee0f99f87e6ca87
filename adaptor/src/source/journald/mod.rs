//! The systemd journal, read through `journalctl`.
//!
//! The cursor of the last entry travels in the same chunk as its record, under the position `journald/<source>`, so a
//! restart goes on exactly behind what is durable. Each round is two runs of `journalctl`: the first prints what is there
//! and ends, the second follows. (A run that follows shows the current boot only, so alone it would pass over what was
//! written before a reboot.) When the second ends, whatever the reason, a new round begins after a random pause.
//!
//! Both runs start *at* the cursor and the entry there is passed over if it is the one that was read. `--after-cursor`
//! would not do: where the journal has dropped that entry by now (vacuumed), it passes over the entry after it.
//!
//! | event | what becomes of it |
//! |---|---|
//! | the journal dropped entries before they were read | logged; reading goes on with the oldest that is left. Those dropped are lost |
//! | `journalctl` does not take the cursor | logged; everything is read again from the oldest entry, so entries may be there twice. A cursor is only ever refused where it is damaged or of another format |
//! | an entry of more than 6 times `max_line` and 4 MiB as JSON | dropped, counted as `lines_dropped_too_long` |
//! | a full spool | `journalctl` waits in its next write, whatever `when_full` says: the journal keeps what comes |
//! | `read_from = "end"` and no position | the cursor of the last entry is durable before anything is read |
//!
//! Only this machine's own journals are read, not those that others sent here; `journal_path` reads all that are in a
//! folder.

mod entry;
#[cfg(test)]
mod tests;

use std::io;
use std::sync::Arc;
use std::time::Instant;

use futures::FutureExt;
use logboom_config::{JournaldSource, OnLongLine, ReadFrom, Source};
use logboom_wire::{Position, Record};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::entry::Entry;
use super::command::{Pauses, Program};
use super::line::{LineSplitter, PARSE_ERROR};
use super::net::Seldom;
use super::{Context, Funnel, Running, observed_now};
use crate::intake::{Chunk, Refused};

/// Bytes of one read at most.
const READ_BYTES: usize = 64 << 10;
/// A byte of a message takes this many in JSON at most: `\u0000`.
const ESCAPED_BYTES: usize = 6;
/// What the other fields of an entry may take.
const AROUND_BYTES: usize = 4 << 20;
/// What is kept of journalctl's complaints.
const COMPLAINT_BYTES_MAX: usize = 1 << 10;

/// Where the source stands, as it is remembered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Standing {
    /// The last entry that was read; none when there was no entry yet.
    cursor: Option<String>,
}

/// Opens the source. Whether `journalctl` works shows later, and is tried again.
pub(super) fn open(
    source: Source,
    settings: JournaldSource,
    context: Context,
    stop: CancellationToken,
) -> Result<Running, String> {
    let position = context.positions.get(&key(&source)).map(|value| serde_json::from_str::<Standing>(value));
    let standing = match position {
        Some(Ok(standing)) => Some(standing),
        Some(Err(error)) => {
            warn!(source = source.name, %error, "the position does not read; ignored");
            None
        }
        None => None,
    };
    let mut journal = Journal {
        funnel: Funnel::new(&source, &context, None),
        source: Arc::new(source),
        settings,
        context,
        standing,
        complaints: Seldom::default(),
    };
    Ok(async move {
        let mut pauses = Pauses::default();
        // Whatever is given up here is read again by the next run.
        stop.run_until_cancelled(async {
            loop {
                let started = Instant::now();
                match journal.round().await {
                    Ok(()) => {}
                    Err(Failure::Closed) => return,
                    Err(Failure::Run(reason)) => journal.complain(&reason),
                }
                sleep(pauses.after(started)).await;
            }
        })
        .await;
    }
    .boxed())
}

fn key(source: &Source) -> String {
    format!("journald/{}", source.name)
}

/// Why a round ends.
enum Failure {
    /// The adaptor takes no more.
    Closed,
    /// `journalctl` could not be run, or failed.
    Run(String),
}

impl From<Refused> for Failure {
    fn from(_: Refused) -> Self {
        Self::Closed
    }
}

/// What one run of `journalctl` is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Goal {
    /// To tell the last entry there is.
    Last,
    /// To print what is there.
    CatchUp,
    /// To print what comes.
    Follow,
}

struct Journal {
    source: Arc<Source>,
    settings: JournaldSource,
    context: Context,
    funnel: Funnel,
    standing: Option<Standing>,
    complaints: Seldom,
}

impl Journal {
    /// Reads what is there, then what comes. Returns when `journalctl` has ended.
    async fn round(&mut self) -> Result<(), Failure> {
        if self.standing.is_none() && self.settings.read_from == ReadFrom::End {
            self.start_at_end().await?;
        }
        match self.read(Goal::CatchUp).await {
            Err(Failure::Run(reason)) if self.refused_cursor(&reason) => {
                warn!(
                    source = self.source.name,
                    reason,
                    "journalctl does not take the position; reading the journal from its beginning, so entries may be there twice"
                );
                self.standing = Some(Standing { cursor: None });
                return Ok(());
            }
            caught_up => caught_up?,
        }
        self.read(Goal::Follow).await
    }

    fn refused_cursor(&self, reason: &str) -> bool {
        reason.contains("cursor") && self.cursor().is_some()
    }

    fn cursor(&self) -> Option<&str> {
        self.standing.as_ref()?.cursor.as_deref()
    }

    /// Makes durable where the journal ends now, before anything behind it is read.
    async fn start_at_end(&mut self) -> Result<(), Failure> {
        let mut last = Last::default();
        self.run(Goal::Last, &mut last).await?;
        let standing = Standing { cursor: last.cursor };
        let mut chunk = Chunk::default();
        chunk.set_position(self.position(&standing));
        self.context.intake.append_or_wait(chunk).await?.durable().await?;
        self.standing = Some(standing);
        Ok(())
    }

    async fn read(&mut self, goal: Goal) -> Result<(), Failure> {
        let mut entries = Entries {
            context: self.context.clone(),
            funnel: self.funnel.clone(),
            source: self.source.clone(),
            entry: Entry::default(),
            chunk: Chunk::default(),
            start: self.cursor().map(str::to_owned),
            // While following, what lies between is of an earlier boot, and was read.
            gap_is_news: goal == Goal::CatchUp,
            cursor: None,
            moved: false,
        };
        let outcome = self.run(goal, &mut entries).await;
        if let Some(cursor) = entries.cursor {
            self.standing = Some(Standing { cursor: Some(cursor) });
        }
        outcome
    }

    /// Runs `journalctl` to its end.
    async fn run(&mut self, goal: Goal, lines: &mut impl Lines) -> Result<(), Failure> {
        let mut command = self.command(goal);
        let started = Program::start(&mut command);
        let (mut program, stdout, stderr) = started.map_err(|error| {
            self.context.counters.commands_failed.add(1);
            Failure::Run(format!("{} cannot be started: {error}", self.settings.journalctl.display()))
        })?;
        let splitter = LineSplitter::new(
            self.source.max_line * ESCAPED_BYTES + AROUND_BYTES,
            OnLongLine::Drop,
            self.context.counters.clone(),
        );
        let (read, complaint) = tokio::join!(read(stdout, splitter, lines), complaint(stderr));
        read?;
        let status = program.wait().await.map_err(|error| Failure::Run(error.to_string()))?;
        match status.success() {
            true => Ok(()),
            false => Err(Failure::Run(format!("{} ended ({status}): {complaint}", self.settings.journalctl.display()))),
        }
    }

    fn command(&self, goal: Goal) -> Command {
        let mut command = Command::new(&self.settings.journalctl);
        // Its complaints are looked at.
        command.env("LC_ALL", "C").args(["--output=json", "--all", "--quiet", "--no-pager"]);
        if let Some(folder) = &self.settings.journal_path {
            command.arg("--directory").arg(folder).arg("--merge");
        }
        for unit in &self.settings.units {
            command.arg("--unit").arg(unit);
        }
        match goal {
            Goal::Last => drop(command.arg("--lines=1")),
            Goal::CatchUp => {}
            Goal::Follow => drop(command.args(["--follow", "--no-tail"])),
        }
        if let Some(cursor) = self.cursor() {
            command.arg(format!("--cursor={cursor}"));
        }
        command
    }

    fn position(&self, standing: &Standing) -> Position {
        position(&self.source, standing)
    }

    fn complain(&self, reason: &str) {
        if self.complaints.now() {
            warn!(source = self.source.name, reason, "the journal cannot be read; trying again");
        }
    }
}

fn position(source: &Source, standing: &Standing) -> Position {
    Position { key: key(source), value: serde_json::to_string(standing).expect("it is plain text") }
}

/// Who takes the lines of `journalctl`.
trait Lines {
    fn line(&mut self, observed: i64, line: &[u8]);

    /// What was read at once has been taken.
    async fn hand_over(&mut self) -> Result<(), Refused>;
}

async fn read(
    mut input: impl AsyncRead + Unpin,
    mut splitter: LineSplitter,
    lines: &mut impl Lines,
) -> Result<(), Failure> {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match input.read(&mut buffer).await {
            // A line without its end is cut: it is read again.
            Ok(0) => return Ok(()),
            Ok(bytes) => {
                let now = observed_now();
                splitter.push(&buffer[..bytes], &mut |line| lines.line(now, line));
                lines.hand_over().await?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(Failure::Run(error.to_string())),
        }
    }
}

/// The end of what `journalctl` complains of, on one line.
async fn complaint(mut input: impl AsyncRead + Unpin) -> String {
    let (mut said, mut buffer) = (Vec::new(), [0; COMPLAINT_BYTES_MAX]);
    while let Ok(bytes @ 1..) = input.read(&mut buffer).await {
        said.extend_from_slice(&buffer[..bytes]);
        said.drain(..said.len().saturating_sub(COMPLAINT_BYTES_MAX));
    }
    String::from_utf8_lossy(&said).trim().escape_debug().to_string()
}

/// Notes the last cursor and nothing else.
#[derive(Default)]
struct Last {
    entry: Entry,
    cursor: Option<String>,
}

impl Lines for Last {
    fn line(&mut self, _: i64, line: &[u8]) {
        if self.entry.read(line).is_ok() && !self.entry.cursor.is_empty() {
            self.cursor = Some(self.entry.cursor.clone());
        }
    }

    async fn hand_over(&mut self) -> Result<(), Refused> {
        Ok(())
    }
}

/// Makes records of the entries.
struct Entries {
    context: Context,
    funnel: Funnel,
    source: Arc<Source>,
    entry: Entry,
    chunk: Chunk,
    /// The entry at which the run was told to start, until the first one has come.
    start: Option<String>,
    gap_is_news: bool,
    /// The last entry that was handed over, or is in the chunk.
    cursor: Option<String>,
    /// Whether that is another one than when a chunk was last handed over.
    moved: bool,
}

impl Lines for Entries {
    fn line(&mut self, observed: i64, line: &[u8]) {
        if let Err(error) = self.entry.read(line) {
            self.context.counters.lines_unparsed.add(1);
            let (reason, body) = (error.to_string(), line);
            let attributes = [(PARSE_ERROR, reason.as_str())];
            let record = Record { observed, body, attributes: &attributes, ..Record::default() };
            return self.funnel.record(None, &record, &mut self.chunk);
        }
        if let Some(start) = self.start.take() {
            if start == self.entry.cursor {
                return;
            }
            if self.gap_is_news {
                info!(
                    source = self.source.name,
                    "the entry that was read last is not in the journal any more, or not in \
                    the units that are read; reading on after it. Entries that were deleted in between are lost"
                );
            }
        }
        let Self { entry, funnel, chunk, .. } = self;
        entry.with_record(observed, |record| funnel.record(None, record, chunk));
        if !entry.cursor.is_empty() {
            let cursor = self.cursor.get_or_insert_default();
            cursor.clone_from(&entry.cursor);
            self.moved = true;
        }
    }

    /// A full spool makes it wait, whatever the policy: the journal keeps what comes meanwhile.
    async fn hand_over(&mut self) -> Result<(), Refused> {
        let mut chunk = std::mem::take(&mut self.chunk);
        // Also where rules have dropped all of it: it need not be read again.
        if let Some(cursor) = self.cursor.as_ref().filter(|_| self.moved) {
            chunk.set_position(position(&self.source, &Standing { cursor: Some(cursor.clone()) }));
            self.moved = false;
        }
        // Nobody waits for the receipt: what is not durable after a crash is still in the journal.
        self.context.keep(chunk).await
    }
}
