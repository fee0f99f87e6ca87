use super::*;
use crate::source::testing::fuzz;
use crate::source::{Batch, Inlet};

#[test]
fn rules_that_cannot_apply_leave_plain_lines_as_fast_as_they_are_without_rules() {
    let rules = r#"
[[adaptor.route]]
category = "other"
redact = [{ regex = "x" }]
[[adaptor.route]]
source = "other"
drop = true
[[adaptor.route]]
severity = ">=warn"
sample = 0.5
[[adaptor.route]]
attributes = { env = "prod" }
limit = { records_per_second = 1 }
[[adaptor.route]]
category = "ho*"
add_attributes = { team = "web" }
remove_attributes = "host"
redact = [{ regex = "x", attributes = ["*"], body = false }]
set_category = "far.{category}"
"#;
    let context = with_rules(rules);
    let mut funnel = funnel(&context);
    let mut chunk = Chunk::default();
    assert!(!funnel.is_fast());
    funnel.line(0, b"x", &mut chunk);
    assert!(funnel.is_fast(), "known after the first line");
    funnel.line(0, b"y", &mut chunk);
    let expected = |body| Seen::new("far.home", body).with("team", "web");
    assert_eq!(taken(&context.intake, chunk), [expected("x"), expected("y")]);

    funnel.set_common([("env", "prod")].into_iter());
    let mut chunk = Chunk::default();
    (0..3).for_each(|_| funnel.line(0, b"x", &mut chunk));
    assert!(!funnel.is_fast(), "now the limit is for them");
    assert_eq!((chunk.records(), chunk.dropped()), (1, 2));
    for rule in
        ["body = \"\"\ndrop = true", "sample = 0.5", "severity = \"none\"\nstop = true", "redact = [{ regex = \"x\" }]"]
    {
        let context = with_rules(&format!("[[adaptor.route]]\n{rule}\n"));
        let mut funnel = super::funnel(&context);
        funnel.line(0, b"x", &mut Chunk::default());
        assert!(!funnel.is_fast(), "{rule}");
    }
}

#[test]
fn connections_share_buckets() {
    let context = with_rules("[[adaptor.route]]\nlimit = { records_per_second = 10 }\n");
    let inlet = Inlet::new(source("home"), context);
    let mut chunk = Chunk::default();
    for mut funnel in (0..8).map(|_| inlet.funnel()) {
        (0..5).for_each(|_| funnel.line(0, b"x", &mut chunk));
    }
    assert_eq!((chunk.records(), chunk.dropped()), (10, 30));
}

#[test]
fn beyond_the_cap_categories_go_to_the_overflow_and_those_of_the_settings_never_do() {
    let rules = r#"
[adaptor]
max_categories = 2
[[adaptor.route]]
category = "go"
set_category = "named-by-a-rule"
"#;
    let context = with_rules(rules);
    let mut funnels = [funnel(&context), Funnel::new(&source("late"), &context, None)];
    let mut chunk = Chunk::default();
    for category in ["a", "b", "c", "a", "d", "c", "go", "_overflow"] {
        let own = Record { attributes: &[("k", "v"), ("logboom.category", "old")], ..record(category) };
        funnels[0].record(Some(category), &own, &mut chunk);
    }
    funnels.iter_mut().for_each(|funnel| funnel.line(0, b"line", &mut chunk));
    let seen = taken(&context.intake, chunk);
    let mut places: Vec<_> = seen.iter().map(|seen| format!("{}:{}", seen.category, seen.body)).collect();
    places.sort();
    let expected = [
        "_overflow:_overflow",
        "_overflow:c",
        "_overflow:c",
        "_overflow:d",
        "a:a",
        "a:a",
        "b:b",
        "home:line",
        "late:line",
        "named-by-a-rule:go",
    ];
    assert_eq!(places, expected);
    let overflowed = seen.iter().filter(|seen| seen.category == "_overflow" && seen.body != "_overflow");
    assert!(
        overflowed
            .into_iter()
            .all(|seen| seen.attributes["logboom.category"] == seen.body && seen.attributes["k"] == "v")
    );
    assert_eq!(context.counters.records_overflowed.get(), 3);
}

#[test]
fn a_category_that_no_record_is_stored_under_takes_no_room() {
    let rules = r#"
[adaptor]
max_categories = 1
[[adaptor.route]]
category = "raw.*"
body = ""
set_category = "cooked"
[[adaptor.route]]
category = "noise.*"
drop = true
"#;
    let context = with_rules(rules);
    let mut funnel = funnel(&context);
    let mut chunk = Chunk::default();
    for category in ["raw.1", "raw.2", "noise.1", "noise.2", "other"] {
        funnel.record(Some(category), &record("x"), &mut chunk);
    }
    let categories: Vec<_> = taken(&context.intake, chunk).into_iter().map(|seen| seen.category).collect();
    assert_eq!(categories, ["cooked", "cooked", "other"]);
}

#[test]
fn a_producer_that_makes_up_categories_and_attributes_does_not_fill_the_memory() {
    let rules = r#"
[[adaptor.route]]
category = "a.*"
severity = "none"
add_attributes = { a = "b" }
limit = { records_per_second = 1 }
[[adaptor.route]]
attributes = { "to.category" = "*" }
set_category = "{to.category}"
"#;
    let context = with_rules(rules);
    let mut funnel = funnel(&context);
    for round in 0..5 {
        let mut chunk = Chunk::default();
        for n in 0..1500 {
            let to = format!("to.{round}.{n}");
            let record = Record { attributes: &[("to.category", &to)], ..record("x") };
            funnel.record(Some(&format!("a.{round}.{n}")), &record, &mut chunk);
        }
        assert_eq!(chunk.records() + chunk.dropped(), 1500);
        assert!(chunk.keys() <= 1000 + 2);
        assert!(funnel.lanes() <= 2000 + 10);
    }
}

#[tokio::test]
async fn a_batch_that_rules_drop_is_answered_at_once_and_a_full_spool_does_not_refuse_it() {
    let context = with_rules("[[adaptor.route]]\ndrop = true\n");
    let inlet = Inlet::new(source("home"), context.clone());
    let mut batch = Batch::default();
    inlet.funnel().record(None, &record("x"), batch.chunk(1));
    context.intake.refuse_all(true);
    assert_eq!(inlet.store(batch).await, Ok(()));
}

#[test]
fn no_record_makes_it_panic() {
    let rules = r#"
[[adaptor.route]]
body = '(?i)[a-f]+\d?'
set_category = "{a.b}.{category}"
[[adaptor.route]]
attributes = { "k{" = "[a-z]*" }
remove_attributes = ["?", "a*"]
[[adaptor.route]]
category = "*.in"
redact = [{ regex = '(?-u)[\x80-\xff](.)?', with = "$1", attributes = "*" }, { regex = 'x' }]
add_attributes = { "a.b" = "c" }
limit = { records_per_second = 100, bytes_per_second = 1000 }
[[adaptor.route]]
severity = ["none", "<=17"]
redact = [{ regex = "." , with = "é$0", attributes = ["*"] }]
sample = 0.9
"#;
    let context = with_rules(rules);
    let mut source = source("{a.b}");
    source.max_line = 64;
    let mut funnel = Funnel::new(&source, &context, None);
    let corpus: [&[u8]; 4] = [b"", b"a.b\xc3\xa9=k{", b"\x01\x02abcdef0123456789", &[b'x'; 300]];
    fuzz(&corpus, |bytes| {
        let text = String::from_utf8_lossy(bytes);
        let texts: Vec<&str> = text.split('=').collect();
        let attributes: Vec<_> = texts.windows(2).map(|pair| (pair[0], pair[1])).chain([("a.b", texts[0])]).collect();
        let number = bytes.first().copied().unwrap_or(0);
        let observed = i64::from(number) << (number % 60);
        let record =
            Record { body: bytes, attributes: &attributes, severity_number: number, observed, ..Record::default() };
        let mut chunk = Chunk::default();
        funnel.record(texts.get(1).copied(), &record, &mut chunk);
        funnel.set_common(attributes.iter().copied().take(3));
        funnel.line(observed, bytes, &mut chunk);
        assert!(chunk.records() + chunk.dropped() >= 2);
        seen(&context, chunk);
    });
}
