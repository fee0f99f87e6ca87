use std::path::{Path, PathBuf};

use logboom_wire::Block;

use crate::records::{assert_is_sample, sample};

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/block-v1.bin")
}

#[test]
fn a_block_of_format_version_1_reads_as_it_did_when_it_was_written() {
    let bytes = std::fs::read(path()).unwrap();
    assert_eq!(bytes[..8], *b"LBLK\x01\0\0\0");
    assert_is_sample(&Block::parse(bytes.into()).unwrap());
}

/// Only for a new format version: the file of an old one is never written again.
#[test]
#[ignore = "writes the golden file"]
fn write_the_golden_block() {
    assert!(!path().exists(), "a golden file is written once");
    std::fs::write(path(), sample().0.bytes()).unwrap();
}
