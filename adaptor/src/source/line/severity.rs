//! Severities by name.

/// The OpenTelemetry severity number of a name, in any case; 0 for a name that nobody uses. Besides OpenTelemetry's own
/// names (`TRACE` to `FATAL4`) those of syslog and of common logging libraries count, as OpenTelemetry maps them.
pub(in crate::source) fn number_of(name: &str) -> u8 {
    let mut lower = [0; 16];
    let Some(lower) = lower.get_mut(..name.len()) else { return 0 };
    lower.copy_from_slice(name.as_bytes());
    lower.make_ascii_lowercase();
    let lower = &*lower;
    let (name, step) = match lower {
        [name @ .., digit @ b'1'..=b'4'] => (name, *digit - b'1'),
        name => (name, 0),
    };
    let base = match name {
        b"trace" => 1,
        b"debug" => 5,
        b"info" => 9,
        b"warn" => 13,
        b"error" => 17,
        b"fatal" => 21,
        _ if step > 0 || lower.ends_with(b"1") => return 0,
        b"verbose" => 1,
        b"information" | b"informational" => 9,
        b"notice" => 10,
        b"warning" => 13,
        b"err" | b"severe" => 17,
        b"critical" | b"crit" => 18,
        b"alert" => 19,
        b"emergency" | b"emerg" | b"panic" => 21,
        _ => return 0,
    };
    base + step
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_numbers_that_open_telemetry_gives_them() {
        for (name, number) in [
            ("TRACE", 1),
            ("trace4", 4),
            ("Debug", 5),
            ("INFO", 9),
            ("info1", 9),
            ("Info2", 10),
            ("notice", 10),
            ("warning", 13),
            ("WARN3", 15),
            ("err", 17),
            ("critical", 18),
            ("FATAL4", 24),
            ("emerg", 21),
            ("", 0),
            ("2", 0),
            ("info5", 0),
            ("warning2", 0),
            ("warning1", 0),
            ("an unusually long name", 0),
        ] {
            assert_eq!(number_of(name), number, "{name}");
        }
    }

    #[test]
    fn conditions_of_rules_know_the_same_names() {
        for name in
            ["trace", "verbose", "debug2", "info", "notice", "warning", "err", "severe", "crit", "alert", "FATAL4"]
        {
            let number = number_of(name);
            let severities: logboom_config::Severities = format!(">={name}").parse().unwrap();
            assert!(severities.contains(number) && !severities.contains(number - 1), "{name}");
        }
    }
}
