//! One connection: reads messages, has their records taken, and queues the answers.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::shared::Shared;
use super::{Protocol, Round, Step, Violation};
use crate::intake::{Receipt, Refused};
use crate::source::answers;
use crate::source::inlet::{Batch, Inlet};
use crate::source::net::{Connection, DRAIN_QUIET, DRAIN_TIME};
use crate::source::observed_now;

/// Bytes that a connection is read with at first: many connections are quiet.
const READ_BYTES_FIRST: usize = 8 << 10;
/// Bytes that a busy one is read with, and all that it has to itself.
const READ_BYTES: usize = 64 << 10;
/// Rounds whose answers may wait. With more, the connection is not read until one is answered.
const WAITING_MAX: usize = 64;
/// A round with this many bytes of answers ends.
const ANSWER_BYTES_MAX: usize = 16 << 10;

/// Serves a connection to its end: its peer closes it or breaks the protocol, a deadline passes, or it is told to stop.
pub(in crate::source) async fn serve(
    inlet: Arc<Inlet>,
    shared: Shared,
    mut protocol: impl Protocol,
    connection: Connection,
) {
    let (sender, queue) = mpsc::channel(WAITING_MAX);
    let gone = CancellationToken::new();
    let Connection { stream, idle, stop, .. } = connection;
    let (mut reader, mut writer) = tokio::io::split(stream);
    let greeting = protocol.greeting();
    if !greeting.is_empty() {
        let _ = sender.try_send(Answer { receipt: None, bytes: greeting, refusal: None });
    }
    let reading = Reading { inlet, shared, protocol, input: Input::default(), answers: sender, idle };
    let (ended, ()) = tokio::join!(
        reading.run(&mut reader, &stop, &gone),
        answers::give(&mut writer, queue, answers::WRITE_TIMEOUT, &stop, &gone),
    );
    if ended == Ended::ByUs {
        // What the peer still sends must be read, or closing would take from it the answers that it has not read yet.
        let _ = timeout(DRAIN_TIME, async {
            let mut rest = [0; 4096];
            writer.shutdown().await?;
            while reader.read(&mut rest).await? > 0 {}
            io::Result::Ok(())
        })
        .await;
    }
}

/// Who ended a connection.
#[derive(PartialEq, Eq)]
enum Ended {
    ByPeer,
    ByUs,
}

struct Reading<P> {
    inlet: Arc<Inlet>,
    shared: Shared,
    protocol: P,
    input: Input,
    answers: mpsc::Sender<Answer>,
    idle: Duration,
}

/// What has come and is not dealt with.
#[derive(Default)]
struct Input {
    bytes: Vec<u8>,
    /// For what it has beyond [`READ_BYTES`].
    permit: Option<OwnedSemaphorePermit>,
    /// When the message at its beginning began to come, or when it last had grown enough, and how long it was.
    began: Option<(Instant, usize)>,
}

/// The answers of a round.
struct Answer {
    /// What must be durable before they are given.
    receipt: Option<Receipt>,
    bytes: Vec<u8>,
    /// What is said instead where the records are refused after all; nothing, if there is nothing to say.
    refusal: Option<Vec<u8>>,
}

impl answers::Answer for Answer {
    fn next(&mut self) -> Option<Receipt> {
        self.receipt.take()
    }

    fn settle(&mut self, outcome: Result<(), Refused>) -> Result<(), Refused> {
        if let Err(refused) = outcome {
            self.bytes = self.refusal.take().ok_or(refused)?;
        }
        Ok(())
    }

    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.bytes);
    }
}

/// What happened to a round's records.
#[derive(Default)]
struct Outcome {
    receipt: Option<Receipt>,
    refused: bool,
}

impl<P: Protocol> Reading<P> {
    async fn run(
        mut self,
        reader: &mut (impl AsyncRead + Unpin),
        stop: &CancellationToken,
        gone: &CancellationToken,
    ) -> Ended {
        let started = Instant::now();
        loop {
            let read = tokio::select! {
                biased;
                () = stop.cancelled() => {
                    self.drain(reader).await;
                    return Ended::ByPeer;
                }
                () = gone.cancelled() => return Ended::ByPeer,
                read = self.read(reader, started) => read,
            };
            match read {
                Ok(0) => return Ended::ByPeer,
                Ok(_) => {
                    if !self.take().await {
                        return Ended::ByUs;
                    }
                }
                Err(error) => {
                    if error.kind() == io::ErrorKind::TimedOut {
                        self.count_late();
                    }
                    debug!(source = self.inlet.name(), %error, "a connection ends");
                    return Ended::ByPeer;
                }
            }
        }
    }

    /// Reads once, within the deadlines.
    async fn read(&mut self, reader: &mut (impl AsyncRead + Unpin), started: Instant) -> io::Result<usize> {
        let idle = (!self.idle.is_zero()).then(|| Instant::now() + self.idle);
        let message = self.input.began.map(|(began, _)| began + self.shared.message_timeout);
        let admission = (!self.protocol.is_admitted()).then(|| started + self.shared.admission_timeout);
        let deadline = [idle, message, admission].into_iter().flatten().min();
        let read = async {
            self.input.make_room(&self.shared).await?;
            reader.read_buf(&mut self.input.bytes).await
        };
        match deadline {
            None => read.await,
            Some(deadline) => timeout_at(deadline, read).await?,
        }
    }

    fn count_late(&self) {
        let counters = self.inlet.counters();
        match (self.protocol.is_admitted(), self.input.bytes.is_empty()) {
            (false, _) => counters.handshakes_failed.add(1),
            (true, false) => counters.messages_refused.add(1),
            (true, true) => counters.connections_idle.add(1),
        }
    }

    /// Takes what was sent before the source was stopped.
    async fn drain(&mut self, reader: &mut (impl AsyncRead + Unpin)) {
        let end = Instant::now() + DRAIN_TIME;
        while Instant::now() < end {
            let read = async {
                self.input.make_room(&self.shared).await?;
                reader.read_buf(&mut self.input.bytes).await
            };
            match timeout_at(end.min(Instant::now() + DRAIN_QUIET), read).await {
                Ok(Ok(1..)) if self.take().await => {}
                _ => return,
            }
        }
    }

    /// Deals with every whole message that is there. Returns whether the connection goes on.
    async fn take(&mut self) -> bool {
        let (mut done, mut answered) = (0, false);
        let goes_on = loop {
            let before = done;
            match self.round(&mut done).await {
                Some(Next::Wait) => {
                    answered |= done > before;
                    break true;
                }
                Some(Next::Round) => answered = true,
                None => break false,
            }
        };
        self.input.remove(done, answered);
        goes_on
    }

    /// Reads messages from where `done` says, and moves that on. `None`: the connection is to end.
    async fn round(&mut self, done: &mut usize) -> Option<Next> {
        let mut round = Round { observed: observed_now(), batch: Batch::default(), answers: Vec::new() };
        let mut outcome = Outcome::default();
        let mut permit = None;
        let next = loop {
            match self.protocol.read(&self.input.bytes[*done..], &mut round) {
                Ok(Step::Done(bytes)) => {
                    *done += bytes;
                    permit = None;
                    if round.answers.len() >= ANSWER_BYTES_MAX {
                        break Some(Next::Round);
                    }
                    if *done == self.input.bytes.len() {
                        break Some(Next::Wait);
                    }
                }
                Ok(Step::Wait) => break Some(Next::Wait),
                Ok(Step::HandOver) => outcome.add(&self.inlet, std::mem::take(&mut round.batch)).await.ok()?,
                Ok(Step::Room(bytes)) => {
                    // What is held meanwhile would keep others from giving theirs back.
                    outcome.add(&self.inlet, std::mem::take(&mut round.batch)).await.ok()?;
                    permit = Some(self.shared.for_made(bytes).await?);
                }
                Err(Violation(reason)) => {
                    self.inlet.counters().messages_refused.add(1);
                    debug!(source = self.inlet.name(), reason, "a message is refused and its connection closed");
                    break None;
                }
            }
        };
        // With a refusal that comes from here on nothing is known, and nothing is said.
        outcome.add(&self.inlet, round.batch).await.ok()?;
        drop(permit);
        let refusal = outcome.receipt.as_ref().and_then(|_| self.protocol.refusal(&round.answers));
        let goes_on = self.protocol.settle(!outcome.refused, &mut round.answers);
        if !round.answers.is_empty() {
            let answer = Answer { receipt: outcome.receipt, bytes: round.answers, refusal };
            // Where nobody answers any more the connection is about to end; its records are kept all the same.
            let _ = self.answers.send(answer).await;
        }
        next.filter(|_| goes_on)
    }
}

/// What follows a round.
enum Next {
    Round,
    Wait,
}

impl Outcome {
    /// Hands over records of the round. Fails when the adaptor takes no more.
    async fn add(&mut self, inlet: &Inlet, batch: Batch) -> Result<(), Refused> {
        if batch.records() == 0 {
            return Ok(());
        }
        if self.refused {
            inlet.count_refused(batch.records() as u64);
            return Ok(());
        }
        let taken = match self.receipt.take() {
            None => inlet.append_all(batch).await,
            Some(receipt) => inlet.append_more(batch, receipt).await,
        };
        match taken {
            Ok(receipt) => self.receipt = receipt,
            Err(Refused::Full) => self.refused = true,
            Err(Refused::Closed) => return Err(Refused::Closed),
        }
        Ok(())
    }
}

impl Input {
    /// Makes room to read into: grows with what has come, by as much again. Beyond what a connection has to itself it
    /// waits until there is memory.
    async fn make_room(&mut self, shared: &Shared) -> io::Result<()> {
        let length = self.bytes.len();
        if length < self.bytes.capacity() {
            return Ok(());
        }
        let capacity = match length {
            0 => READ_BYTES_FIRST,
            1..READ_BYTES => READ_BYTES,
            _ => length * 2,
        };
        if capacity > READ_BYTES {
            let held = length.saturating_sub(READ_BYTES);
            let more = shared.for_coming(capacity - READ_BYTES - held).await.ok_or(io::ErrorKind::OutOfMemory)?;
            match &mut self.permit {
                Some(permit) => permit.merge(more),
                None => self.permit = Some(more),
            }
        }
        self.bytes.reserve_exact(capacity - length);
        Ok(())
    }

    /// Removes the first `done` bytes. `moved`: what is left, if anything, begins another message.
    fn remove(&mut self, done: usize, moved: bool) {
        self.bytes.drain(..done);
        let length = self.bytes.len();
        if length <= READ_BYTES && self.bytes.capacity() > READ_BYTES {
            self.bytes.shrink_to(READ_BYTES);
            self.permit = None;
        }
        self.began = match self.began {
            _ if length == 0 => None,
            Some((began, then)) if !moved && length < then + READ_BYTES => Some((began, then)),
            _ => Some((Instant::now(), length)),
        };
    }
}
