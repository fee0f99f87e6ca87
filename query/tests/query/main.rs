//! Queries over sink files on a local disk, through the same door as the command.

mod answers;
mod committed;
mod fixture;
mod grep;
mod json;
mod one_category;
mod printed;
mod pruning;
mod refused;
mod several;
mod versions;
