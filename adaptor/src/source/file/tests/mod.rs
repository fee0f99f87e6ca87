//! The file source against real files, with a spool that the test controls: see [`rig`].
//!
//! `growth`: files appear, grow, end without newline. `rotation`: they are renamed, truncated, deleted, and their inodes
//! taken again. `restart`: the source starts again from what was durable. `limits`: descriptors, fairness, backpressure.
//! `random`: all of it at once, with kills.

mod growth;
mod limits;
mod random;
mod restart;
mod rig;
mod rotation;
