//! Lines: how bytes become lines, and lines become records. Every source but the protocol listeners goes through here.
//!
//! Owns the two line formats (`lines`, `json`) and what becomes of lines that are too long or do not parse. Knows
//! nothing of where the bytes come from or where the records go. No I/O; nothing here fails or panics, whatever a
//! producer sends.

mod json;
mod parser;
mod severity;
mod splitter;
#[cfg(test)]
pub(crate) mod testing;
mod timestamp;

use std::time::UNIX_EPOCH;

pub(crate) use parser::Parser;
pub(crate) use splitter::LineSplitter;

/// The time now, in nanoseconds since 1970: what is observed is observed at this. Ask once for each read, not for each
/// line.
pub(crate) fn observed_now() -> i64 {
    let since = UNIX_EPOCH.elapsed().unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
