//! What a server says in MessagePack.

pub(super) const FALSE: u8 = 0xc2;
pub(super) const TRUE: u8 = 0xc3;

/// Writes a text of less than 256 bytes.
pub(super) fn text(out: &mut Vec<u8>, text: &str) {
    let length = text.len().min(255);
    match length {
        0..32 => out.push(0xa0 | length as u8),
        _ => out.extend([0xd9, length as u8]),
    }
    out.extend_from_slice(&text.as_bytes()[..length]);
}

/// Writes less than 256 bytes.
pub(super) fn binary(out: &mut Vec<u8>, bytes: &[u8]) {
    let length = bytes.len().min(255);
    out.extend([0xc4, length as u8]);
    out.extend_from_slice(&bytes[..length]);
}

/// Writes that the message with this `chunk`, a value as it was read, is on disk.
pub(super) fn ack(out: &mut Vec<u8>, chunk: &[u8]) {
    out.push(0x81);
    text(out, "ack");
    out.extend_from_slice(chunk);
}
