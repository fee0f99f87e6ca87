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
pub(super) mod json;
mod logfmt;
mod multiline;
mod parser;
mod rules;
pub(in crate::source) mod severity;
mod splitter;
pub(super) mod syslog;
pub(in crate::source) mod timestamp;

pub(crate) use container::LANES;
pub(in crate::source) use fields::{Fields, Unparsed, id, recycle};
pub(crate) use join::{Lane, Place};
pub(in crate::source) use json::read as read_json;
pub(crate) use parser::{Lanes, Parser, is_container};
pub(in crate::source) use rules::Rules;
pub(crate) use splitter::LineSplitter;

/// Attribute of what was kept as a plain record because it does not parse: why.
pub(super) const PARSE_ERROR: &str = "logboom.parse_error";
