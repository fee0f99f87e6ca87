//! The rules read plainly, one record and one rule after the other, against what lanes make of them.

use std::collections::{BTreeMap, HashMap};

use logboom_config::{RecordValues, Route, Settings, TemplateValues};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::*;

/// A record as a reader of the rules has it in mind.
#[derive(Clone)]
struct Plain {
    seen: Seen,
    severity: u8,
}

impl RecordValues for Plain {
    fn attribute(&self, name: &str) -> Option<&str> {
        self.seen.attributes.get(name).map(String::as_str)
    }

    fn severity(&self) -> &str {
        ""
    }

    fn category(&self) -> Option<&str> {
        Some(&self.seen.category)
    }
}

/// What is stored of the record; none if it is dropped. `passed` counts by rule and category what a limit let pass.
fn plainly(routes: &[Route], mut record: Plain, passed: &mut HashMap<(usize, String), u64>) -> Option<Seen> {
    for (number, route) in routes.iter().enumerate() {
        let Plain { seen, severity } = &mut record;
        let met = route.category.as_ref().is_none_or(|globs| globs.matches(&seen.category))
            && route.source.as_ref().is_none_or(|globs| globs.matches("in"))
            && route.severity.as_ref().is_none_or(|severities| severities.contains(*severity))
            && route.attributes.iter().all(|(name, globs)| seen.attributes.get(name).is_some_and(|v| globs.matches(v)))
            && route.body.as_ref().is_none_or(|pattern| pattern.regex().is_match(seen.body.as_bytes()));
        if !met {
            continue;
        }
        if let Some(template) = &route.set_category {
            let mut category = String::new();
            let values = TemplateValues { file_path: None, source: "in", host: "host-1" };
            template.render_into(&values, &record, &mut category);
            record.seen.category = category;
        }
        let Seen { category, body, attributes } = &mut record.seen;
        if let Some(globs) = &route.remove_attributes {
            attributes.retain(|name, _| !globs.matches(name));
        }
        attributes.extend(route.add_attributes.clone());
        for redaction in &route.redact {
            let redacted = |text: &str| {
                let text = redaction.pattern.regex().replace_all(text.as_bytes(), redaction.with.as_bytes());
                String::from_utf8(text.into_owned()).unwrap()
            };
            if redaction.body {
                *body = redacted(body);
            }
            for (name, value) in attributes.iter_mut() {
                if redaction.attributes.as_ref().is_some_and(|globs| globs.matches(name)) {
                    *value = redacted(value);
                }
            }
        }
        if let Some(limit) = route.limit {
            let passed = passed.entry((number, category.clone())).or_default();
            if *passed == limit.records_per_second.unwrap() {
                return None;
            }
            *passed += 1;
        }
        if route.drop {
            return None;
        }
        if route.stop {
            break;
        }
    }
    Some(record.seen)
}

fn rule(random: &mut StdRng) -> String {
    const CONDITIONS: [&str; 10] = [
        "category = \"a*\"",
        "category = [\"b\", \"home\"]",
        "category = \"*.c\"",
        "source = \"in\"",
        "source = \"out\"",
        "severity = [\"none\", \">=error\"]",
        "severity = \"<error\"",
        "attributes = { \"k.1\" = \"*\" }",
        "attributes = { \"k.2\" = [\"x\", \"sec*\"], \"k.1\" = \"?\" }",
        "body = \"[0-4]\"",
    ];
    const ACTIONS: [&str; 13] = [
        "set_category = \"a\"",
        "set_category = \"{category}.c\"",
        "set_category = \"{k.1}.{category}\"",
        "set_category = \"b\"",
        "remove_attributes = \"k.1\"",
        "remove_attributes = [\"*.2\", \"k.3\"]",
        "add_attributes = { \"k.1\" = \"x\" }",
        "add_attributes = { \"k.2\" = \"secret\", \"k.4\" = \"y\" }",
        "redact = [{ regex = \"[0-3]\", attributes = \"k.2\" }]",
        "redact = [{ regex = \"(s)ecret\", with = \"$1\", body = false, attributes = \"k.*\" }, { regex = \"5\", with = \"1\" }]",
        "limit = { records_per_second = 7 }",
        "stop = true",
        "drop = true",
    ];
    let mut lines: BTreeMap<&str, &str> = BTreeMap::new();
    for (choices, count) in [(&CONDITIONS[..], random.random_range(0..3)), (&ACTIONS[..], random.random_range(1..4))] {
        for line in choices.choose_multiple(random, count) {
            lines.entry(line.split(' ').next().unwrap()).or_insert(line);
        }
    }
    if lines.contains_key("drop") {
        lines.retain(|key, _| ["category", "source", "severity", "attributes", "body", "drop"].contains(key));
    }
    "[[adaptor.route]]\n".to_owned() + &lines.into_values().collect::<Vec<_>>().join("\n") + "\n"
}

#[test]
fn lanes_do_what_the_rules_say() {
    const KEYS: [&str; 4] = ["k.1", "k.2", "k.3", "k.4"];
    const VALUES: [&str; 5] = ["x", "y", "secret", "a.b", "12"];
    for seed in 0..400 {
        let mut random = StdRng::seed_from_u64(seed);
        let rules: String = (0..random.random_range(1..7)).map(|_| rule(&mut random)).collect();
        let context = with_rules(&rules);
        let routes = Settings::parse("rules", &rules).unwrap().adaptor.unwrap().routes;
        let mut funnels = [funnel(&context), funnel(&context)];
        let (mut passed, mut expected, mut chunk) = (HashMap::new(), Vec::new(), Chunk::default());
        let attributes = |random: &mut StdRng| -> Vec<(&str, &str)> {
            let mut keys = KEYS.to_vec();
            keys.retain(|_| random.random_bool(0.4));
            keys.into_iter().map(|key| (key, *VALUES.choose(random).unwrap())).collect()
        };
        let mut common = [Vec::new(), Vec::new()];
        for _ in 0..60 {
            let which = random.random_range(0..2);
            if random.random_bool(0.1) {
                common[which] = attributes(&mut random);
                funnels[which].set_common(common[which].iter().copied());
            }
            let body = random.random_range(0..12).to_string();
            let category =
                ["a", "b", "a.c", "home", "z"].choose(&mut random).copied().filter(|_| random.random_bool(0.7));
            let own = if random.random_bool(0.5) { attributes(&mut random) } else { Vec::new() };
            let severity = [0, 0, 9, 17].choose(&mut random).copied().unwrap();
            let record = Record { severity_number: severity, attributes: &own, ..record(&body) };
            match category.is_none() && own.is_empty() && severity == 0 {
                true => funnels[which].line(0, body.as_bytes(), &mut chunk),
                false => funnels[which].record(category, &record, &mut chunk),
            }
            let mut seen = Seen::new(category.unwrap_or("home"), &body);
            let all = common[which].iter().chain(&own).map(|(key, value)| (key.to_string(), value.to_string()));
            seen.attributes.extend(all);
            expected.extend(plainly(&routes, Plain { seen, severity }, &mut passed));
        }
        assert_eq!(chunk.records() + chunk.dropped(), 60);
        let mut stored = seen(&context, chunk);
        let order = |seen: &Seen| (seen.category.clone(), seen.body.clone(), seen.attributes.clone());
        stored.sort_by_key(order);
        expected.sort_by_key(order);
        assert_eq!(stored, expected, "seed {seed}\n{rules}");
    }
}
