//! For tests of protocols: what one makes of bytes without a connection, and a client of one that has a connection.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Protocol, Round, Step};
use crate::intake::Intake;
use crate::source::inlet::Batch;
use crate::source::testing::{A_WHILE, PATIENCE, Seen, taken};

/// All that `protocol`, whose records go into `intake`, makes of bytes in these pieces: records, answers, and whether the
/// connection goes on.
pub(in crate::source) fn converse(
    mut protocol: impl Protocol,
    intake: &Intake,
    pieces: &[&[u8]],
) -> (Vec<Seen>, Vec<u8>, bool) {
    let (mut input, mut seen, mut answers) = (Vec::new(), Vec::new(), Vec::new());
    for piece in pieces {
        input.extend_from_slice(piece);
        loop {
            let mut round = Round { observed: 1, batch: Batch::default(), answers: Vec::new() };
            let step = protocol.read(&input, &mut round);
            if round.batch.records() > 0 {
                seen.extend(taken(intake, std::mem::take(round.batch.chunk(0))));
            }
            protocol.settle(true, &mut round.answers);
            answers.extend(round.answers);
            match step {
                Ok(Step::Done(bytes)) => drop(input.drain(..bytes)),
                Ok(Step::Wait) => break,
                Ok(_) => {}
                Err(_) => return (seen, answers, false),
            }
        }
    }
    (seen, answers, true)
}

/// One that sends bytes as real ones do.
pub(in crate::source) struct Client<S>(pub(in crate::source) S);

impl Client<TcpStream> {
    pub(in crate::source) async fn connect(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.unwrap())
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Client<S> {
    pub(in crate::source) async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    pub(in crate::source) async fn gets_no_answer(&mut self) -> bool {
        timeout(A_WHILE, self.0.read_u8()).await.is_err()
    }

    pub(in crate::source) async fn is_disconnected(&mut self) -> bool {
        matches!(timeout(PATIENCE, self.0.read_u8()).await, Ok(Err(_)))
    }
}
