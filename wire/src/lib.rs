//! What both ends of Logboom share: the record, the block and the frames. No I/O happens here.

pub mod block;
pub mod decompress;
pub mod loss;
pub mod message;
mod payload;
mod rows;
mod stream;

pub use block::{Block, BlockError, Header, Position, Run, RunKey};
pub use rows::{Record, Rows, attributes_type, column};
pub use stream::{BadStreamId, StreamId};
