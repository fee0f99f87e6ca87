//! One connection of a stream socket: reads lines, hands records over, and has requests answered.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use logboom_config::{SourceKind, UnixSource};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::ack::{AckId, Answer, Group, request};
use crate::intake::{Chunk, Receipt, Refused};
use crate::source::answers;
use crate::source::line::{LineSplitter, Parser};
use crate::source::net::{Connection, DRAIN_QUIET, DRAIN_TIME};
use crate::source::{Inlet, observed_now};

/// Bytes that a connection is read with at first: many connections are quiet.
const READ_BYTES_FIRST: usize = 8 << 10;
/// Bytes that a busy one is read with.
const READ_BYTES_MAX: usize = 64 << 10;

/// Attributes that say who connected, by the names of OpenTelemetry.
const PEER: [&str; 3] = ["process.pid", "process.user.id", "process.group.id"];

/// Answers that may wait, each at most some 200 bytes. With more, the connection is not read until one is given.
pub(super) const WAITING_MAX: usize = 1024;

/// Serves a connection to its end: its peer closes it, it is idle for too long, or it is told to stop.
pub(super) async fn serve(inlet: Arc<Inlet>, mut parser: Parser, connection: Connection) {
    let (sender, queue) = mpsc::channel(WAITING_MAX);
    let gone = CancellationToken::new();
    let Connection { stream, credentials, idle, stop, .. } = connection;
    if let (Some(who), SourceKind::Unix(UnixSource { peer_credentials: true, .. })) =
        (credentials, &inlet.source().kind)
    {
        let pid = who.pid().map(|pid| pid.to_string());
        let values = [pid, Some(who.uid().to_string()), Some(who.gid().to_string())];
        let known = PEER.iter().zip(&values).filter_map(|(key, value)| Some((*key, value.as_deref()?)));
        parser.vouch_for(&PEER, known);
    }
    let (reader, writer) = tokio::io::split(stream);
    let lines = Lines {
        parser,
        splitter: Parser::splitter(inlet.source(), &inlet.context().counters),
        batch: Batch::default(),
        group: Group::default(),
        answers: sender,
        inlet,
    };
    tokio::join!(
        lines.run(reader, idle, &stop, &gone),
        answers::give(writer, queue, answers::WRITE_TIMEOUT, &stop, &gone),
    );
}

struct Lines {
    inlet: Arc<Inlet>,
    parser: Parser,
    splitter: LineSplitter,
    batch: Batch,
    group: Group<Receipt>,
    answers: mpsc::Sender<Answer<Receipt>>,
}

/// What one read brought: records, cut where a request ends a group, since a receipt covers whole chunks.
#[derive(Default)]
struct Batch {
    ended: Vec<(Chunk, AckId)>,
    open: Chunk,
}

impl Batch {
    fn line(&mut self, parser: &mut Parser, observed_ns: i64, line: &[u8]) {
        if parser.is_json()
            && let Some(id) = request(line)
        {
            parser.finish(&mut self.open);
            self.ended.push((std::mem::take(&mut self.open), id));
            return;
        }
        parser.parse(observed_ns, line, &mut self.open);
    }
}

impl Lines {
    async fn run(
        mut self,
        mut reader: impl AsyncRead + Unpin,
        idle_timeout: Duration,
        stop: &CancellationToken,
        gone: &CancellationToken,
    ) {
        let mut buffer = vec![0; READ_BYTES_FIRST];
        loop {
            let read = tokio::select! {
                biased;
                () = stop.cancelled() => {
                    self.drain(&mut reader, &mut buffer).await;
                    break;
                }
                () = gone.cancelled() => break,
                read = read(&mut reader, &mut buffer, idle_timeout) => read,
                () = due(&self.parser) => {
                    self.parser.flush_due(observed_now(), &mut self.batch.open);
                    if self.hand_over().await.is_err() {
                        return;
                    }
                    continue;
                }
            };
            match read {
                Ok(0) => break,
                Ok(bytes) => {
                    if self.take(&buffer[..bytes]).await.is_err() {
                        return;
                    }
                    if bytes == buffer.len() && bytes < READ_BYTES_MAX {
                        buffer.resize(READ_BYTES_MAX, 0);
                    }
                }
                Err(error) => {
                    if error.kind() == io::ErrorKind::TimedOut {
                        self.inlet.counters().connections_idle.add(1);
                    }
                    debug!(source = self.inlet.name(), %error, "a connection ends");
                    break;
                }
            }
        }
        // A line without its end is kept: nothing says that it is not whole.
        self.splitter.finish(&mut |line| self.batch.line(&mut self.parser, observed_now(), line));
        self.parser.finish(&mut self.batch.open);
        let _ = self.hand_over().await;
    }

    /// Takes what was sent before the source was stopped.
    async fn drain(&mut self, reader: &mut (impl AsyncRead + Unpin), buffer: &mut [u8]) {
        let end = Instant::now() + DRAIN_TIME;
        while Instant::now() < end {
            match timeout_at(end.min(Instant::now() + DRAIN_QUIET), reader.read(buffer)).await {
                Ok(Ok(bytes @ 1..)) if self.take(&buffer[..bytes]).await.is_ok() => {}
                _ => return,
            }
        }
    }

    async fn take(&mut self, bytes: &[u8]) -> Result<(), Refused> {
        let now = observed_now();
        self.splitter.push(bytes, &mut |line| self.batch.line(&mut self.parser, now, line));
        self.hand_over().await
    }

    /// Hands over what the batch holds and queues the answers. Fails when the adaptor takes no more.
    async fn hand_over(&mut self) -> Result<(), Refused> {
        for (chunk, id) in std::mem::take(&mut self.batch.ended) {
            self.append(chunk).await?;
            // Where nobody answers any more the connection is about to end; its records are kept all the same.
            let _ = self.answers.send(self.group.end(id)).await;
        }
        let open = std::mem::take(&mut self.batch.open);
        self.append(open).await
    }

    async fn append(&mut self, chunk: Chunk) -> Result<(), Refused> {
        let (records, dropped) = (chunk.records() as u64, chunk.dropped() as u64);
        if records == 0 {
            self.group.pass(dropped);
            return Ok(());
        }
        if self.group.refuses() {
            self.inlet.count_refused(records);
            return Ok(());
        }
        match self.inlet.append(chunk).await {
            Ok(receipt) => self.group.take(records + dropped, receipt, Receipt::outcome),
            Err(Refused::Full) => self.group.refuse(),
            Err(Refused::Closed) => return Err(Refused::Closed),
        }
        Ok(())
    }
}

/// Returns once a record that may go on has waited for long enough.
async fn due(parser: &Parser) {
    match parser.wait(observed_now()) {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

async fn read(reader: &mut (impl AsyncRead + Unpin), buffer: &mut [u8], idle_timeout: Duration) -> io::Result<usize> {
    match idle_timeout.is_zero() {
        true => reader.read(buffer).await,
        false => timeout(idle_timeout, reader.read(buffer)).await?,
    }
}
