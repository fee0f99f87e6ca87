//! Lines: how bytes become lines, and lines become records. Every source but the protocol listeners goes through here.
//!
//! Owns the two line formats (`lines`, `json`) and what becomes of lines that are too long or do not parse. Knows
//! nothing of where the bytes come from or where the records go. No I/O; nothing here fails or panics, whatever a
//! producer sends.

mod json;
mod parser;
pub(in crate::source) mod severity;
mod splitter;
pub(in crate::source) mod timestamp;

pub(in crate::source) use json::{Fields, Unparsed, id, recycle, text};
pub(crate) use parser::Parser;
pub(crate) use splitter::LineSplitter;
