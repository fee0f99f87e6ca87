//! One run of the command, from its start until nothing of it is left.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use logboom_config::{ExecSource, Source};
use logboom_wire::Record;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Command;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::counters::Counters;
use crate::intake::{Chunk, Refused};
use crate::source::command::{GRACE, Program};
use crate::source::line::{LineSplitter, Parser};
use crate::source::net::{DRAIN_QUIET, DRAIN_TIME};
use crate::source::{Context, Funnel, observed_now};

/// Bytes of one read at most.
const READ_BYTES: usize = 64 << 10;
/// A pipe holds no more than this. What comes beyond it after the group was killed is from somebody who left the group.
const PIPE_BYTES_MAX: usize = 1 << 20;
/// Attribute with the stream that a line came from.
const STREAM: &str = "exec.stream";

/// Runs the command of a source.
pub(super) struct Runner {
    source: Source,
    settings: ExecSource,
    context: Context,
    /// Of the records that say how a run ended.
    funnel: Funnel,
    stdout: Parser,
    stderr: Parser,
}

/// How far a run has come, for those who read its pipes.
#[derive(Default)]
struct Stage {
    /// The program has ended, what it started perhaps not.
    ended: CancellationToken,
    /// Its group was killed: what is in the pipes now is the rest.
    killed: CancellationToken,
    /// The source is stopped, and has been given all the time that there is.
    over: CancellationToken,
}

/// Why a run ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    Itself,
    TimedOut,
    Stopped,
}

impl Runner {
    pub(super) fn new(source: Source, settings: ExecSource, context: Context) -> Self {
        let parser = |stream: &str| {
            let mut source = source.clone();
            source.attributes.insert(STREAM.to_owned(), stream.to_owned());
            Parser::new(&source, &context, None)
        };
        let (stdout, stderr, funnel) = (parser("stdout"), parser("stderr"), Funnel::new(&source, &context, None));
        Self { source, settings, context, funnel, stdout, stderr }
    }

    pub(super) fn source_name(&self) -> &str {
        &self.source.name
    }

    pub(super) fn counters(&self) -> &Arc<Counters> {
        &self.context.counters
    }

    /// The program, without its arguments, which may hold secrets.
    pub(super) fn program(&self) -> &str {
        &self.settings.command[0]
    }

    /// Runs the command to its end, or until its time is over or `stop`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) async fn run(&mut self, stop: &CancellationToken) -> io::Result<()> {
        let mut command = Command::new(&self.settings.command[0]);
        command.args(&self.settings.command[1..]).envs(&self.settings.environment);
        if let Some(folder) = &self.settings.working_folder {
            command.current_dir(folder);
        }
        let (mut program, stdout, stderr) = Program::start(&mut command)?;
        let started = Instant::now();
        let stage = Stage::default();
        let limit = self.settings.interval.map(|_| self.settings.timeout);
        let watch = async {
            let ended = watch(&mut program, limit, stop).await;
            stage.ended.cancel();
            if !matches!(ended, Ok((_, Cause::Itself))) {
                program.kill();
                stage.killed.cancel();
            }
            (ended, started.elapsed())
        };
        let read = async {
            let (out, err) = (self.pipe(&self.stdout), self.pipe(&self.stderr));
            let (out, err) = tokio::join!(out.read(stdout, &stage), err.read(stderr, &stage));
            out.and(err)
        };
        let cut_off = async {
            stop.cancelled().await;
            sleep(GRACE + DRAIN_TIME).await;
            stage.over.cancel();
            std::future::pending::<()>().await
        };
        let ((ended, duration), read) = tokio::select! {
            done = async { tokio::join!(watch, read) } => done,
            () = cut_off => unreachable!("it never ends"),
        };
        // What the program left behind, and what may still write to pipes that nobody reads any more.
        program.kill();
        match ended {
            Ok((status, cause)) if read.is_ok() => self.report(status, cause, duration, stop).await,
            Ok(_) => {}
            Err(error) => warn!(source = self.source.name, %error, "cannot tell how the command ended"),
        }
        Ok(())
    }

    fn pipe(&self, parser: &Parser) -> Pipe {
        Pipe {
            context: self.context.clone(),
            parser: parser.clone(),
            splitter: Parser::splitter(&self.source, &self.context.counters),
            chunk: Chunk::default(),
        }
    }

    /// The record of the command's end.
    async fn report(&mut self, status: ExitStatus, cause: Cause, duration: Duration, stop: &CancellationToken) {
        let (code, signal) = (status.code(), status.signal());
        let mut body = match (code, signal) {
            (Some(code), _) => format!("the command ended with exit code {code}"),
            (None, Some(signal)) => format!("the command was ended by signal {signal}"),
            (None, None) => "the command ended".to_owned(),
        };
        let mut attributes: Vec<(&str, &str)> = Vec::new();
        let (code, signal) = (code.map(|code| code.to_string()), signal.map(|signal| signal.to_string()));
        attributes.extend(code.iter().map(|code| ("exec.exit_code", code.as_str())));
        attributes.extend(signal.iter().map(|signal| ("exec.signal", signal.as_str())));
        let duration = duration.as_millis().to_string();
        attributes.push(("exec.duration_ms", &duration));
        match cause {
            Cause::Itself => {}
            Cause::TimedOut => {
                self.context.counters.commands_timed_out.add(1);
                body += ", because it ran for longer than `timeout`";
                attributes.push(("exec.timed_out", "true"));
            }
            Cause::Stopped => {
                body += ", because the source was stopped";
                attributes.push(("exec.stopped", "true"));
            }
        }
        let well = status.success() || cause == Cause::Stopped;
        let (severity_number, severity_text) = if well { (9, "INFO") } else { (17, "ERROR") };
        let now = observed_now();
        let record = Record {
            timestamp: Some(now),
            observed: now,
            severity_number,
            severity_text,
            body: body.as_bytes(),
            attributes: &attributes,
            ..Record::default()
        };
        let mut chunk = Chunk::default();
        self.funnel.record(None, &record, &mut chunk);
        let records = chunk.records() as u64;
        let over = async {
            stop.cancelled().await;
            sleep(DRAIN_TIME).await;
        };
        tokio::select! {
            biased;
            _ = self.context.keep(chunk) => {}
            () = over => self.context.counters.records_abandoned.add(records),
        }
    }
}

/// Waits for the end of the program, or brings it about.
async fn watch(
    program: &mut Program,
    limit: Option<Duration>,
    stop: &CancellationToken,
) -> io::Result<(ExitStatus, Cause)> {
    let late = async {
        match limit {
            Some(limit) => sleep(limit).await,
            None => std::future::pending().await,
        }
    };
    let cause = tokio::select! {
        biased;
        status = program.wait() => return status.map(|status| (status, Cause::Itself)),
        () = stop.cancelled() => Cause::Stopped,
        () = late => Cause::TimedOut,
    };
    program.end().await.map(|status| (status, cause))
}

/// One of the command's pipes.
struct Pipe {
    context: Context,
    parser: Parser,
    splitter: LineSplitter,
    chunk: Chunk,
}

impl Pipe {
    /// Reads `input` to its end, or until nothing comes any more once the program has ended. Fails when the adaptor takes
    /// no more.
    async fn read(mut self, mut input: impl AsyncRead + Unpin, stage: &Stage) -> Result<(), Refused> {
        let mut buffer = vec![0; READ_BYTES];
        let mut rest = PIPE_BYTES_MAX;
        loop {
            let read = tokio::select! {
                biased;
                () = stage.over.cancelled() => break,
                read = input.read(&mut buffer) => read,
                () = silent(stage) => break,
                () = due(&self.parser) => {
                    self.parser.flush_due(observed_now(), &mut self.chunk);
                    self.hand_over(stage).await?;
                    continue;
                }
            };
            match read {
                Ok(bytes @ 1..) => {
                    let (now, Self { splitter, parser, chunk, .. }) = (observed_now(), &mut self);
                    splitter.push(&buffer[..bytes], &mut |line| parser.parse(now, line, chunk));
                    self.hand_over(stage).await?;
                    if stage.killed.is_cancelled() {
                        rest = rest.saturating_sub(bytes);
                    }
                    if rest == 0 {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(0) | Err(_) => break,
            }
        }
        let Self { splitter, parser, chunk, .. } = &mut self;
        // A line without its end is kept: nothing says that it is not whole.
        splitter.finish(&mut |line| parser.parse(observed_now(), line, chunk));
        parser.finish(chunk);
        self.hand_over(stage).await
    }

    /// A full spool makes it wait, whatever the policy: so does the command then, at the other end of the pipe. Not for
    /// ever once the source is stopped: what is then given up is counted.
    async fn hand_over(&mut self, stage: &Stage) -> Result<(), Refused> {
        let chunk = std::mem::take(&mut self.chunk);
        let records = chunk.records() as u64;
        tokio::select! {
            biased;
            taken = self.context.keep(chunk) => taken,
            () = stage.over.cancelled() => {
                self.context.counters.records_abandoned.add(records);
                Err(Refused::Closed)
            }
        }
    }
}

/// Returns when the program has ended and has left nothing that writes: whatever it started has been killed, or has
/// written nothing for [`GRACE`].
async fn silent(stage: &Stage) {
    stage.ended.cancelled().await;
    tokio::select! {
        biased;
        () = stage.killed.cancelled() => sleep(DRAIN_QUIET).await,
        () = sleep(GRACE) => {}
    }
}

/// Returns when a record that may go on has waited for long enough.
async fn due(parser: &Parser) {
    match parser.wait(observed_now()) {
        Some(wait) => sleep(wait).await,
        None => std::future::pending().await,
    }
}
