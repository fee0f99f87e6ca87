use logboom_config::{Sink, SinkRoute};

use crate::{parse, refuse};

fn sink(text: &str) -> Sink {
    parse(text).sink.unwrap()
}

fn routes(text: &str) -> Vec<SinkRoute> {
    sink(&format!("[sink]\nurl = \"/t\"\n{text}")).routes
}

#[test]
fn a_route_is_as_the_sink_where_it_does_not_say_otherwise() {
    let sink = sink(
        r#"
[sink]
url = "s3://logs/table"
target_file_size = "64MiB"
compression_level = 9
options = { region = "eu" }
[[sink.route]]
categories = ["audit.*", "login"]
url = "s3://audit/table"
compression_level = 3
[[sink.route]]
categories = "bill.*"
url = "/bill"
options = {}
[[sink.route]]
categories = "pay"
url = "/pay"
"#,
    );
    let [audit, bill, pay] = &sink.routes[..] else { panic!("{sink:?}") };
    assert!(audit.categories.matches("audit.x") && audit.categories.matches("login"));
    assert_eq!((audit.sink.target_file_size, audit.sink.compression_level), (64 << 20, 3));
    assert_eq!(audit.sink.row_group_rows, sink.row_group_rows);
    // Options go along to a place of the same kind; there another kind has no use for them.
    assert_eq!(audit.sink.options, sink.options);
    assert!(bill.sink.options.is_empty() && pay.sink.options.is_empty());
    assert_eq!((sink.compression_level, bill.sink.compression_level), (9, 9));
    assert!(audit.sink.routes.is_empty());
}

#[test]
fn two_routes_to_one_place_are_refused_at_their_line() {
    for (text, line) in [
        ("[[sink.route]]\ncategories = \"a\"\nurl = \"/t/\"", 5),
        ("[[sink.route]]\ncategories = \"a\"\nurl = \"/a\"\n[[sink.route]]\ncategories = \"b\"\nurl = \"/a\"", 8),
    ] {
        let error = refuse(&format!("[sink]\nurl = \"/t\"\n{text}"));
        assert!(error.starts_with(&format!("l.toml:{line}: ")) && error.contains("sink.route.url"), "{error}");
    }
}

#[test]
fn what_a_route_cannot_say_is_named() {
    let refuse = |text: &str| refuse(&format!("[sink]\nurl = \"/t\"\ncompression_level = 1\n{text}"));
    for (text, parts) in [
        ("[[sink.route]]\nurl = \"/a\"", ["sink.route.categories", "is missing"]),
        ("[[sink.route]]\ncategories = \"a\"", ["sink.route.url", "is missing"]),
        ("[[sink.route]]\ncategories = []\nurl = \"/a\"", ["sink.route.categories", "empty list"]),
        ("[[sink.route]]\ncategories = \"[\"\nurl = \"/a\"", ["sink.route.categories", "glob"]),
        ("[[sink.route]]\ncategories = \"a\"\nurl = \"ftp://a\"", ["sink.route.url", "names no place"]),
        (
            "[[sink.route]]\ncategories = \"a\"\nurl = \"/a\"\ncompression_level = 99",
            ["sink.route.compression_level", "99"],
        ),
        (
            "[[sink.route]]\ncategories = \"a\"\nurl = \"/a\"\ncompresion_level = 1",
            ["sink.route.compresion_level", "`compression_level`"],
        ),
        ("[[sink.route]]\ncategory = \"a\"\nurl = \"/a\"", ["sink.route.category", "`categories`"]),
        ("[sink.route]\ncategories = \"a\"\nurl = \"/a\"", ["sink.route", "[[sink.route]]"]),
        (
            "[[sink.route]]\ncategories = \"a\"\nurl = \"/a\"\n[[sink.route.route]]\nurl = \"/b\"",
            ["sink.route.route", "not known"],
        ),
    ] {
        let error = refuse(text);
        assert!(parts.iter().all(|part| error.contains(part)), "{text}: {error}");
    }
    // A value that is wrong in [sink] is named there, not in the route that has it from there.
    let error =
        crate::refuse("[sink]\nurl = \"/t\"\ncompression_level = 99\n[[sink.route]]\ncategories = \"a\"\nurl = \"/a\"");
    assert!(error.contains("sink.compression_level"), "{error}");
}

#[test]
fn routes_that_take_nothing_are_found() {
    let route = |categories: &str, n: u8| format!("[[sink.route]]\ncategories = {categories}\nurl = \"/{n}\"\n");
    for (first, second, hidden) in [
        ("\"*\"", "\"a.*\"", true),
        ("\"a.*\"", "[\"a.b\", \"a.c\"]", true),
        ("\"a.*\"", "\"a.*\"", true),
        ("\"a.*\"", "[\"a.b\", \"b\"]", false),
        ("\"a.b\"", "\"a.*\"", false),
    ] {
        let text = format!("[sink]\nurl = \"/t\"\n{}{}", route(first, 1), route(second, 2));
        assert_eq!(sink(&text).unreachable_routes().len(), usize::from(hidden), "{first} {second}");
        assert_eq!(parse(&text).describe().contains("warning: nothing goes to /2"), hidden);
    }
}

#[test]
fn routes_are_described_in_order_before_the_rest() {
    let text = "[sink]\nurl = \"/t\"\n[[sink.route]]\ncategories = [\"audit.*\", \"login\"]\nurl = \"/audit\"\ntarget_file_size = \"1MiB\"\n";
    let expected = "sink
  writes records with category audit.* or login to /audit in files of about 1MiB, zstd level 1
  writes the rest to /t in files of about 256MiB, zstd level 1
";
    assert_eq!(parse(text).describe(), expected);
    assert_eq!(routes("").len(), 0);
}
