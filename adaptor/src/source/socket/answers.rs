//! Writes a connection's answers, each when its records are durable and not before.

use std::io;
use std::pin::pin;
use std::time::Duration;

use futures::FutureExt;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::ack::Answer;
use crate::intake::{Receipt, Refused};

/// Answers that may wait, each at most some 200 bytes. With more, the connection is not read until one is given.
pub(super) const WAITING_MAX: usize = 1024;
/// A producer that does not read its answers for this long is disconnected.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long answers wait for their records to become durable when the adaptor stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(4);
/// Answers that are ready are written together, up to about this many bytes.
const WRITE_BYTES: usize = 8 << 10;

/// Gives the answers in `queue`, in order, until there are no more to come. Cancels `gone` when the producer cannot be
/// answered any longer: no answer may be left out, so the connection must end.
pub(super) async fn give<W: AsyncWrite + Unpin>(
    writer: W,
    queue: mpsc::Receiver<Answer<Receipt>>,
    write_timeout: Duration,
    stop: &CancellationToken,
    gone: &CancellationToken,
) {
    let stopped = async {
        stop.cancelled().await;
        tokio::time::sleep(STOP_TIMEOUT).await;
    };
    tokio::select! {
        given = give_all(Output { writer, ready: Vec::new(), timeout: write_timeout }, queue) => {
            if let Err(error) = given {
                debug!(%error, "a producer cannot be answered");
            }
        }
        () = stopped => {}
    }
    gone.cancel();
}

async fn give_all<W: AsyncWrite + Unpin>(
    mut output: Output<W>,
    mut queue: mpsc::Receiver<Answer<Receipt>>,
) -> io::Result<()> {
    loop {
        let mut answer = match queue.try_recv() {
            Ok(answer) => answer,
            Err(TryRecvError::Disconnected) => return output.flush().await,
            Err(TryRecvError::Empty) => {
                output.flush().await?;
                let Some(answer) = queue.recv().await else { return Ok(()) };
                answer
            }
        };
        while let Some((records, receipt)) = answer.next() {
            let mut durable = pin!(receipt.durable());
            let outcome = match durable.as_mut().now_or_never() {
                Some(outcome) => outcome,
                None => {
                    output.flush().await?;
                    durable.await
                }
            };
            // Whether these records are on disk is not known, so nothing may be said of them, or of any that follow.
            if outcome == Err(Refused::Closed) {
                return Err(io::Error::other(Refused::Closed));
            }
            answer.settle(records, outcome);
        }
        answer.write(&mut output.ready);
        if output.ready.len() >= WRITE_BYTES {
            output.flush().await?;
        }
    }
}

struct Output<W> {
    writer: W,
    ready: Vec<u8>,
    timeout: Duration,
}

impl<W: AsyncWrite + Unpin> Output<W> {
    async fn flush(&mut self) -> io::Result<()> {
        if !self.ready.is_empty() {
            tokio::time::timeout(self.timeout, self.writer.write_all(&self.ready)).await??;
            self.ready.clear();
        }
        Ok(())
    }
}
