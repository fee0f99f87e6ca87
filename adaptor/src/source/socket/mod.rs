//! Socket sources: Unix stream and datagram sockets, TCP, UDP.
//!
//! Owns how sockets are bound, how many connections there are and how they end, and the acknowledgements of the `json`
//! form (see [`ack`]). What a line is and says is `line`'s business.
//!
//! A socket source that is stopped reads what its peers had sent by then, without waiting for more, hands it over, and
//! only then closes.

mod ack;
mod answers;
mod connection;
mod datagram;
mod listener;
mod owner;
mod seldom;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;
mod unix;

use std::time::Duration;

use logboom_config::Source;
use tracing::warn;

use self::seldom::Seldom;
use crate::intake::{Chunk, Receipt, Refused};
use crate::source::Context;
use crate::source::line::{LineSplitter, Parser};

pub(super) use tcp::open_tcp;
pub(super) use udp::open_udp;
pub(super) use unix::open_unix;

/// How long a stopped source reads on at most.
pub(super) const DRAIN_TIME: Duration = Duration::from_secs(1);
/// A stopped source that gets nothing for this long has read all that was sent.
pub(super) const DRAIN_QUIET: Duration = Duration::from_millis(20);
/// How long to wait after an error that may last, such as too many open files.
const ERROR_PAUSE: Duration = Duration::from_millis(100);

/// What the connections of a source share.
struct Shared {
    name: String,
    source: Source,
    context: Context,
    parser: Parser,
    full: Seldom,
}

impl Shared {
    fn new(source: Source, context: Context) -> Self {
        let parser = Parser::new(&source, &context, None);
        Self { name: source.name.clone(), source, context, parser, full: Seldom::default() }
    }

    fn splitter(&self) -> LineSplitter {
        LineSplitter::new(self.source.max_line, self.source.on_long_line, self.context.counters.clone())
    }

    /// Hands `chunk` over, whose lines have `bytes` bytes, and counts what becomes of it.
    async fn hand_over(&self, chunk: Chunk, bytes: u64) -> Result<Receipt, Refused> {
        let records = chunk.records() as u64;
        let taken = self.context.intake.append(chunk).await;
        match taken {
            Ok(_) => {
                self.context.counters.records_in.add(records);
                self.context.counters.bytes_in.add(bytes);
            }
            Err(Refused::Full) => self.count_refused(records),
            Err(Refused::Closed) => {}
        }
        taken
    }

    fn count_refused(&self, records: u64) {
        self.context.counters.records_refused_full.add(records);
        if self.full.now() {
            warn!(source = self.name, "the spool is full: records are refused, as `when_full = \"drop_newest\"` says");
        }
    }
}
