//! Writes a connection's answers, each when what it speaks of is durable and not before.

use std::io;
use std::pin::pin;
use std::time::Duration;

use futures::FutureExt;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::intake::{Receipt, Refused};

/// Rounds whose answers may wait. With more, the connection is not read until one is answered.
pub(super) const WAITING_MAX: usize = 64;
/// A peer that does not read its answers for this long is disconnected.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long answers wait for their records to become durable when the adaptor stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(4);
/// Answers that are ready are written together, up to about this many bytes.
const WRITE_BYTES: usize = 8 << 10;

/// The answers of a round.
pub(super) struct Answer {
    /// What must be durable before they are given.
    pub(super) receipt: Option<Receipt>,
    pub(super) bytes: Vec<u8>,
    /// What is said instead where the records are refused after all; nothing, if there is nothing to say.
    pub(super) refusal: Option<Vec<u8>>,
}

/// Gives the answers in `queue`, in order, until there are no more to come. Cancels `gone` when the peer cannot be
/// answered any longer: no answer may be left out, so the connection must end.
pub(super) async fn give<W: AsyncWrite + Unpin>(
    writer: &mut W,
    queue: mpsc::Receiver<Answer>,
    stop: &CancellationToken,
    gone: &CancellationToken,
) {
    let stopped = async {
        stop.cancelled().await;
        tokio::time::sleep(STOP_TIMEOUT).await;
    };
    tokio::select! {
        given = give_all(Output { writer, ready: Vec::new() }, queue) => {
            if let Err(error) = given {
                debug!(%error, "a peer cannot be answered");
            }
        }
        () = stopped => {}
    }
    gone.cancel();
}

async fn give_all<W: AsyncWrite + Unpin>(
    mut output: Output<'_, W>,
    mut queue: mpsc::Receiver<Answer>,
) -> io::Result<()> {
    loop {
        let answer = match queue.try_recv() {
            Ok(answer) => answer,
            Err(TryRecvError::Disconnected) => return output.flush().await,
            Err(TryRecvError::Empty) => {
                output.flush().await?;
                let Some(answer) = queue.recv().await else { return Ok(()) };
                answer
            }
        };
        let mut bytes = answer.bytes;
        if let Some(receipt) = answer.receipt {
            let mut durable = pin!(receipt.durable());
            let outcome = match durable.as_mut().now_or_never() {
                Some(outcome) => outcome,
                None => {
                    output.flush().await?;
                    durable.await
                }
            };
            // Whether these records are on disk is not known, so nothing may be said of them, or of any that follow.
            bytes = match (outcome, answer.refusal) {
                (Ok(()), _) => bytes,
                (Err(Refused::Full), Some(refusal)) => refusal,
                (Err(refused), _) => return Err(io::Error::other(refused)),
            };
        }
        output.ready.extend_from_slice(&bytes);
        if output.ready.len() >= WRITE_BYTES {
            output.flush().await?;
        }
    }
}

struct Output<'w, W> {
    writer: &'w mut W,
    ready: Vec<u8>,
}

impl<W: AsyncWrite + Unpin> Output<'_, W> {
    async fn flush(&mut self) -> io::Result<()> {
        if !self.ready.is_empty() {
            let written = async {
                self.writer.write_all(&self.ready).await?;
                self.writer.flush().await
            };
            tokio::time::timeout(WRITE_TIMEOUT, written).await??;
            self.ready.clear();
        }
        Ok(())
    }
}
