//! The line and the index, byte for byte: files that were written stay readable for as long as people keep them.

#![expect(clippy::disallowed_types, reason = "it unpacks what it has packed itself")]

use crate::json::fixture::{Row, batch, members, object, row, settings, store, write};

#[tokio::test]
async fn a_line_is_what_it_always_was() {
    let rows = [
        Row { observed: 1_767_225_600_000_001, ..row("app", 1_767_225_599_999_999, "hello") },
        Row {
            timestamp: 1_767_225_600_500_000,
            observed: 1_767_225_600_500_000,
            severity: Some((9, "INFO")),
            body_bytes: Some(b"caf\xe9".to_vec()),
            attributes: Some(vec![("http.status", Some("200".into())), ("none", None)]),
            trace: Some("0af7651916cd43dd8448eb211c80319c".into()),
            seq: 9_007_199_254_740_993,
            ..row("app", 0, "caf\u{fffd}\n\"\\\u{1}")
        },
    ];
    let store = store();
    let file = write(&store, &batch(&rows), &settings()).await.unwrap();
    let path = &members(&store, &file).await[0].path;
    let mut lines = String::new();
    let bytes = object(&store, path).await;
    std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&bytes[..]), &mut lines).unwrap();
    assert_eq!(lines, include_str!("golden.ndjson"));
}
