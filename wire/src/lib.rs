//! What both ends of Logboom share: the record, the block and the frames. No I/O happens here.

mod stream;

pub use stream::{BadStreamId, StreamId};
