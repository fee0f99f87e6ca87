//! Facilities and severities by number, as RFC 5424 (6.2.1) numbers them.

/// By number, the name that `syslog.conf` and `logger` use.
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp", "ntp",
    "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7",
];

/// By number, what OpenTelemetry maps it to and the name.
const SEVERITIES: [(u8, &str); 8] = [
    (21, "emerg"),
    (19, "alert"),
    (18, "crit"),
    (17, "err"),
    (13, "warning"),
    (10, "notice"),
    (9, "info"),
    (5, "debug"),
];

/// Severity and facility of a priority from 0 to 191.
pub(super) fn of_priority(priority: u8) -> ((u8, &'static str), &'static str) {
    (SEVERITIES[usize::from(priority % 8)], FACILITIES[usize::from(priority / 8).min(23)])
}

/// OpenTelemetry's number and the name of a syslog severity; `None` beyond 7.
pub(in crate::source) fn severity(number: u8) -> Option<(u8, &'static str)> {
    SEVERITIES.get(usize::from(number)).copied()
}
