//! What the sink promises. One program, so that tests that wait run beside those that compute.
//!
//! - `table`: commits, maintenance, faults and rivals, on stores that lose answers, lie and stall
//! - `stores`: every store that a table can be on
//! - `merge`, `json`: what the files hold
//! - `verify`: what a verification finds
//! - `scale`: a table after months of commits

mod json;
mod merge;
mod scale;
mod stores;
mod table;
mod verify;
