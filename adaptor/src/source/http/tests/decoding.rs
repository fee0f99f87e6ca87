//! Requests in, records out.

use std::sync::atomic::AtomicU64;

use logboom_config::{HttpSource, Source, SourceKind};

use super::super::document::Documents;
use super::super::plain::Form;
use super::super::{Shared, bulk, loki, percent_decoded, plain, splunk};
use crate::source::net::http::Refusal;
use crate::source::net::http::testing::{Whole, wholes};
use crate::source::protobuf::{put_bytes, put_varint};
use crate::source::testing::{context, fuzz};
use crate::source::{Inlet, Malformed};

fn source() -> Source {
    Source::new("in", SourceKind::Http(HttpSource::default()))
}

fn documents() -> Documents {
    Documents::new(&Shared { inlet: Inlet::new(source(), context()), tokens: None, acks: AtomicU64::new(0) })
}

fn plain(form: Form, body: impl AsRef<[u8]>) -> Result<Vec<Whole>, Refusal> {
    wholes(&source(), |taker| plain::read(form, body.as_ref(), Some("cat"), &mut documents(), taker))
}

fn bulk(body: &str) -> Result<Vec<Whole>, Refusal> {
    wholes(&source(), |taker| bulk::read(body.as_bytes(), "", &mut documents(), taker).map(drop))
}

fn loki_json(body: &str) -> Result<Vec<Whole>, Refusal> {
    wholes(&source(), |taker| loki::read_json(body.as_bytes(), taker))
}

fn loki_proto(body: &[u8]) -> Result<Vec<Whole>, Refusal> {
    wholes(&source(), |taker| loki::read_proto(body, taker))
}

fn events(body: &str) -> Result<Vec<Whole>, Refusal> {
    wholes(&source(), |taker| splunk::read_events(body.as_bytes(), taker))
}

/// Its time, its line and its metadata.
pub(super) type Entry<'a> = (u64, &'a [u8], &'a [(&'a str, &'a str)]);

/// A `PushRequest` of one stream.
pub(super) fn push_request(labels: &str, entries: &[Entry<'_>]) -> Vec<u8> {
    let mut stream = Vec::new();
    put_bytes(&mut stream, 1, labels.as_bytes());
    for (time, line, metadata) in entries {
        let (mut timestamp, mut entry) = (Vec::new(), Vec::new());
        put_varint(&mut timestamp, 1, time / 1_000_000_000);
        put_varint(&mut timestamp, 2, time % 1_000_000_000);
        put_bytes(&mut entry, 1, &timestamp);
        put_bytes(&mut entry, 2, line);
        for (name, value) in *metadata {
            let mut pair = Vec::new();
            put_bytes(&mut pair, 1, name.as_bytes());
            put_bytes(&mut pair, 2, value.as_bytes());
            put_bytes(&mut entry, 3, &pair);
        }
        put_bytes(&mut stream, 2, &entry);
    }
    let mut request = Vec::new();
    put_bytes(&mut request, 1, &stream);
    request
}

#[test]
fn lines_are_records_and_so_is_a_whole_body_of_bytes() {
    let cat = |body: &[u8]| Whole::new("cat", body);
    assert_eq!(plain(Form::Lines, b"a\r\n\n\xffb\nc").unwrap(), [cat(b"a"), cat(b"\xffb"), cat(b"c")]);
    assert_eq!(plain(Form::Lines, b"").unwrap(), []);
    let long = vec![b'x'; 1 << 20];
    for body in [&b""[..], b"a\nb\0\xff\r\n", &long] {
        assert_eq!(plain(Form::Whole, body).unwrap(), [cat(body)]);
    }
}

#[test]
fn json_lines_have_the_mapping_of_line_sources_and_what_does_not_parse_is_kept() {
    let body = "{\"msg\":\"one\",\"n\":1}\r\n\n{\"msg\":\"\",\"category\":\"own\"}\nplain\n{\"msg\":}";
    let mut found = plain(Form::JsonLines, body).unwrap();
    assert!(found[2].attributes.remove("logboom.parse_error").is_some());
    let expected = [
        Whole::new("cat", "one").with("n", "1"),
        Whole::new("cat", "plain"),
        Whole::new("cat", "{\"msg\":}"),
        Whole::new("own", ""),
    ];
    assert_eq!(found, expected);
}

#[test]
fn json_is_an_array_or_values_one_after_another() {
    let expected = [Whole::new("cat", "a\nb").with("k", "[1]"), Whole::new("cat", "text"), Whole::new("cat", "7")];
    for body in
        [" [ {\"message\":\"a\\nb\",\"k\":[1]} , \"text\",7]\n", "{\"message\":\"a\\nb\",\n \"k\":[1]}\"text\"7"]
    {
        assert_eq!(plain(Form::Json, body).unwrap(), expected, "{body}");
    }
    assert_eq!(plain(Form::Json, "[]").unwrap(), []);
    for body in ["[", "[1,]", "{\"a\":1}x", "[1] 2", "{", "nul", "[\"\\ud800\"]"] {
        assert!(matches!(plain(Form::Json, body), Err(Refusal::Malformed(_))), "{body}");
    }
    assert!(matches!(plain(Form::Json, b"[\"\xff\"]"), Err(Refusal::Malformed(_))));
}

#[test]
fn documents_of_a_bulk_go_to_the_category_that_is_their_index() {
    let body = concat!(
        r#"{"create":{"_index":"web","_id":"1"}}"#,
        "\n",
        r#"{"@timestamp":"2023-11-14T22:13:20Z","message":"one","log":{"level":"info"},"category":"x"}"#,
        "\n\n",
        r#"{"index":{"_index":"web"}}"#,
        "\r\n",
        r#"{"@timestamp":1700000000000,"message":""}"#,
        "\n",
        r#"{"delete":{"_index":"web","_id":"1"}}"#,
        "\n",
        r#"{"create":{"_index":"db"}}"#,
        "\n",
        r#"{"@timestamp":"noon","n":1}"#,
    );
    let time = 1_700_000_000_000_000_000;
    let expected = [
        Whole::new("db", r#"{"@timestamp":"noon","n":1}"#).with("@timestamp", "noon").with("n", "1"),
        Whole::new("web", "one").with("log", r#"{"level":"info"}"#).with("category", "x").at(time),
        Whole::new("web", "").at(time),
    ];
    assert_eq!(bulk(body).unwrap(), expected);
    for body in [
        "",
        "\n\n",
        "{}",
        "[]",
        "{\"create\":{}}",
        "{\"create\":1}\n{}",
        "{\"upsert\":{}}\n{}",
        "{\"create\":{},\"index\":{}}\n{}",
        "no JSON\n{}",
    ] {
        assert!(matches!(bulk(body), Err(Refusal::Malformed(_))), "{body}");
    }
}

#[test]
fn streams_of_loki_have_labels_in_common_and_a_category_among_them() {
    let json = r#"{"streams":[
        {"values":[["1700000000000000001","one"],["0","two\nlines",{"trace":"t"}]],"stream":{"job":"j","app":"web","n":""}},
        {"stream":{"x":"y"},"values":[["5",""]]},{"stream":{},"values":[]}]}"#;
    let web = |body| Whole::new("web", body).with("job", "j").with("app", "web").with("n", "");
    let expected =
        [Whole::new("in", "").with("x", "y").at(5), web("one").at(1_700_000_000_000_000_001), web("two\nlines")];
    let mut expected = expected.to_vec();
    expected[2] = expected[2].clone().with("trace", "t");
    assert_eq!(loki_json(json).unwrap(), expected);

    let mut proto = push_request(
        r#"{job="j", app="web",n=""}"#,
        &[(1_700_000_000_000_000_001, b"one", &[]), (0, b"two\nlines", &[("trace", "t")])],
    );
    proto.extend_from_slice(&push_request(r#"{x="y"}"#, &[(5, b"", &[])]));
    assert_eq!(loki_proto(&proto).unwrap(), expected);
    let bytes = push_request("{}", &[(5, b"\xff\0", &[])]);
    assert_eq!(loki_proto(&bytes).unwrap(), [Whole::new("in", b"\xff\0").at(5)]);

    for json in [
        "[]",
        "{}",
        r#"{"streams":1}"#,
        r#"{"streams":[{"values":[["x","y"]]}]}"#,
        r#"{"streams":[{"values":[["1"]]}]}"#,
        r#"{"streams":[{"values":[["1","a",{},4]]}]}"#,
        r#"{"streams":[{"values":[["1","a",4]]}]}"#,
    ] {
        assert!(matches!(loki_json(json), Err(Refusal::Malformed(_))), "{json}");
    }
    // Two streams, each of 0x35 and 0x0e bytes or so: every cut is one in the middle of a field, or between the two.
    let whole = loki_proto(&proto).unwrap().len();
    for end in 1..proto.len() {
        let cut = loki_proto(&proto[..end]);
        assert!(cut.is_err() || cut.unwrap().len() < whole, "cut at {end}");
    }
}

#[test]
fn labels_are_read_as_prometheus_writes_them() {
    fn read(text: &str) -> Result<Vec<String>, Malformed> {
        Ok(loki::labels(text)?.into_iter().map(|(name, value)| format!("{name}={value}")).collect())
    }
    assert_eq!(read("{}").unwrap(), Vec::<String>::new());
    assert_eq!(read(r#" { a = "1" , b="2", } "#).unwrap(), ["a=1", "b=2"]);
    assert_eq!(
        read(r#"{a="x,}\"\\\n\t\u00e9\xc3\xa9\351é",b=`\n"`}"#).unwrap(),
        ["a=x,}\"\\\n\téé\u{fffd}é", "b=\\n\""]
    );
    assert_eq!(read(r#"{a="1",a="2"}"#).unwrap(), ["a=2"]);
    for wrong in [
        "",
        "a",
        "{a}",
        "{a=}",
        "{a=b}",
        "{a=\"b}",
        "{=\"b\"}",
        "{a=\"b\" c=\"d\"}",
        r#"{a="\"}"#,
        r#"{a="\q"}"#,
        r#"{a="\u00"}"#,
        "{a=\"\\x\u{e9}\"}",
    ] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn no_labels_make_it_panic() {
    fuzz(&[br#"{a="x,}\"\\\n\t\u00e9\xc3\xa9\351", b=`\n"`, }"#], |bytes| {
        drop(loki::labels(&String::from_utf8_lossy(bytes)).map(drop));
    });
}

#[test]
fn events_of_splunk_stand_one_after_another() {
    let body = r#"{"event":"one","time":1700000000.5,"host":"h","source":"s","sourcetype":"t","index":"i",
        "fields":{"a":"b","n":[1]}}{"event":{"k": 1},"time":"1700000000","sourcetype":"t"}
        {"event":"","index":"","time":null}{"event":7,"unknown":1}"#;
    let expected = [
        Whole::new("i", "one")
            .with("host.name", "h")
            .with("com.splunk.source", "s")
            .with("com.splunk.sourcetype", "t")
            .with("com.splunk.index", "i")
            .with("a", "b")
            .with("n", "[1]")
            .at(1_700_000_000_500_000_000),
        Whole::new("in", "").with("com.splunk.index", ""),
        Whole::new("in", "7"),
        Whole::new("t", r#"{"k": 1}"#).with("com.splunk.sourcetype", "t").at(1_700_000_000_000_000_000),
    ];
    assert_eq!(events(body).unwrap(), expected);
    for body in ["", " \n", "{}", "[]", "{\"event\":\"x\"}{", "{\"event\":\"x\",\"fields\":1}", "{\"event\":null}"] {
        assert!(matches!(events(body), Err(Refusal::Malformed(_))), "{body}");
    }
}

#[test]
fn paths_are_percent_decoded() {
    assert_eq!(percent_decoded("a%20b%2Fc+%c3%a9", b'+').unwrap(), "a b/c+é");
    assert_eq!(percent_decoded("a+b", b' ').unwrap(), "a b");
    for wrong in ["%", "%2", "%zz", "%ff", "a%c3"] {
        assert!(percent_decoded(wrong, b'+').is_err(), "{wrong}");
    }
}

#[test]
fn a_request_that_would_take_much_memory_for_few_bytes_is_refused() {
    assert!(matches!(plain(Form::Lines, "x\n".repeat(300_000)), Err(Refusal::TooMany)));
    let categories: String = (0..20_000).map(|n| format!("{{\"category\":\"{n}\"}}\n")).collect();
    assert!(matches!(plain(Form::JsonLines, categories), Err(Refusal::TooMany)));
    assert!(matches!(bulk(&"{\"delete\":{}}\n".repeat(70_000)), Err(Refusal::TooMany)));
    let deep = format!("{{\"streams\":{}", "[".repeat(1 << 20));
    assert!(matches!(loki_json(&deep), Err(Refusal::Malformed(_))));
}

#[test]
fn no_bytes_make_it_panic() {
    let corpus = [
        &br#"{"create":{"_index":"i"}}
{"@timestamp":"2023-11-14T22:13:20Z","message":"m"}
{"delete":{"_id":"1"}}
"#[..],
        br#"{"streams":[{"stream":{"app":"a"},"values":[["1","x"],["2","y",{"m":"n"}]]}]}"#,
        br#"{"event":"e","time":1.5,"fields":{"a":"b"},"index":"i"}{"event":{"a":1}}"#,
        br#"[{"msg":"\u00e9","timestamp":5},"text",null]"#,
        &push_request(r#"{a="b"}"#, &[(5, b"line", &[("m", "n")]), (0, b"", &[])]),
    ];
    let inlet = Inlet::new(source(), context());
    let mut documents = documents();
    fuzz(&corpus, |bytes| {
        let mut taker = crate::source::net::http::Taker::new(&inlet);
        let _ = bulk::read(bytes, "", &mut documents, &mut taker);
        let _ = loki::read_json(bytes, &mut taker);
        let _ = loki::read_proto(bytes, &mut taker);
        let _ = splunk::read_events(bytes, &mut taker);
        let _ = splunk::read_raw(bytes, &Default::default(), &mut taker);
        for form in [Form::JsonLines, Form::Json, Form::Lines, Form::Whole] {
            let _ = plain::read(form, bytes, None, &mut documents, &mut taker);
        }
    });
}
