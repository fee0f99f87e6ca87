use std::path::PathBuf;

use logboom_config::TokenHash;

use crate::{parse, refuse};

fn file(name: &str, content: &[u8]) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, content).unwrap();
    path
}

#[test]
fn a_token_is_read_from_its_file_without_the_space_around_it() {
    let token = file("token", b"  swordfish\n");
    let settings =
        parse(&format!("[adaptor]\ntoken_file = {token:?}\n[collector]\ntoken_file = {token:?}\n[sink]\nurl = \"a\""));
    assert_eq!(settings.adaptor.as_ref().unwrap().token.as_ref().unwrap().expose(), "swordfish");
    assert!(settings.collector.as_ref().unwrap().token.as_ref().unwrap().contain(&TokenHash::of("swordfish")));
    assert!(!format!("{settings:?}{}", settings.describe()).contains("swordfish"));
}

#[test]
fn a_file_of_tokens_may_hold_several_and_their_hashes() {
    let content = format!("one\n\n  {}\n", TokenHash::of("two"));
    let settings =
        parse(&format!("[collector]\ntoken_file = {:?}\n[sink]\nurl = \"a\"", file("tokens", content.as_bytes())));
    let tokens = settings.collector.unwrap().token.unwrap();
    for (token, right) in [("one", true), ("two", true), ("", false), ("three", false), (content.trim(), false)] {
        assert_eq!(tokens.contain(&TokenHash::of(token)), right, "{token}");
    }
    let answer = refuse(&format!("[adaptor]\ncontrol_token_file = {:?}", file("bad-hash", b"one\nsha256:12\n")));
    assert!(
        answer.contains("which has a wrong line: it is not the hash of a token") && !answer.contains("12"),
        "{answer}"
    );
}

#[test]
fn an_option_may_be_read_from_a_file_and_is_not_printed() {
    let key = file("key", b"swordfish\n");
    let settings = parse(&format!("[sink]\nurl = \"a\"\n[sink.options]\nkey = {{ file = {key:?} }}\nplain = \"tuna\""));
    let options = &settings.sink.as_ref().unwrap().options;
    assert_eq!((options["key"].as_str(), options["plain"].as_str()), ("swordfish", "tuna"));
    let printed = format!("{settings:?}{}", settings.describe());
    assert!(printed.contains("plain") && !printed.contains("swordfish") && !printed.contains("tuna"), "{printed}");
}

#[test]
fn a_secret_file_that_holds_no_secret_is_refused() {
    for (name, content, what) in [
        ("empty", b" \n".as_slice(), "is empty; put the secret there"),
        ("large", &[b'a'; 1025], "holds more than 1024 bytes; put only the secret there"),
        ("binary", b"\xff\xfe", "is not UTF-8; write the secret as plain text"),
    ] {
        let path = file(name, content);
        let answer = refuse(&format!("[adaptor]\ntoken_file = {path:?}"));
        assert!(answer.starts_with("l.toml:2: key `adaptor.token_file` names the file `"), "{answer}");
        assert!(answer.ends_with(what), "{answer}");
    }
}

#[test]
fn an_option_that_is_neither_text_nor_a_file_is_refused() {
    for value in ["1", "{}", "{ fil = \"a\" }", "[]", "{ file = \"/no/such/file\" }"] {
        let answer = refuse(&format!("[sink]\nurl = \"a\"\n[sink.options]\nkey = {value}"));
        assert!(answer.starts_with("l.toml:4: key `sink.options.key"), "{answer}");
        assert!(answer.contains("file"), "{answer}");
    }
}
