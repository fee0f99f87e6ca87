//! Every store that a table can be on, claim by claim, each claim on each store.
//!
//! - `conformance`: the suite: the probe, the life of a table, sink files, races, lost answers
//! - `faults`: commits over HTTP while answers are lost, refused, late or missing
//! - `unfit`: stores on which collectors would lose each other's commits, and what the probe says of them
//! - `options`: the examples of `docs/stores.md`
//! - `server`, `server.sh`: real servers, as processes; what is not installed is skipped and says so
//! - `proxy`: stands between a client and a server and breaks what passes

// Tests wait for other processes, on threads of their own.
#![allow(clippy::disallowed_methods)]

mod conformance;
mod faults;
mod options;
mod proxy;
mod server;
mod unfit;
