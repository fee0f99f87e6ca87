use logboom_config::{PromotedType, Sink, SinkRoute};

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
  writes records with category audit.* or login to /audit in Parquet files of about 1MiB, zstd level 1
  writes the rest to /t in Parquet files of about 256MiB, zstd level 1
";
    assert_eq!(parse(text).describe(), expected);
    assert_eq!(routes("").len(), 0);
}

#[test]
fn promoted_attributes_get_columns_whose_names_need_no_quotes() {
    let columns = |promote: &str| {
        let promoted = sink(&format!("[sink]\nurl = \"/t\"\npromote = {promote}")).promote.into_iter();
        promoted.map(|it| (it.attribute, it.column, it.kind)).collect::<Vec<_>>()
    };
    let text = PromotedType::String;
    assert_eq!(columns("[]"), []);
    let expected = [("http.status", "http_status"), ("Ünit", "_nit"), ("9lives", "_9lives")];
    let expected = expected.map(|(attribute, column)| (attribute.to_owned(), column.to_owned(), text));
    assert_eq!(columns("[\"http.status\", \"Ünit\", \"9lives\"]"), expected);
    let table = "{ \"http.status\" = \"int\", ms = { type = \"float\", column = \"took_ms\" }, host = { column = \"http_host\" }, ok = \"bool\" }";
    let mut typed = columns(table);
    typed.sort_by(|a, b| a.0.cmp(&b.0));
    let typed: Vec<_> = typed.iter().map(|(_, column, kind)| (column.as_str(), *kind)).collect();
    let (int, float, truth) = (PromotedType::Int, PromotedType::Float, PromotedType::Bool);
    assert_eq!(typed, [("http_host", text), ("http_status", int), ("took_ms", float), ("ok", truth)]);
    // A route has those of the sink, or its own.
    let routes = routes(
        "promote = [\"a\"]\n[[sink.route]]\ncategories = \"a\"\nurl = \"/a\"\n[[sink.route]]\ncategories = \"b\"\nurl = \"/b\"\npromote = []",
    );
    assert_eq!(routes.iter().map(|route| route.sink.promote.len()).collect::<Vec<_>>(), [1, 0]);
}

#[test]
fn a_promoted_attribute_that_cannot_have_its_column_is_refused() {
    for (promote, parts) in [
        ("[\"body\"]", ["column `body` of every table", "my_body"]),
        ("[\"Trace.ID\"]", ["column `Trace_ID`", "`trace_id` of every table"]),
        ("[\"a.b\", \"a_b\"]", ["column `a_b`", "column of `a.b`"]),
        ("{ a = \"number\" }", ["sink.promote.a", "\"int\""]),
        ("{ a = { kind = \"int\" } }", ["sink.promote.a.kind", "not known"]),
        ("{ a = { column = \"a b\" } }", ["letters, digits", "column"]),
        ("\"a\"", ["sink.promote", "table"]),
        ("[\"\"]", ["sink.promote", "1 to 256 bytes"]),
    ] {
        let error = refuse(&format!("[sink]\nurl = \"/t\"\npromote = {promote}"));
        let fits = parts.iter().all(|part| error.contains(part));
        assert!(fits && !error.contains('\n'), "{promote}: {error}");
    }
    let many: Vec<String> = (0..65).map(|n| format!("\"a{n}\"")).collect();
    assert!(refuse(&format!("[sink]\nurl = \"/t\"\npromote = [{}]", many.join(", "))).contains("at most 64"));
}

#[test]
fn the_examples_of_the_manuals_are_good_settings() {
    let examples = |name: &str| {
        let path = format!("{}/../docs/{name}", env!("CARGO_MANIFEST_DIR"));
        let manual = std::fs::read_to_string(path).unwrap();
        let blocks = manual.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned());
        blocks.collect::<Vec<_>>()
    };
    let [routes] = &examples("sink-routing.md")[..] else { panic!() };
    assert_eq!(sink(routes).routes.len(), 2);
    let [promote] = &examples("columns.md")[..] else { panic!() };
    assert_eq!(sink(promote).promote.len(), 3);
}
