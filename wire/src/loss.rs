//! Loss records: what an adaptor says about records that it gave up, in the stream itself.
//!
//! They are records like any others, of the category [`CATEGORY`] and the source [`SOURCE`]. A producer can name the category
//! but not the source: what is said of losses under another source does not count.
//! Those with [`FIRST_SEQ`] and [`LAST_SEQ`] say that these sequence numbers of [`STREAM`] **may be missing** in the table: a
//! permission and not a claim, so it does no harm to give it twice or for a record that arrived after all. Those without
//! count records that were given up before they had a number, since the last such record.

/// The category of loss records.
pub const CATEGORY: &str = "logboom.loss";
/// The source of loss records.
pub const SOURCE: &str = "logboom";

/// Attribute: why, such as `drop_oldest`, `damaged` or `rule:noise/drop`.
pub const REASON: &str = "loss.reason";
/// Attribute: the stream that the numbers are of.
pub const STREAM: &str = "loss.stream";
/// Attribute: the first sequence number, decimal.
pub const FIRST_SEQ: &str = "loss.first_seq";
/// Attribute: the last sequence number, decimal.
pub const LAST_SEQ: &str = "loss.last_seq";
/// Attribute: how many records, decimal.
pub const RECORDS: &str = "loss.records";
