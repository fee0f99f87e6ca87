//! The settings file that says everything: every key, its default and its meaning.

use std::fmt::Write;

use crate::keys::{HEADINGS, KEYS, Key, Preset, REPEATED, SOURCE, SOURCE_TYPES};

/// A commented settings file with every key at its default, which parses to exactly the defaults.
///
/// Sources, rules and keys that are not set by default are there behind a `#` without a space; text is
/// behind a `# ` with one. `sink.url` has no default, so an example stands there.
pub fn defaults_toml() -> String {
    let mut toml = String::from(
        "# Every setting of Logboom with its default. Lines that start with `#` and a letter or bracket are\n\
         # not set by default; remove the `#` to set them. Leave out the sections that are not needed.\n",
    );
    for heading in HEADINGS {
        let _ = write!(toml, "\n# {}\n", heading.meaning);
        if heading.name == SOURCE {
            SOURCE_TYPES.iter().for_each(|source_type| repeated(&mut toml, SOURCE, source_type));
            continue;
        }
        if REPEATED.contains(&heading.name) {
            repeated(&mut toml, heading.name, "");
            continue;
        }
        let _ = writeln!(toml, "[{}]", heading.name);
        for key in KEYS.iter().filter(|key| key.heading() == heading.name) {
            let _ = writeln!(toml, "{}", entry(key, ""));
        }
    }
    toml
}

/// One source of this type, or one rule, all of it commented out.
fn repeated(toml: &mut String, heading: &str, source_type: &str) {
    let _ = write!(toml, "\n#[[{heading}]]\n");
    for key in KEYS.iter().filter(|key| key.heading() == heading && key.is_for(source_type)) {
        let entry = entry(key, source_type);
        let lines = entry.lines().map(|line| match line.starts_with('#') {
            true => line.to_owned(),
            false => format!("#{line}"),
        });
        lines.for_each(|line| {
            let _ = writeln!(toml, "{line}");
        });
    }
}

fn entry(key: &Key, source_type: &str) -> String {
    let (name, meaning) = (key.short_name(), key.meaning);
    match key.preset {
        Preset::Default(value) => format!("# {meaning}\n{name} = {value}"),
        Preset::Unset(example) => format!("# {meaning}\n#{name} = {}", example.replace("$type", source_type)),
        Preset::Required(example) => {
            format!("# {meaning} Required.\n{name} = {}", example.replace("$type", source_type))
        }
    }
}
