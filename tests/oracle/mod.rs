//! The oracle: it knows what producers sent and what they were promised, reads what is committed, and counts what does
//! not fit together.
//!
//! It shares nothing with what it judges but the reader of the table's log: sink files are read by the Parquet library.
//!
//! | counter | what is counted |
//! |---|---|
//! | lost | records that were acknowledged and are not in the table |
//! | duplicate | rows beyond the first with the same producer and number, or with the same stream and sequence number |
//! | phantom | rows that nobody sent, or that were refused, or that are in the table of other categories |
//! | corrupt | rows whose checksum is wrong, or that are no record of ours |
//! | unreachable | files that the log names and that cannot be read, or hold another count of rows than the log says |
//! | stuck | segments that are still in a spool though all had time to be committed |

mod ledger;
mod record;
mod table;
mod tests;
mod verdict;

pub use ledger::{Account, Ledger, Promise};
pub use record::Record;
pub use table::Table;
pub use verdict::{Verdict, judge, segments};
