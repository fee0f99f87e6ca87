//! One file per subcommand.

mod answer;
pub mod check;
pub mod collector;
pub mod grep;
mod pager;
pub mod place;
pub mod query;
pub mod send;
pub mod table;
pub mod tail;
pub mod token;
pub mod trace;
pub mod up;
