//! Checksums of sink files: taken of the bytes on their way to the store, kept in the log, compared by
//! [`crate::verify`].
//!
//! The checksum is CRC32C of the whole object, as 8 hexadecimal digits, under [`TAG`] in the `tags` of its `add`. There it
//! outlives checkpoints, other engines carry it along unread, and a damaged file cannot vouch for itself.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checksum_has_one_text() {
        assert_eq!(from_text(&to_text(0x00c0_ffee)), Some(0x00c0_ffee));
        for text in ["", "c0ffee", "00C0FFEE", "+0c0ffee", "000c0ffee", "x"] {
            assert_eq!(from_text(text), None, "{text}");
        }
    }
}
