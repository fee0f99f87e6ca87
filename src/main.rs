//! The logboom command.
fn main() {}
