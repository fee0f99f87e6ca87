//! Lines: how bytes become lines, and lines become records. Every source but the protocol listeners goes through here.
//!
//! Owns the line formats (`lines`, `json`, `syslog`) and what becomes of lines that are too long or do not parse. Knows
//! nothing of where the bytes come from or where the records go. No I/O; nothing here fails or panics, whatever a
//! producer sends.

pub(super) mod json;
mod parser;
mod severity;
mod splitter;
pub(super) mod syslog;
pub(super) mod timestamp;

pub(crate) use parser::Parser;
pub(crate) use splitter::LineSplitter;

/// Attribute of what was kept as a plain record because it does not parse: why.
pub(super) const PARSE_ERROR: &str = "logboom.parse_error";
