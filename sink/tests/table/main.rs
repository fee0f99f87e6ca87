//! What the table promises, claim by claim, on stores that lose answers, lie and stall.
//!
//! | file | claims about |
//! |---|---|
//! | `life` | opening, reopening, checkpoints, clean-up, snapshots |
//! | `faults` | commits on a store that loses answers or refuses |
//! | `races` | several collectors on one table |
//! | `sleeper` | a collector that stalls for longer than the log is kept |
//! | `damage` | logs that are damaged or someone else's |
//! | `versions` | tables of other versions of Logboom, or with other columns |
//!
//! `collector` is the least that a correct caller does, with the oracle that counts copies; `faulty` is the store.

mod collector;
mod damage;
mod faults;
mod faulty;
mod life;
mod races;
mod sleeper;
mod versions;
