use super::*;

#[test]
fn a_rule_is_for_records_that_meet_all_its_conditions() {
    let rule = r#"
[[adaptor.route]]
category = ["a.*", "b"]
source = "i?"
severity = ">=warn"
attributes = { env = "prod-*", n = "*" }
body = 'time(d )?out'
set_category = "met"
"#;
    let met = Record { severity_number: 13, attributes: &[("env", "prod-1"), ("n", "")], ..record("a timeout") };
    let all = [
        ("a.1", met),
        ("b", Record { severity_number: 24, ..met }),
        ("c", met),
        ("a.2", Record { severity_number: 12, ..met }),
        ("a.3", Record { severity_number: 0, ..met }),
        ("a.4", Record { attributes: &[("env", "prod-1")], ..met }),
        ("a.5", Record { attributes: &[("env", "test"), ("n", "")], ..met }),
        ("a.6", Record { body: b"in time", ..met }),
        ("a.7", Record { body: b"\xff\x00timed out\n", ..met }),
        // Of an attribute that is there twice, the last counts.
        ("a.8", Record { attributes: &[("env", "test"), ("n", ""), ("env", "prod-2")], ..met }),
    ];
    let met = stored(rule, &all).into_iter().filter(|seen| seen.category == "met").count();
    assert_eq!(met, 4);
    let categories = stored(rule, &all).into_iter().filter(|seen| seen.category != "met").map(|seen| seen.category);
    assert_eq!(categories.collect::<Vec<_>>(), ["a.2", "a.3", "a.4", "a.5", "a.6", "c"]);
    let other = rule.replace("\"i?\"", "[\"i\", \"inn\"]");
    assert!(stored(&other, &all).iter().all(|seen| seen.category != "met"));
}

#[test]
fn rules_go_on_in_order_and_each_sees_what_the_ones_before_have_left() {
    let rules = r#"
[[adaptor.route]]
category = "a"
set_category = "b"
add_attributes = { x = "1" }
[[adaptor.route]]
category = "a"
drop = true
[[adaptor.route]]
category = "b"
attributes = { x = "1" }
redact = [{ regex = "secret" }]
remove_attributes = "x"
[[adaptor.route]]
body = "secret"
drop = true
[[adaptor.route]]
attributes = { x = "*" }
drop = true
"#;
    let sent = [("a", record("1 secret")), ("b", record("2 secret")), ("b", record("3"))];
    assert_eq!(places(rules, &sent), ["b:1 ***", "b:3"]);
    let own = Record { attributes: &[("x", "2")], ..record("secret") };
    assert_eq!(stored(rules, &[("a", own)]), [Seen::new("b", "***")], "an added attribute replaces the record's own");
}

#[test]
fn a_rule_that_stops_keeps_its_records_from_those_after_it() {
    let rules = r#"
[[adaptor.route]]
category = "audit"
stop = true
[[adaptor.route]]
severity = "fatal"
stop = true
[[adaptor.route]]
drop = true
"#;
    let fatal = Record { severity_number: 21, ..record("2") };
    assert_eq!(places(rules, &[("audit", record("1")), ("x", fatal), ("x", record("3"))]), ["audit:1", "x:2"]);
}

#[test]
fn a_category_may_be_made_of_what_the_record_says() {
    let rules = r#"
[[adaptor.route]]
category = "k8s.*"
set_category = "{k8s.namespace.name}.{category}.{severity}"
[[adaptor.route]]
category = "shop.*"
set_category = "big.{category}"
[[adaptor.route]]
category = "plain"
set_category = "{source}-{host}-{category}"
"#;
    let shop = Record { severity_text: "info", attributes: &[("k8s.namespace.name", "shop")], ..record("1") };
    let strange = Record { attributes: &[("k8s.namespace.name", "a\nb")], ..record("2") };
    let sent = [("k8s.x", shop), ("k8s.y", strange), ("plain", record("3")), ("k8s.z", record("4"))];
    let expected = ["a_b.k8s.y.in:2", "big.shop.k8s.x.info:1", "in-host-1-plain:3", "in.k8s.z.in:4"];
    assert_eq!(places(rules, &sent), expected);
}

#[test]
fn attributes_are_removed_and_added_whether_they_are_common_or_the_records_own() {
    for condition in ["", "severity = [\"none\", \"info\"]", "body = \"\""] {
        let rule = format!(
            "[[adaptor.route]]\n{condition}\nremove_attributes = [\"user.*\", \"k\"]\nadd_attributes = {{ team = \"web\", k = \"new\" }}"
        );
        let context = with_rules(&rule);
        let mut funnel = funnel(&context);
        funnel.set_common([("user.id", "7"), ("stays", "common"), ("team", "old")].into_iter());
        let mut chunk = Chunk::default();
        funnel.line(0, b"1", &mut chunk);
        let own = Record {
            attributes: &[("user.name", "x"), ("k", "own"), ("stays", "own"), ("team", "own")],
            ..record("2")
        };
        funnel.record(None, &own, &mut chunk);
        let mut seen = taken(&context.intake, chunk);
        seen.sort_by_key(|seen| seen.body.clone());
        let expected = |body, stays| Seen::new("home", body).with("stays", stays).with("team", "web").with("k", "new");
        assert_eq!(seen, [expected("1", "common"), expected("2", "own")], "{condition}");
    }
}

#[test]
fn what_is_added_to_every_record_lies_with_its_run_and_what_is_added_to_some_does_not() {
    let context = with_rules(
        "[[adaptor.route]]\nadd_attributes = { team = \"web\" }\n[[adaptor.route]]\nbody = \"x\"\nadd_attributes = { x = \"y\" }\n",
    );
    let mut funnel = funnel(&context);
    let mut chunk = Chunk::default();
    ["1", "x", "2", "x"].iter().for_each(|line| funnel.line(0, line.as_bytes(), &mut chunk));
    assert_eq!(chunk.keys(), 1, "one run for all");
}

#[test]
fn secrets_are_replaced_in_bodies_and_attributes() {
    let rule = r#"
[[adaptor.route]]
redact = [
  { regex = '\b\d{13,16}\b', with = "<card>", attributes = ["http.*"] },
  { regex = 'token=(\w{2})\w*', with = "token=$1…", attributes = "http.url", body = false },
]
"#;
    let context = with_rules(rule);
    let mut funnel = funnel(&context);
    funnel.set_common([("http.common", "4111111111111111"), ("other", "4111111111111111")].into_iter());
    let mut chunk = Chunk::default();
    let own = [("http.url", "/pay?token=abcdef&card=4111111111111111"), ("note", "4111111111111111")];
    let body = b"card 4111111111111111, \xff token=abcdef";
    funnel.record(None, &Record { attributes: &own, body, ..Record::default() }, &mut chunk);
    funnel.line(0, b"4111111111111111", &mut chunk);
    let common = |body| Seen::new("home", body).with("http.common", "<card>").with("other", "4111111111111111");
    let first = common("card <card>, \u{fffd} token=abcdef")
        .with("http.url", "/pay?token=ab…&card=<card>")
        .with("note", "4111111111111111");
    assert_eq!(taken(&context.intake, chunk), [first, common("<card>")]);
}

#[test]
fn a_body_that_a_redaction_makes_too_long_is_cut_and_counted() {
    let context = with_rules("[[adaptor.route]]\nredact = [{ regex = \"a\", with = \"12345\" }, { regex = \"5\" }]\n");
    let mut source = source("home");
    source.max_line = 64;
    let mut funnel = Funnel::new(&source, &context, None);
    let mut chunk = Chunk::default();
    funnel.line(0, "a".repeat(60).as_bytes(), &mut chunk);
    let seen = taken(&context.intake, chunk);
    // Cut by the first redaction, and by the second again.
    assert_eq!((seen[0].body.len(), &seen[0].body[..7]), (64, "1234***"));
    assert_eq!(context.counters.lines_truncated.get(), 2);
}

#[test]
fn a_sample_keeps_traces_whole() {
    let rule = "[[adaptor.route]]\nname = \"s\"\nsample = 0.25\n";
    let context = with_rules(rule);
    let mut kept = Vec::new();
    for n in 0..512_u64 {
        // The last seven bytes decide, as OpenTelemetry's samplers have it.
        let id = 1 << 64 | u128::from(n) << 56 | u128::from(n << (56 - 9));
        let mut chunk = Chunk::default();
        for body in ["1", "2", "3"] {
            funnel(&context).record(None, &Record { trace_id: Some(id.to_be_bytes()), ..record(body) }, &mut chunk);
        }
        assert_eq!(chunk.records() + chunk.dropped(), 3);
        assert!(matches!(chunk.records(), 0 | 3));
        kept.extend((chunk.records() == 3).then_some(n));
    }
    assert_eq!(kept, (384..512).collect::<Vec<_>>());
    assert_eq!(context.routes.report(), "s/sample=1152");
}

#[test]
fn a_sample_of_records_without_a_trace_is_drawn_at_random() {
    let context = with_rules("[[adaptor.route]]\nsample = 0.1\n");
    let mut funnel = funnel(&context);
    let mut chunk = Chunk::default();
    for n in 0..50_000 {
        let trace_id = (n % 2 == 0).then_some([0; 16]);
        funnel.record(None, &Record { trace_id, ..record("x") }, &mut chunk);
    }
    // Six standard deviations.
    assert!((4600..5400).contains(&chunk.records()), "{}", chunk.records());
    assert_eq!(chunk.records() + chunk.dropped(), 50_000);
}

#[test]
fn a_limit_holds_for_each_category_as_the_rule_has_set_it() {
    let rules = r#"
[[adaptor.route]]
name = "l"
category = "in.*"
set_category = "{to.category}"
limit = { records_per_second = 3 }
"#;
    let to = |attributes| Record { attributes, ..record("x") };
    let (a, b) = (to(&[("to.category", "a")]), to(&[("to.category", "b")]));
    let sent: Vec<_> = (0..5).flat_map(|_| [("in.1", a), ("in.2", a), ("in.3", b), ("else", a)]).collect();
    let places = places(rules, &sent);
    let count = |place: &str| places.iter().filter(|other| *other == place).count();
    assert_eq!([count("a:x"), count("b:x"), count("else:x")], [3, 3, 5]);
}

#[test]
fn a_limit_counts_bytes_after_redaction_and_time_by_when_records_were_observed() {
    let rules = "[[adaptor.route]]\nredact = [{ regex = \"y+\", with = \"\" }]\nlimit = { bytes_per_second = 10 }\n";
    let body = "xx".to_owned() + &"y".repeat(1000);
    let at = |observed: i64| ("c", Record { observed, ..record(&body) });
    let second = 1_000_000_000;
    let sent: Vec<_> = [0; 10].map(at).into_iter().chain([second; 10].map(at)).collect();
    assert_eq!(stored(rules, &sent).len(), 10);
}

#[test]
fn what_is_dropped_is_counted_by_rule_and_reason() {
    let context = with_rules(
        r#"
[[adaptor.route]]
name = "noise"
body = "^GET /healthz"
drop = true
[[adaptor.route]]
name = "flood"
limit = { records_per_second = 2 }
[[adaptor.route]]
category = "never"
sample = 0.5
[[adaptor.route]]
add_attributes = { a = "b" }
"#,
    );
    let mut funnel = funnel(&context);
    let mut chunk = Chunk::default();
    for line in ["GET /healthz 200", "1", "2", "3", "GET /healthz 200", "GET /healthz 200"] {
        funnel.line(0, line.as_bytes(), &mut chunk);
    }
    assert_eq!((chunk.records(), chunk.dropped()), (2, 4));
    let counts = context.routes.counts();
    let expected = [("noise", 3), ("flood", 1), ("route-3", 0), ("route-4", 0)];
    assert_eq!(counts, expected.map(|(name, count)| (name.to_owned(), count)));
    let dropped: Vec<_> = context.routes.dropped().collect();
    assert_eq!(dropped, [("noise", Reason::Drop, 3), ("flood", Reason::Limit, 1), ("route-3", Reason::Sample, 0)]);
    assert_eq!(context.routes.report(), "noise/drop=3 flood/limit=1");
    assert_eq!(context.counters.records_dropped_by_route.get(), 4);
}

#[test]
fn the_examples_of_the_manual_do_what_it_says() {
    let manual = include_str!("../../../../docs/routing.md");
    let examples: Vec<&str> = manual.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let probe = record(r#"10.0.0.1 - - [21/Nov/2023:09:04:11 +0000] "GET /healthz HTTP/1.1" 200 2 "-" "probe""#);
    let page = record(r#"10.0.0.1 - - [21/Nov/2023:09:04:11 +0000] "GET /?q=GET+/healthz HTTP/1.1" 200 2 "-" "x""#);
    let sent = [("nginx.access", probe), ("apache", probe), ("nginx.access", page)];
    assert_eq!(
        stored(examples[0], &sent).iter().map(|seen| &*seen.category).collect::<Vec<_>>(),
        ["apache", "nginx.access"]
    );

    let pod = [
        ("k8s.namespace.name", "prod-eu"),
        ("k8s.container.name", "web"),
        ("k8s.pod.uid", "u"),
        ("log.file.path", "/p"),
    ];
    let expected = Seen::new("prod-eu.web", "x").with("env", "prod");
    let expected = expected.with("k8s.namespace.name", "prod-eu").with("k8s.container.name", "web");
    assert_eq!(stored(examples[1], &[("a", Record { attributes: &pod, ..record("x") })]), [expected]);

    let url = [("url.query", "a=b&token=abc&c=d"), ("http.card", "4111111111111111"), ("note", "token=abc")];
    let expected = Seen::new("a", "password=*** and <card>").with("url.query", "a=b&token=***&c=d");
    let expected = expected.with("http.card", "<card>").with("note", "token=abc");
    let sent = Record { attributes: &url, ..record("password=hunter2 and 4111111111111111") };
    assert_eq!(stored(examples[2], &[("a", sent)]), [expected]);

    let flood: Vec<_> = std::iter::repeat_n(("a", record("x")), 60_000).collect();
    assert_eq!(stored(examples[3], &flood).len(), 50_000);
    let errors: Vec<_> = flood.iter().map(|(_, x)| ("a", Record { severity_number: 17, ..*x })).collect();
    assert_eq!(stored(examples[3], &errors).len(), 60_000);

    let example = examples[4].replace("syslog*", "in*");
    let from = |app| Record { attributes: app, ..record("x") };
    let sent =
        [("a", from(&[("syslog.app_name", "crond")])), ("b", from(&[("syslog.app_name", "x")])), ("c", from(&[]))];
    assert_eq!(stored(&example, &sent).len(), 1);
}
