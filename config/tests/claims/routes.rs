use std::time::Duration;

use logboom_config::keys::KEYS;
use logboom_config::{Limit, Route};

use crate::{parse, refuse};

/// Everything that a rule can say.
pub(crate) const RULE: &str = r#"
[[adaptor.route]]
name = "all"
category = ["a", "b.*"]
source = "syslog*"
severity = ["none", "<=info", 17]
attributes = { "k8s.namespace.name" = "prod-*", env = ["a", "b"] }
body = '^\d+$'
set_category = "{k8s.namespace.name}.{category}"
remove_attributes = "user.*"
add_attributes = { team = "web" }
redact = [{ regex = '\d{13,16}' }, { regex = "a+", with = "$0", body = false, attributes = "http.*" }]
sample = 0.25
limit = { records_per_second = 10, bytes_per_second = "1MiB", burst = "5s" }
stop = true
"#;

fn routes(text: &str) -> Vec<Route> {
    parse(text).adaptor.unwrap().routes
}

fn route(lines: &str) -> Route {
    routes(&format!("[[adaptor.route]]\n{lines}")).remove(0)
}

#[test]
fn a_rule_arrives_as_it_is_written() {
    let route = routes(RULE).remove(0);
    assert_eq!(route.name, "all");
    assert!(route.category.unwrap().matches("b.c") && !route.source.unwrap().matches("a"));
    let severity = route.severity.unwrap();
    assert_eq!([0, 1, 12, 13, 17].map(|n| severity.contains(n)), [true, true, true, false, true]);
    assert_eq!(route.attributes.len(), 2);
    assert!(route.body.unwrap().regex().is_match(b"12"));
    assert_eq!(route.set_category.unwrap().to_string(), "{k8s.namespace.name}.{category}");
    assert!(route.remove_attributes.unwrap().matches("user.id"));
    assert_eq!(route.add_attributes["team"], "web");
    let [first, second] = &route.redact[..] else { panic!("{:?}", route.redact) };
    assert_eq!((first.with.as_str(), first.body, first.attributes.is_none()), ("***", true, true));
    assert_eq!((second.with.as_str(), second.body), ("$0", false));
    assert!(second.attributes.as_ref().unwrap().matches("http.url"));
    assert_eq!(route.sample.unwrap().to_string(), "0.25");
    let limit = Limit { records_per_second: Some(10), bytes_per_second: Some(1 << 20), burst: Duration::from_secs(5) };
    assert_eq!((route.limit, route.drop, route.stop), (Some(limit), false, true));
}

#[test]
fn rules_keep_their_order_and_are_named_by_it() {
    let text = "[adaptor]\nmax_categories = 7\n".to_owned() + &"[[adaptor.route]]\ndrop = true\n".repeat(2);
    let adaptor = parse(&(text + "[[adaptor.route]]\nname = \"x\"\nstop = true\n")).adaptor.unwrap();
    let names: Vec<_> = adaptor.routes.iter().map(|route| route.name.as_str()).collect();
    assert_eq!((names, adaptor.max_categories), (vec!["route-1", "route-2", "x"], 7));
}

#[test]
fn of_a_share_as_many_draws_are_kept() {
    for (share, kept) in [("1", 1000), ("1.0", 1000), ("0.5", 500), ("0.001", 1)] {
        let share = route(&format!("sample = {share}")).sample.unwrap();
        let draws = (0_u64..1000).map(|n| n * ((1 << 56) / 1000)).filter(|draw| share.keeps(draw | 0xAB << 56));
        assert_eq!((draws.count() as i32 - kept).abs() / 2, 0, "{share}");
    }
}

#[test]
fn wrong_rules_are_answered_with_what_to_write() {
    for (line, lines, answer) in [
        (2, "category = \"a\"", "drop` is missing, and so is every other action: the rule does nothing; write"),
        (2, "# nothing", "drop` is missing, and so is every other action"),
        (2, "drop = false", "drop` is missing, and so is every other action"),
        (2, "categry = \"a\"", "categry` is not known; did you mean `category`?"),
        (2, "category = []", "category` is an empty list, which matches nothing; remove it"),
        (2, "category = 5", "category` must be a glob in quotes or a list of them, not an integer"),
        (2, "category = \"[a\"", "category` is wrong: `[a` is not a glob: "),
        (4, "category = [\n\"a\",\n\"\"]", "category` is wrong: `` is not a glob: it is empty"),
        (2, "severity = \">=wran\"", "severity` is wrong: `>=wran` is not a severity; write trace, debug, info"),
        (2, "severity = 25", "severity` is wrong: `25` is not a severity"),
        (2, "severity = true", "severity` must be a severity such as \">=warn\", not a boolean"),
        (2, "severity = []", "severity` is an empty list, which matches nothing"),
        (2, "attributes = { a = 1 }", "attributes.a` must be a glob in quotes or a list of them, not an integer"),
        (2, "body = \"(\"", "body` is wrong: `(` is not a regular expression: unclosed group"),
        (2, "set_category = \"{hots}\"", "set_category` is wrong: `{hots}` has the unknown placeholder"),
        (2, "redact = [{ with = \"a\" }]", "redact` has an entry without `regex`; write { regex"),
        (2, "redact = [{ regex = \"a*\" }]", "redact.regex` can match a text of no length; write + for *"),
        (2, "redact = [{ regex = '\\b|x' }]", "redact.regex` can match a text of no length"),
        (2, "redact = [{ regex = \"a\", with = \"$1$2$3$4$5$6$7$8$9\" }]", "redact.with` must have at most 256 bytes"),
        (2, "redact = [{ regex = \"a\", wth = \"\" }]", "redact.wth` is not known; did you mean `with`?"),
        (2, "redact = [{ regex = \"a\", body = false }]", "redact` redacts neither the body nor attributes"),
        (2, "redact = \"a\"", "redact` must be a list"),
        (2, "redact = [\"a\"]", "redact` must be a table with regex, with, body, attributes, not a string"),
        (2, "sample = 0", "sample` must be above 0 and at most 1, such as 0.1 to keep a tenth"),
        (2, "sample = 1.5", "sample` must be above 0 and at most 1"),
        (2, "sample = nan", "sample` must be above 0 and at most 1"),
        (2, "sample = \"10%\"", "sample` must be a number such as 0.1, not a string"),
        (2, "limit = { burst = \"1s\" }", "limit` needs `records_per_second` or `bytes_per_second`"),
        (2, "limit = 5", "limit` must be a table with records_per_second, bytes_per_second, burst, not an integer"),
        (2, "limit.records_per_second = 0", "limit.records_per_second` must be a whole number from 1 to"),
        (2, "limit = { records_per_second = 1, burst = \"2h\" }", "limit.burst` must be from 1ms to 1h, not 2h"),
        (3, "drop = true\nsample = 0.1", "sample` has no meaning for records that are dropped; remove it, or `drop`"),
        (2, "add_attributes = { a = 1 }", "add_attributes.a` must be text in quotes, not an integer"),
    ] {
        let refusal = refuse(&format!("[[adaptor.route]]\n{lines}"));
        let expected = format!("key `adaptor.route.{answer}");
        assert!(refusal.contains(&expected), "{refusal}");
        // Where the key is missing the rule itself is named.
        let head = answer.contains("is missing") && !lines.contains("drop");
        let line = if head { 1 } else { line };
        assert!(refusal.starts_with(&format!("l.toml:{line}:")), "{refusal}");
    }
    let long = "x".repeat(5000);
    for (lines, answer) in [
        (format!("add_attributes = {{ a = \"{long}\" }}"), "add_attributes.a` is too long; a name may have 256 bytes"),
        (
            format!("add_attributes = {{ a = \"{0}\", b = \"{0}\", c = \"{0}\" }}", &long[..4000]),
            "add_attributes` has 12003 bytes of attributes; write at most 8192",
        ),
        (format!("redact = [{{ regex = \"a\", with = \"{long}\" }}]"), "redact.with` must have at most 256 bytes"),
    ] {
        assert!(refuse(&format!("[[adaptor.route]]\n{lines}")).contains(answer));
    }
}

#[test]
fn two_rules_cannot_have_one_name_nor_can_a_rule_stand_elsewhere() {
    let rule = "[[adaptor.route]]\nname = \"a\"\ndrop = true\n";
    let answer = "l.toml:5: key `adaptor.route.name` is `a`, the name of another rule; names must be unique";
    assert_eq!(refuse(&rule.repeat(2)), answer);
    let answer = "l.toml:1: key `route` is not known; did you mean `[[adaptor.route]]`?";
    assert_eq!(refuse("[[route]]\ndrop = true\n"), answer);
    let answer = "l.toml:1: key `adaptor.route` must be written `[[adaptor.route]]`, once for each route";
    assert_eq!(refuse("[adaptor.route]\ndrop = true\n"), answer);
    let source = "[[adaptor.source]]\ntype = \"stdin\"\ncategory = \"{category}\"\n";
    assert!(refuse(source).contains("category` holds `{category}`, which only a rule's `set_category` can"));
}

#[test]
fn a_description_says_what_each_rule_is_for_and_does() {
    let text = r#"
[[adaptor.route]]
name = "noise"
category = ["nginx.*", "k8s.*"]
severity = "<info"
body = "healthz"
drop = true

[[adaptor.route]]
attributes = { env = "prod" }
set_category = "prod.{category}"
redact = [{ regex = "a+", attributes = ["http.*"] }]
sample = 0.1
limit = { records_per_second = 5, bytes_per_second = "1MiB" }
stop = true
"#;
    let description = parse(text).describe();
    for line in [
        "  rule noise: records with category nginx.* or k8s.*, severity <info, body /healthz/: are dropped\n",
        "  rule route-2: records with env prod: get the category prod.{category}, have /a+/ replaced in the body and the \
         attributes http.*, 0.1 of them are kept, at most 5 records and 1MiB a second of each category are kept (burst 1s), \
         then no further rule\n",
    ] {
        assert!(description.contains(line), "{description}");
    }
}

#[test]
fn the_manual_names_every_key_and_its_examples_can_be_read() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/routing.md");
    let manual = std::fs::read_to_string(path).unwrap();
    let examples: Vec<&str> = manual.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert_eq!(examples.len(), 6);
    examples.iter().for_each(|example| drop(parse(example)));
    let together = parse(&examples[..5].concat()).adaptor.unwrap();
    assert_eq!(together.routes.len(), 9);
    for key in KEYS.iter().filter(|key| key.heading() == "adaptor.route") {
        assert!(manual.contains(&format!("`{}`", key.short_name())), "{}", key.name);
    }
}
