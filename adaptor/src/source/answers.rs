//! Writes a connection's answers in order, each when what it speaks of is durable and not before.

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

/// A peer that does not read its answers for this long is disconnected.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long answers wait for their records to become durable when the adaptor stops.
const STOP_TIMEOUT: Duration = Duration::from_secs(4);
/// Answers that are ready are written together, up to about this many bytes.
const WRITE_BYTES: usize = 8 << 10;

/// What a peer is told once the outcome of its records, which receipts `R` tell, is known.
pub(super) trait Answer<R = Receipt> {
    /// The next receipt to wait for, whose outcome [`Answer::settle`] is then told; `None` when all is known.
    fn next(&mut self) -> Option<R>;

    /// The outcome of what [`Answer::next`] gave. It is known: never [`Refused::Closed`].
    ///
    /// # Errors
    /// When nothing can be said of it, so that the connection must end.
    fn settle(&mut self, outcome: Result<(), Refused>) -> Result<(), Refused>;

    /// Adds its bytes to `out`, when all is known.
    fn write(&self, out: &mut Vec<u8>);
}

/// Gives the answers in `queue`, in order, until there are no more to come. Cancels `gone` when the peer cannot be
/// answered any longer: no answer may be left out, so the connection must end.
pub(super) async fn give<W: AsyncWrite + Unpin>(
    writer: W,
    queue: mpsc::Receiver<impl Answer>,
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
                debug!(%error, "a peer cannot be answered");
            }
        }
        () = stopped => {}
    }
    gone.cancel();
}

async fn give_all<W: AsyncWrite + Unpin>(
    mut output: Output<W>,
    mut queue: mpsc::Receiver<impl Answer>,
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
        while let Some(receipt) = answer.next() {
            let mut durable = pin!(receipt.durable());
            let outcome = match durable.as_mut().now_or_never() {
                Some(outcome) => outcome,
                None => {
                    output.flush().await?;
                    durable.await
                }
            };
            // Whether these records are on disk is not known, so nothing may be said of them, or of any that follow.
            let settled = match outcome {
                Err(Refused::Closed) => Err(Refused::Closed),
                outcome => answer.settle(outcome),
            };
            if let Err(refused) = settled {
                // What is known already is said all the same: who is not told sends it again.
                output.flush().await?;
                return Err(io::Error::other(refused));
            }
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
            let written = async {
                self.writer.write_all(&self.ready).await?;
                self.writer.flush().await
            };
            tokio::time::timeout(self.timeout, written).await??;
            self.ready.clear();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;
    use crate::intake::Intake;

    /// What [`give`] is asked to say, and whether the connection must end instead.
    struct Said(Option<Receipt>, &'static [u8], bool);

    impl Answer for Said {
        fn next(&mut self) -> Option<Receipt> {
            self.0.take()
        }

        fn settle(&mut self, _: Result<(), Refused>) -> Result<(), Refused> {
            if self.2 { Err(Refused::Full) } else { Ok(()) }
        }

        fn write(&self, out: &mut Vec<u8>) {
            out.extend_from_slice(self.1);
        }
    }

    #[tokio::test]
    async fn what_is_known_is_said_before_a_later_outcome_ends_the_connection() {
        let known = || Some(Intake::new(1 << 10, 1 << 10).known());
        let (mut peer, writer) = tokio::io::duplex(1 << 10);
        let (sender, queue) = mpsc::channel(4);
        for said in [Said(known(), b"one ", false), Said(None, b"two", false), Said(known(), b"never", true)] {
            assert!(sender.send(said).await.is_ok());
        }
        let (stop, gone) = (CancellationToken::new(), CancellationToken::new());
        give(writer, queue, WRITE_TIMEOUT, &stop, &gone).await;
        assert!(gone.is_cancelled());
        let mut answers = String::new();
        peer.read_to_string(&mut answers).await.unwrap();
        assert_eq!(answers, "one two");
    }
}
