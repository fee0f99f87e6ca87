//! What was sent is in the table, byte for byte.

use std::path::PathBuf;

use super::client::Client;
use super::{Carries, Protocol};
use crate::harness::{PATIENCE, Pipeline, Plan, wait_until};

/// Bodies that protocols and parsers trip over.
fn bodies(carries: Carries) -> Vec<Vec<u8>> {
    let mut bodies: Vec<Vec<u8>> = vec![
        b"a plain line".to_vec(),
        b"  spaces around it \t ".to_vec(),
        b"{\"looks\":\"like JSON\"}".to_vec(),
        "Größe 1 µm, 日本語, 🦀".into(),
        b"a \"quoted\" \\ backslash % percent & ampersand <14>1".to_vec(),
    ];
    if carries != Carries::ShortLine {
        bodies.push(vec![b'x'; 1_000_000]);
    }
    if !matches!(carries, Carries::Line | Carries::ShortLine) {
        bodies.extend([Vec::new(), b"one\ntwo\r\nthree".to_vec(), b"nul \0 inside".to_vec()]);
    }
    if carries == Carries::Bytes {
        bodies.extend([b"latin1 \xe9 and worse \xff\xfe\x80".to_vec(), (0..=255).collect()]);
    }
    bodies.extend((0..200).map(|n| format!("record number {n}").into_bytes()));
    bodies
}

pub fn check(protocol: &Protocol) {
    check_with(protocol, protocol.source, &[]);
}

/// The same with other settings of the source, and with more in the environment of the client.
pub fn check_with(protocol: &Protocol, source: &str, environment: &[(&str, PathBuf)]) {
    let mut pipeline = Pipeline::with_source(Plan::default(), source);
    pipeline.start_collectors();
    pipeline.start_adaptors();
    let address = pipeline.address_of(protocol.address);
    let Some(mut client) = Client::start_with(protocol, &address, environment, |_| {}) else { return };
    let mut sent = bodies(protocol.carries);
    for body in &sent {
        assert!(client.feed("e2e", body), "the client does not listen any more");
    }
    assert_eq!(client.finish(PATIENCE), sent.len() as u64);
    wait_until("all are in the table", PATIENCE, || pipeline.rows().len() >= sent.len());
    let mut found = pipeline.rows();
    sent.sort();
    found.sort();
    let lost: Vec<_> = sent.iter().filter(|body| found.binary_search(body).is_err()).map(|body| shown(body)).collect();
    let strange: Vec<_> =
        found.iter().filter(|body| sent.binary_search(body).is_err()).map(|body| shown(body)).collect();
    assert!(lost.is_empty() && strange.is_empty(), "not found: {lost:#?}\nnever sent: {strange:#?}");
    assert_eq!(found.len(), sent.len(), "something is there twice");
}

fn shown(body: &[u8]) -> String {
    format!("{} bytes: {}", body.len(), body[..body.len().min(100)].escape_ascii())
}
