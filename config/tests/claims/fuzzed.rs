//! Fuzz targets of settings: files, and the small languages that values are written in.

use logboom_config::{ByteSize, Globs, HumanDuration, Pattern, Settings, Severities, Source, Template, defaults_toml};
use logboom_fuzz::fuzz;

use crate::FULL;
use crate::routes::RULE;

/// An error is one line that a terminal shows as it is.
fn assert_one_line(error: &str) {
    assert!(!error.chars().any(char::is_control) && error.len() < 2000, "{error:?}");
}

#[test]
fn no_file_makes_it_panic_or_answer_with_more_than_one_line() {
    let defaults = defaults_toml();
    fuzz(&[FULL.as_bytes(), RULE.as_bytes(), defaults.as_bytes()], |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        match Settings::parse("l.toml", text) {
            Ok(settings) => drop(settings.describe()),
            Err(error) => assert_one_line(&error.to_string()),
        }
    });
}

#[test]
fn no_source_that_is_added_makes_it_panic() {
    let seeds: [&[u8]; 4] = [
        b"type = \"tcp\"\nlisten = \"127.0.0.1:1514\"\nformat = \"json\"\n",
        br#"{"type": "syslog", "transport": "unix", "path": "/run/x", "mode": "0600", "owner": "a:b"}"#,
        b"type = \"exec\"\ncommand = [\"a\", \"b\"]\n",
        b"type = \"file\"\ninclude = [\"/var/log/*\"]\nmultiline.start = '^\\d'\ntime_format = \"%F %T\"\n",
    ];
    fuzz(&seeds, |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        if let Err(error) = Source::parse("body", text, &[]) {
            assert_one_line(&error.to_string());
        }
    });
}

#[test]
fn no_value_makes_a_parser_panic() {
    let seeds: [&[u8]; 12] = [
        b"{file_stem}.{attributes.a|lower}",
        b"k8s.{namespace}/{pod}",
        b"{{literal}}",
        b"1.5GiB",
        b"90m",
        b"1d12h",
        b">=warn",
        b"none",
        b"nginx.*",
        b"[a-c]?{x,y}*",
        b"(?i)^err(or)?\\b",
        b"(a{1,9}){1,9}",
    ];
    fuzz(&seeds, |bytes| {
        let Ok(text) = std::str::from_utf8(bytes) else { return };
        if let Ok(size) = text.parse::<ByteSize>() {
            assert_eq!(size.to_string().parse(), Ok(size));
        }
        if let Ok(duration) = text.parse::<HumanDuration>() {
            assert_eq!(duration.to_string().parse(), Ok(duration));
        }
        match text.parse::<Template>() {
            Ok(template) => assert_eq!(template.to_string().parse(), Ok(template)),
            Err(error) => assert_one_line(&error.to_string()),
        }
        drop(text.parse::<Severities>());
        if let Ok(globs) = Globs::new(vec![text.to_owned()]) {
            globs.matches(text);
        }
        if let Ok(pattern) = text.parse::<Pattern>() {
            pattern.matches(bytes);
        }
    });
}
