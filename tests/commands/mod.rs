//! The command line as a user meets it.

mod errors;
mod files;
mod readme;
mod sources;
mod tail;
mod volume;
mod walk_through;
