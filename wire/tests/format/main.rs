//! The block and the frames: what goes in comes out, the bytes of version 1 stay readable, and hostile bytes do no harm.

mod frames;
mod fuzzed;
mod golden;
mod hostile;
mod records;
mod round_trip;
