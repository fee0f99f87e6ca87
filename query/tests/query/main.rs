//! Queries over sink files on a local disk, through the same door as the command.

mod answers;
mod committed;
mod fixture;
mod json;
mod printed;
mod pruning;
mod refused;
