//! `docs/sources.md` has every key of every source, as the table of keys has it. `LOGBOOM_WRITE_DOCS=1` writes them there.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use logboom_config::keys::{KEYS, Key, Preset};

use crate::parse;

const HEADING: &str = "adaptor.source";

fn table(keys: &[&Key]) -> String {
    let mut table = String::from("\n| key | default | meaning |\n|---|---|---|\n");
    for key in keys {
        let default = match key.preset {
            Preset::Default(value) => format!("`{value}`"),
            Preset::Unset(_) => "not set".to_owned(),
            Preset::Required(_) => "required".to_owned(),
        };
        let meaning = key.meaning.replace('|', "\\|");
        let _ = writeln!(table, "| `{}` | {default} | {meaning} |", key.short_name());
    }
    table + "\n"
}

#[test]
fn the_manual_of_sources_has_every_key() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/sources.md");
    let mut manual = fs::read_to_string(&path).unwrap();
    let keys: Vec<&Key> = KEYS.iter().filter(|key| key.heading() == HEADING).collect();
    let lines = ["file", "unix", "tcp", "udp", "stdin", "exec"];
    let is_of_lines = |key: &Key| !key.types.is_empty() && lines.iter().all(|name| key.types.contains(name));
    let mut sections: Vec<(String, Vec<&Key>)> = vec![
        ("lines".to_owned(), keys.iter().copied().filter(|key| is_of_lines(key)).collect()),
        ("every source".to_owned(), keys.iter().copied().filter(|key| key.types.is_empty()).collect()),
    ];
    let mut types: Vec<&str> = keys.iter().flat_map(|key| key.types).copied().filter(|name| *name != "stdin").collect();
    types.sort_unstable();
    types.dedup();
    for name in types {
        let own = keys.iter().copied().filter(|key| key.types.contains(&name) && !is_of_lines(key));
        sections.push((name.to_owned(), own.collect()));
    }
    for (name, keys) in sections {
        let begin = format!("<!-- keys of {name} -->\n");
        let from = manual.find(&begin).unwrap_or_else(|| panic!("{} has no `{begin}`", path.display())) + begin.len();
        let to = from + manual[from..].find("<!-- end -->").unwrap();
        let table = table(&keys);
        if std::env::var_os("LOGBOOM_WRITE_DOCS").is_some() {
            manual.replace_range(from..to, &table);
        } else {
            assert_eq!(
                manual[from..to],
                table,
                "of {name}; LOGBOOM_WRITE_DOCS=1 cargo test -p logboom-config writes it"
            );
        }
    }
    if std::env::var_os("LOGBOOM_WRITE_DOCS").is_some() {
        fs::write(&path, manual).unwrap();
    }
}

#[test]
fn the_examples_of_the_manual_are_good_settings() {
    let manual = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/sources.md")).unwrap();
    let blocks: Vec<&str> = manual.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let sources = parse(&blocks.concat()).adaptor.unwrap().sources;
    assert_eq!(sources.len(), blocks.len(), "each example is a source");
}
