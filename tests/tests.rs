//! End-to-end and fault tests: real processes, real kills, and an oracle that counts what became of every record.
//!
//! - `oracle`: which records must be in the table, and whether they are; its own tests
//! - `harness`: processes to start and kill, producers, whole pipelines
//! - `commands`: the command line as a user meets it
//! - `faults`: deaths at every call, lost power, cut cables, outages, full disks, copied disks, wrong clocks
//! - `load`: sizes, speeds and long runs
//! - `tools`: programs that the faults need, a workspace of their own
//! - `protocols`: every protocol, spoken by a real client
//! - `security`: the wire by TLS, tokens and grants; who is refused, and that nothing is lost by it
//!
//! All in one binary, because linking is what costs. What takes long is ignored; run it optimized:
//! `LOGBOOM_SEED=1 cargo test --release --test tests -- --ignored --nocapture full_`.

// Tests wait for other processes, on threads of their own.
#![allow(clippy::disallowed_methods)]

mod commands;
mod faults;
mod harness;
mod load;
mod oracle;
mod protocols;
mod readers;
mod security;
