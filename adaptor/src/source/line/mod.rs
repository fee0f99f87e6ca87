//! Lines: how bytes become lines, and lines become records. Every source but the protocol listeners goes through here.
//!
//! ```text
//! bytes ─► splitter ─► container (a line of a runtime's file) ─► join (parts, lines of one record) ─► format ─► funnel
//! ```
//! Owns the formats, the times that they hold, and what becomes of lines that are too long or do not parse. Knows
//! nothing of where the bytes come from or where the records go. No I/O; nothing here fails or panics, whatever a
//! producer sends.

mod clf;
mod clock;
mod container;
mod fields;
mod join;
mod json;
mod logfmt;
mod multiline;
mod parser;
mod rules;
mod severity;
mod splitter;
mod timestamp;

pub(crate) use container::LANES;
pub(crate) use join::{Lane, Place};
pub(crate) use parser::{Lanes, Parser, is_container};
pub(crate) use splitter::LineSplitter;
