//! The file source against real files, with a spool that the test controls: see [`rig`].
//!
//! `growth`: files appear, grow, end without newline. `rotation`: they are renamed, truncated, deleted, and their inodes
//! taken again. `restart`: the source starts again from what was durable. `limits`: descriptors, fairness, backpressure.
//! `joined`: lines that belong together, also across rotation. `random`: all of it at once, with kills; `containers`: the
//! same for a container's lines. `torture`: rotation as fast as it goes.

mod containers;
mod growth;
mod joined;
mod limits;
mod random;
mod restart;
mod rig;
mod rotation;
mod torture;
