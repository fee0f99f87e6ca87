//! Sink files as gzipped lines of JSON, which `zcat` reads, and the index that lets a reader take only what it needs.
//!
//! A JSON file is a sequence of gzip members. Each holds records of one category, one object a line, sorted as in
//! Parquet; categories come in order, so that one category is one range of bytes. A category of many records is cut
//! into several members, by their time: a reader skips those outside of the hours it is asked for.
//!
//! The table holds an index of the members, in small Parquet files: those are what an `add` names, and JSON files are
//! reached through them only. They lie in a folder of their own ([`crate::paths::JSON_FOLDER`]).
//!
//! | file | noun |
//! |---|---|
//! | `line` | one record as a line |
//! | `write` | members and files |
//! | `index` | the rows about them |
//! | `decode` | members back to rows |
//! | `read` | members fetched from the store, and decoded |

mod decode;
mod index;
mod line;
mod read;
mod write;

pub use decode::Decoder;
pub use index::{Member, listed_files, read_index};
pub use read::MemberReader;
pub use write::JsonWriter;
