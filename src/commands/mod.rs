//! One file per subcommand.

pub mod check;
pub mod collector;
pub mod query;
pub mod send;
pub mod table;
pub mod up;
