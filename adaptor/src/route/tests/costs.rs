use std::time::Instant;

use super::*;

/// What a record costs with rules, in ns. Run it in release:
/// `cargo test --release -p logboom-adaptor --lib route_costs -- --ignored --nocapture`.
#[test]
#[ignore = "it measures"]
fn route_costs() {
    let line =
        r#"192.0.2.17 - - [21/Nov/2023:09:04:11 +0000] "GET /a/b/c?d=12345 HTTP/1.1" 200 5123 "-" "curl/8.5.0" 0.012"#;
    let many: String = (0..100).map(|n| format!("[[adaptor.route]]\ncategory = \"x{n}.*\"\ndrop = true\n")).collect();
    let cases = [
        ("no rules", "[adaptor]\n"),
        ("100 rules for other categories", &many),
        (
            "an attribute and a category for all",
            "[[adaptor.route]]\nset_category = \"x\"\nadd_attributes = { a = \"b\" }\n",
        ),
        ("a severity that lines do not have", "[[adaptor.route]]\nseverity = \"<info\"\ndrop = true\n"),
        ("a body that does not match", "[[adaptor.route]]\nbody = 'GET /healthz'\ndrop = true\n"),
        ("a redaction without a match", "[[adaptor.route]]\nredact = [{ regex = '\\b\\d{13,16}\\b' }]\n"),
        ("a redaction with a match", "[[adaptor.route]]\nredact = [{ regex = '\\d+\\.\\d+\\.\\d+\\.\\d+' }]\n"),
        ("an attribute for some", "[[adaptor.route]]\nbody = 'GET'\nadd_attributes = { a = \"b\" }\n"),
        ("a sample", "[[adaptor.route]]\nsample = 0.1\n"),
        ("a limit", "[[adaptor.route]]\nlimit = { records_per_second = 1000 }\n"),
        ("dropped", "[[adaptor.route]]\ndrop = true\n"),
    ];
    for (name, rules) in cases {
        let context = with_rules(rules);
        let mut funnel = funnel(&context);
        let (rounds, lines) = (500, 480);
        let measured = |each: &mut dyn FnMut(&mut Chunk)| {
            let start = Instant::now();
            for _ in 0..rounds {
                let mut chunk = Chunk::default();
                (0..lines).for_each(|_| each(&mut chunk));
                std::hint::black_box(chunk.records());
            }
            start.elapsed().as_nanos() / (rounds * lines)
        };
        let plain = measured(&mut |chunk| funnel.line(1, line.as_bytes(), chunk));
        let record = Record { severity_number: 9, attributes: &[("k8s.pod.name", "a-1")], ..record(line) };
        let named = measured(&mut |chunk| funnel.record(Some("named"), &record, chunk));
        println!("{name}: {plain} ns a line, {named} ns a record with a category and an attribute");
    }
}
