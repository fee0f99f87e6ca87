//! Sink files in JSON: written, indexed, read back, damaged.

mod fixture;
mod golden;
mod hostile;
mod layout;
mod round_trip;
mod table;
