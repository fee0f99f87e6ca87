use logboom_config::{Body, Format, MultilineRule, Source, TimeFormat};

use crate::{parse, refuse};

fn source(lines: &str) -> Source {
    parse(&format!("[[adaptor.source]]\ntype = \"stdin\"\n{lines}")).adaptor.unwrap().sources.remove(0)
}

fn refusal(lines: &str) -> String {
    refuse(&format!("[[adaptor.source]]\ntype = \"stdin\"\n{lines}"))
}

#[test]
fn every_format_has_its_name_and_its_body() {
    for (name, format, body) in [
        ("lines", Format::Lines, Body::Line),
        ("json", Format::Json, Body::Message),
        ("logfmt", Format::Logfmt, Body::Line),
        ("clf", Format::Clf, Body::Line),
        ("syslog", Format::Syslog, Body::Line),
        ("cri", Format::Cri, Body::Message),
        ("docker-json", Format::DockerJson, Body::Message),
    ] {
        let source = source(&format!("format = \"{name}\""));
        assert_eq!((source.format, source.format.body(), source.format.name()), (format, body, name));
    }
    assert_eq!(source("format = \"json\"\nbody = \"line\"").parsing.body.unwrap(), Body::Line);
    assert_eq!(source("format = \"logfmt\"\nbody = \"message\"").parsing.body.unwrap(), Body::Message);
}

#[test]
fn times_are_read_as_the_settings_say() {
    let time =
        source("timestamp_format = [\"%d %b %H:%M:%S\", \"rfc3339\", \"epoch\"]\ntimezone = \"-03:30\"").parsing.time;
    assert_eq!(time.formats, [TimeFormat::Pattern("%d %b %H:%M:%S".into()), TimeFormat::Rfc3339, TimeFormat::Epoch]);
    assert_eq!(time.zone.to_fixed_offset().unwrap().seconds(), -12_600);
    let time = source("format = \"json\"\ntimestamp_key = \"@timestamp\"\ntimestamp_format = \"%s\"").parsing.time;
    assert_eq!((time.key.as_deref(), time.formats.len()), (Some("@timestamp"), 1));
    let zone = source("timezone = \"Europe/Paris\"").parsing.time.zone;
    assert_eq!(zone.iana_name(), Some("Europe/Paris"));
}

#[test]
fn lines_are_joined_as_the_settings_say() {
    let multiline = source("multiline = \"go\"").parsing.multiline.unwrap();
    assert_eq!((&multiline.rule, multiline.timeout.as_secs(), multiline.lines_max), (&MultilineRule::Go, 1, 500));
    let lines =
        "multiline = { start = '^\\d', indented = true }\nmultiline_timeout = \"10ms\"\nmultiline_max_lines = 2";
    let multiline = source(lines).parsing.multiline.unwrap();
    let MultilineRule::Custom { start: Some(start), continuation: None, indented: true } = &multiline.rule else {
        panic!("{multiline:?}");
    };
    assert!(start.matches(b"1\xff") && !start.matches(b"x1"));
    assert_eq!((multiline.timeout.as_millis(), multiline.lines_max), (10, 2));
    assert_eq!(source("").parsing.multiline, None);
}

#[test]
fn what_cannot_be_read_so_is_refused_with_its_line_and_the_fix() {
    for (lines, answer) in [
        ("format = \"jsn\"", "format` must be one of \"lines\", \"json\","),
        ("body = \"message\"", "body` has no meaning with `format = \"lines\"`, whose body is fixed; remove it"),
        ("format = \"cri\"\nbody = \"line\"", "body` has no meaning with `format = \"cri\"`"),
        ("timestamp_key = \"ts\"", "timestamp_key` has no meaning with `format = \"lines\"`; remove it"),
        ("format = \"clf\"\ntimezone = \"UTC\"", "timezone` has no meaning with `format = \"clf\"`; remove it"),
        (
            "timezone = \"Europe/Pris\"",
            "timezone` is `Europe/Pris`, which this machine's zoneinfo does not have; write",
        ),
        ("timezone = \"+2:00\"", "timezone` is `+2:00`, which"),
        ("timezone = \"../../etc/passwd\"", "timezone` is `../../etc/passwd`, which"),
        ("timestamp_format = []", "timestamp_format` must have 1 to 16 patterns"),
        ("timestamp_format = 5", "timestamp_format` must be a list"),
        (
            "timestamp_format = \"iso\"",
            "timestamp_format` has `iso`, which is not a pattern of strptime; write \"rfc3339\",",
        ),
        (
            "timestamp_format = \"%Y-%m-%d %!\"",
            "timestamp_format` has `%Y-%m-%d %!`, which is not a pattern of strptime: ",
        ),
        ("timestamp_format = \"%F %T %Z\"", "timestamp_format` has `%F %T %Z`, which cannot be read back: "),
        ("timestamp_format = \"%H:%M\"", "timestamp_format` has `%H:%M`, which has no date; write"),
        ("timestamp_format = \"%Y-%m-%d\"", "timestamp_format` has `%Y-%m-%d`, which has no time of day; write"),
        (
            "multiline = \"jva\"",
            "multiline` must be one of \"java\", \"python\", \"go\", \"dotnet\", not \"jva\"; did you mean \"java\"?",
        ),
        ("multiline = true", "multiline` must be \"java\", \"python\", \"go\", \"dotnet\", or a table such as"),
        ("multiline = {}", "multiline` says nothing; give it `start`, `continuation` or `indented = true`"),
        ("multiline = { indented = false }", "multiline` says nothing"),
        (
            "multiline = { strt = \"a\" }",
            "multiline.strt` is not known; the keys here are start, continuation, indented",
        ),
        (
            "multiline = { start = \"(a\" }",
            "multiline.start` is wrong: `(a` is not a regular expression: unclosed group",
        ),
        (
            "multiline = { start = '\\w{1000}{1000}' }",
            "multiline.start` is wrong: `\\w{1000}{1000}` is not a regular expression: it would take too much memory;",
        ),
        ("multiline = { start = \"\" }", "multiline.start` is wrong: `` is not a regular expression: it must have"),
        ("multiline_timeout = \"1ms\"", "multiline_timeout` must be from 10ms to 1h, not 1ms"),
        ("multiline_max_lines = 1", "multiline_max_lines` must be a whole number from 2 to 100000, not 1"),
    ] {
        let line = 3 + usize::from(lines.contains('\n'));
        let refusal = refusal(lines);
        assert!(refusal.starts_with(&format!("l.toml:{line}: key `adaptor.source.{answer}")), "{refusal}");
        assert!(refusal.len() < 600 && !refusal.contains('\n'), "{refusal}");
    }
    let refusal = refuse("[[adaptor.source]]\ntype = \"otlp\"\nmultiline = \"go\"");
    assert!(refusal.contains("multiline` belongs to a source of type \"file\" or"), "{refusal}");
}
