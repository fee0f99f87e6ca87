//! Checksums of sink files: taken of the bytes on their way to the store, kept in the log, compared by
//! [`crate::verify`].
//!
//! The checksum is CRC32C of the whole object, as 8 hexadecimal digits, under [`TAG`] in the `tags` of its `add`. There it
//! outlives checkpoints, other engines carry it along unread, and a damaged file cannot vouch for itself.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use futures::future::BoxFuture;
use parquet::arrow::async_writer::AsyncFileWriter;
use parquet::errors::Result as ParquetResult;

/// The tag of an `add` that has the checksum of its file.
pub const TAG: &str = "logboom.crc32c";

/// The text of a checksum.
pub fn to_text(crc32c: u32) -> String {
    format!("{crc32c:08x}")
}

/// Reads the text of a checksum, in the one spelling that [`to_text`] gives.
pub fn from_text(text: &str) -> Option<u32> {
    let crc32c = u32::from_str_radix(text, 16).ok()?;
    (to_text(crc32c) == text).then_some(crc32c)
}

/// Sums up what is written through it.
pub struct Summed<W> {
    inner: W,
    sum: Arc<AtomicU32>,
}

/// The checksum of what a [`Summed`] has written so far.
#[derive(Clone, Debug, Default)]
pub struct Sum(Arc<AtomicU32>);

impl Sum {
    /// The checksum.
    pub fn get(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl<W> Summed<W> {
    /// Writes to `inner`.
    pub fn new(inner: W) -> (Self, Sum) {
        let sum = Sum::default();
        (Self { inner, sum: sum.0.clone() }, sum)
    }
}

impl<W: AsyncFileWriter> AsyncFileWriter for Summed<W> {
    fn write(&mut self, bytes: Bytes) -> BoxFuture<'_, ParquetResult<()>> {
        let sum = crc32c::crc32c_append(self.sum.load(Ordering::Relaxed), &bytes);
        self.sum.store(sum, Ordering::Relaxed);
        self.inner.write(bytes)
    }

    fn complete(&mut self) -> BoxFuture<'_, ParquetResult<()>> {
        self.inner.complete()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_written_in_parts_is_summed_as_a_whole() {
        let mut written = Vec::new();
        let (mut writer, sum) = Summed::new(&mut written);
        for part in ["one ", "", "two"] {
            writer.write(part.into()).await.unwrap();
        }
        writer.complete().await.unwrap();
        assert_eq!(sum.get(), crc32c::crc32c(b"one two"));
        assert_eq!(written, b"one two");
    }

    #[test]
    fn a_checksum_has_one_text() {
        assert_eq!(from_text(&to_text(0x00c0_ffee)), Some(0x00c0_ffee));
        for text in ["", "c0ffee", "00C0FFEE", "+0c0ffee", "000c0ffee", "x"] {
            assert_eq!(from_text(text), None, "{text}");
        }
    }
}
