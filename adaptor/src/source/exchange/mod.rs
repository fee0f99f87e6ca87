//! Protocols in which messages come on a stream and answers go back in order, each only once what it speaks of is on disk.
//!
//! Owns the reading (bounds on memory, deadlines, the end), the handing over and the order of answers. What the bytes mean
//! is a [`Protocol`]'s business, which does no I/O.
//!
//! All whole messages that a read brought make a *round*. Its records are taken or refused together, so its answers wait
//! for one receipt, and a producer that does not wait for answers is as cheap to serve as one that sends large messages.
//! A round of many records is handed over in parts; if one is refused the round is, so that its producer sends again what
//! was taken already.

mod connection;
mod shared;
#[cfg(test)]
pub(super) mod testing;
#[cfg(test)]
mod tests;

use super::inlet::Batch;

pub(super) use connection::serve;
pub(super) use shared::Shared;

/// What a batch counts for each record beside its bytes, so that it is bounded when they are empty.
pub(super) const RECORD_BYTES: usize = 64;

/// The messages of a round as far as they have been read.
pub(super) struct Round {
    /// When they came, in nanoseconds since 1970.
    pub(super) observed: i64,
    /// Their records. Those that do not fit in one chunk should be handed over ([`Step::HandOver`]).
    pub(super) batch: Batch,
    /// What they are answered if their records are taken.
    pub(super) answers: Vec<u8>,
}

/// What became of the bytes that a protocol was shown.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The message at their beginning is dealt with. It had so many bytes.
    Done(usize),
    /// It is not whole yet.
    Wait,
    /// It is not done with, but the batch is full: hand it over and show the same bytes again.
    HandOver,
    /// To read it takes so many bytes of memory more: show the same bytes again when they may be had.
    Room(usize),
}

/// A message that breaks the protocol or a limit: why, for the log. The connection ends with it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Violation(pub(super) String);

impl Violation {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// One end of a conversation: bytes come in, records and answers go out.
pub(super) trait Protocol: Send {
    /// What is said before anything comes.
    fn greeting(&mut self) -> Vec<u8> {
        Vec::new()
    }

    /// Whether the peer has done what it must before its records are taken; it has ten seconds for
    /// that.
    fn is_admitted(&self) -> bool {
        true
    }

    /// Reads the message at the beginning of `input`, which is what has come and was not [`Step::Done`].
    ///
    /// # Errors
    /// [`Violation`]. What must be answered to it is in the round; none of the message's records is.
    fn read(&mut self, input: &[u8], round: &mut Round) -> Result<Step, Violation>;

    /// What `answers`, which say that the records of the round were taken, become if they are refused after all. `None`:
    /// nothing is said, and the connection ends. Called before [`Protocol::settle`].
    fn refusal(&self, answers: &[u8]) -> Option<Vec<u8>> {
        let _ = answers;
        None
    }

    /// The round has ended; its records were taken, or refused because the spool is full. Makes `answers` say so, and says
    /// whether the connection goes on.
    fn settle(&mut self, taken: bool, answers: &mut Vec<u8>) -> bool;
}
