//! What the table promises, claim by claim, on stores that lose answers, lie and stall.
//!
//! | file | claims about |
//! |---|---|
//! | `life` | opening, reopening, checkpoints, clean-up, snapshots |
//! | `faults` | commits on a store that loses answers or refuses |
//! | `races` | several collectors on one table |
//! | `sleeper` | a collector that stalls for longer than the log is kept |
//! | `damage` | logs that are damaged or someone else's |
//! | `maintain` | compaction, retention, vacuum and the lease |
//! | `crashes` | a death at every call of those |
//! | `rewrite` | files in the place of others, and their rivals |
//! | `versions` | tables of other versions of Logboom, or with other columns |
//!
//! `collector` is the least that a correct caller does, with the oracle that counts copies; `bed` is a table of real sink
//! files; `faulty` is the store.

mod bed;
pub mod collector;
mod crashes;
mod damage;
mod faults;
pub mod faulty;
mod life;
mod maintain;
mod maintain_json;
mod races;
mod rewrite;
mod sleeper;
mod versions;
