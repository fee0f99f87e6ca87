//! Standard input, to its end.
//!
//! A thread reads it, because a read of a terminal or a pipe cannot be cancelled; it ends at the input's end, when
//! nobody listens to it any more, or with the process. At the end of the input this source ends; the adaptor goes on.

use std::io::{self, Read};

use futures::FutureExt;
use logboom_config::Source;
use tokio::sync::mpsc;
use tokio::time::error::Elapsed;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::line::{LineSplitter, Parser};
use super::net::{DRAIN_QUIET, DRAIN_TIME};
use super::{Context, Running, observed_now};
use crate::intake::{Chunk, Refused};

/// Bytes of one read at most.
const READ_BYTES: usize = 64 << 10;
/// Reads that may wait to be handed over.
const READS_WAITING: usize = 4;

/// Opens standard input.
///
/// # Errors
/// When no thread can be started.
pub(super) async fn open(source: Source, context: Context, stop: CancellationToken) -> Result<Running, String> {
    let (sender, reads) = mpsc::channel(READS_WAITING);
    let name = source.name.clone();
    std::thread::Builder::new()
        .name("stdin".to_owned())
        .spawn(move || read(&name, io::stdin().lock(), &sender))
        .map_err(|error| format!("cannot start a thread to read standard input: {error}"))?;
    Ok(run(source, context, reads, stop).boxed())
}

/// Reads `input` to its end, or until nobody takes what it reads.
fn read(source: &str, mut input: impl Read, reads: &mpsc::Sender<Vec<u8>>) {
    loop {
        let mut buffer = vec![0; READ_BYTES];
        match input.read(&mut buffer) {
            Ok(0) => return info!(source, "standard input has ended"),
            Ok(bytes) => {
                buffer.truncate(bytes);
                if reads.blocking_send(buffer).is_err() {
                    return;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return warn!(source, %error, "standard input cannot be read any further"),
        }
    }
}

async fn run(source: Source, context: Context, mut reads: mpsc::Receiver<Vec<u8>>, stop: CancellationToken) {
    let mut input = Input {
        parser: Parser::new(&source, &context, None),
        splitter: Parser::splitter(&source, &context.counters),
        context,
        chunk: Chunk::default(),
    };
    while let Some(read) = stop.run_until_cancelled(input.next(&mut reads)).await {
        let taken = match read {
            Ok(Some(read)) => input.take(&read).await,
            Ok(None) => break,
            Err(_elapsed) => input.flush_due().await,
        };
        if taken.is_err() {
            return;
        }
    }
    let end = Instant::now() + DRAIN_TIME;
    while Instant::now() < end
        && let Ok(Some(read)) = timeout_at(end.min(Instant::now() + DRAIN_QUIET), reads.recv()).await
        && input.take(&read).await.is_ok()
    {}
    input.finish().await;
}

struct Input {
    context: Context,
    parser: Parser,
    splitter: LineSplitter,
    chunk: Chunk,
}

impl Input {
    /// The next read; an error once a record that may go on has waited for long enough.
    async fn next(&self, reads: &mut mpsc::Receiver<Vec<u8>>) -> Result<Option<Vec<u8>>, Elapsed> {
        match self.parser.wait(observed_now()) {
            Some(wait) => timeout(wait, reads.recv()).await,
            None => Ok(reads.recv().await),
        }
    }

    async fn flush_due(&mut self) -> Result<(), Refused> {
        self.parser.flush_due(observed_now(), &mut self.chunk);
        self.hand_over().await
    }

    async fn take(&mut self, read: &[u8]) -> Result<(), Refused> {
        let now = observed_now();
        self.splitter.push(read, &mut |line| {
            self.parser.parse(now, line, &mut self.chunk);
        });
        self.hand_over().await
    }

    async fn finish(mut self) {
        self.splitter.finish(&mut |line| {
            self.parser.parse(observed_now(), line, &mut self.chunk);
        });
        self.parser.finish(&mut self.chunk);
        let _ = self.hand_over().await;
    }

    /// Fails when the adaptor takes no more. A full spool makes it wait, whatever the policy: so does the producer then,
    /// at the other end of the pipe.
    async fn hand_over(&mut self) -> Result<(), Refused> {
        // Nobody can be told when the records are durable, so nobody waits for that.
        self.context.keep(std::mem::take(&mut self.chunk)).await
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;
    use std::time::Duration;

    use logboom_config::SourceKind;

    use super::*;
    use crate::source::testing::{context, records};

    fn bodies(context: &Context) -> Vec<String> {
        let taken = context.intake.take(Duration::ZERO, None).unwrap();
        taken.blocks.into_iter().flat_map(records).map(|seen| seen.body).collect()
    }

    #[tokio::test]
    async fn standard_input_is_read_to_its_end_and_then_the_source_ends() {
        let (context, stop) = (context(), CancellationToken::new());
        let (sender, reads) = mpsc::channel(READS_WAITING);
        let lines: Vec<_> = (0..50_000).map(|n| n.to_string()).collect();
        let input = lines.join("\n");
        let reading = std::thread::spawn(move || read("in", Cursor::new(input), &sender));
        run(Source::new("in", SourceKind::Stdin), context.clone(), reads, stop).await;
        reading.join().unwrap();
        assert!(bodies(&context) == lines);
        assert_eq!(context.counters.records_in.get(), 50_000);
    }

    #[tokio::test]
    async fn a_record_of_several_lines_is_taken_when_its_time_is_over_and_at_the_end() {
        let (context, stop) = (context(), CancellationToken::new());
        let (sender, reads) = mpsc::channel(READS_WAITING);
        let mut source = Source::new("in", SourceKind::Stdin);
        let rule = logboom_config::MultilineRule::Python;
        let timeout = Duration::from_millis(50);
        source.parsing.multiline = Some(logboom_config::Multiline { rule, timeout, lines_max: 500 });
        let running = tokio::spawn(run(source, context.clone(), reads, stop));
        sender.send(b"a\nTraceback (most recent call last):\n  b\nE: c\n".to_vec()).await.unwrap();
        while context.counters.records_in.get() < 1 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        sender.send(b"d\n e".to_vec()).await.unwrap();
        drop(sender);
        running.await.unwrap();
        assert_eq!(bodies(&context), ["a\nTraceback (most recent call last):\n  b\nE: c", "d\n e"]);
    }

    #[tokio::test]
    async fn a_stopped_source_takes_what_was_read_and_ends_without_the_end_of_the_input() {
        let (context, stop) = (context(), CancellationToken::new());
        let (sender, reads) = mpsc::channel(READS_WAITING);
        sender.try_send(b"a\nb".to_vec()).unwrap();
        sender.try_send(b"c\nd".to_vec()).unwrap();
        stop.cancel();
        run(Source::new("in", SourceKind::Stdin), context.clone(), reads, stop).await;
        assert_eq!(bodies(&context), ["a", "bc", "d"]);
        assert!(sender.is_closed());
    }
}
