use std::fmt::Write;

use jiff::civil::date;
use jiff::tz::TimeZone;

use super::*;
use crate::source::testing::fuzz;

/// 2023-11-14T22:13:20Z.
const NOW: i64 = 1_700_000_000_000_000_000;
const SECOND: i64 = 1_000_000_000;

fn utc(year: i16, month: i8, day: i8, hour: i8, minute: i8, second: i8) -> i64 {
    let time = date(year, month, day).at(hour, minute, second, 0).to_zoned(TimeZone::UTC).unwrap();
    time.timestamp().as_nanosecond() as i64
}

/// Everything that is read, in one line: attributes without `syslog.`, severity, body.
fn read(message: &[u8]) -> String {
    parse(message, NOW, &TimeZone::UTC, &mut Scratch::default(), |parsed| {
        let mut text = String::new();
        for (key, value) in parsed.attributes {
            let _ = write!(text, "{}={value} ", key.strip_prefix("syslog.").unwrap_or(key));
        }
        let severity = parsed.severity_text;
        assert_eq!(severity.is_empty(), parsed.severity_number == 0);
        let body = parsed.body.escape_ascii();
        let _ = write!(text, "{severity}{}{body}", if severity.is_empty() { "| " } else { " | " });
        text
    })
}

fn timestamp(message: &str) -> Option<i64> {
    timestamp_at(message, NOW, &TimeZone::UTC)
}

fn timestamp_at(message: &str, now: i64, zone: &TimeZone) -> Option<i64> {
    parse(message.as_bytes(), now, zone, &mut Scratch::default(), |parsed| parsed.timestamp)
}

#[test]
fn the_examples_of_rfc_5424_are_read() {
    for (message, wanted, time) in [
        (
            "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \u{feff}'su root' failed for lonvick on /dev/pts/8",
            "facility=auth hostname=mymachine.example.com app_name=su msg_id=ID47 crit | \\'su root\\' failed for lonvick on /dev/pts/8",
            utc(2003, 10, 11, 22, 14, 15) + 3_000_000,
        ),
        (
            "<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - - %% It's time to make the do-nuts.",
            "facility=local4 hostname=192.0.2.1 app_name=myproc proc_id=8710 notice | %% It\\'s time to make the do-nuts.",
            utc(2003, 8, 24, 12, 14, 15) + 3_000,
        ),
        (
            "<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 [exampleSDID@32473 iut=\"3\" eventSource=\"Application\" eventID=\"1011\"] \u{feff}An application event log entry...",
            "facility=local4 hostname=mymachine.example.com app_name=evntslog msg_id=ID47 exampleSDID@32473.iut=3 exampleSDID@32473.eventSource=Application exampleSDID@32473.eventID=1011 notice | An application event log entry...",
            utc(2003, 10, 11, 22, 14, 15) + 3_000_000,
        ),
        (
            "<165>1 2003-10-11T22:14:15.003Z mymachine.example.com evntslog - ID47 [exampleSDID@32473 iut=\"3\"][examplePriority@32473 class=\"high\"]",
            "facility=local4 hostname=mymachine.example.com app_name=evntslog msg_id=ID47 exampleSDID@32473.iut=3 examplePriority@32473.class=high notice | ",
            utc(2003, 10, 11, 22, 14, 15) + 3_000_000,
        ),
    ] {
        assert_eq!(read(message.as_bytes()), wanted);
        assert_eq!(timestamp(message), Some(time), "{message}");
    }
}

#[test]
fn nil_values_are_no_attributes_and_the_body_is_kept_byte_for_byte() {
    assert_eq!(read(b"<13>1 - - - - - -"), "facility=user notice | ");
    assert_eq!(timestamp("<13>1 - - - - - - text"), None);
    assert_eq!(read(b"<13>1 - - - - - - "), "facility=user notice | ");
    assert_eq!(read(b"<13>1 - - - - - -  two\0\n\xff \n"), "facility=user notice |  two\\x00\\n\\xff \\n");
    assert_eq!(read(b"<13>1 - - - - - - \xef\xbb\xbf\xef\xbb\xbf"), "facility=user notice | \\xef\\xbb\\xbf");
}

#[test]
fn structured_data_is_unescaped_and_nothing_of_it_is_lost() {
    for (data, wanted) in [
        (r#"[a x="\"q\" \\ \] \n ]" y=""] m"#, r#"a.x="q" \ ] \n ] a.y= | m"#),
        (r#"[a ip="1" ip="2" ip="3"][a ip="4"] m"#, "a.ip=1 a.ip.2=2 a.ip.3=3 a.ip.4=4 | m"),
        (r#"[a.2 b="1"][a][a][a] m"#, "a.2.b=1 a= a.2= a.3= | m"),
        (r#"[a b.7="1" b="2" b="3"] m"#, "a.b.7=1 a.b=2 a.b.8=3 | m"),
        ("[error] m", "error= | m"),
        ("[hostname] m", "hostname=h hostname.2= | m"),
        ("[a x=\"1\" ]m", "a.x=1 | m"),
        ("[a x=\"é\\]\"]", "a.x=é] | "),
    ] {
        let message = format!("<14>1 - h - - - {data}");
        let wanted = match wanted.strip_prefix("hostname=h ") {
            Some(rest) => format!("facility=user hostname=h {}", rest.replace(" |", " info |")),
            None => format!("facility=user hostname=h {}", wanted.replace(" |", " info |")),
        };
        assert_eq!(read(message.as_bytes()), wanted, "{data}");
    }
    let invalid = b"<14>1 - \xff - - - [a\xfe b=\"\xfd\\\"\"] \xfc";
    assert_eq!(read(invalid), "facility=user hostname=\u{fffd} a\u{fffd}.b=\u{fffd}\" info | \\xfc");
}

#[test]
fn malformed_structured_data_is_kept_as_the_beginning_of_the_body() {
    let many: String = (0..300).map(|n| format!(" p{n}=\"\"")).collect();
    let long = format!("[{}]", "x".repeat(300));
    for data in [
        "[a",
        "[]",
        "[ ]",
        "[a x]",
        "[a x=1]",
        "[a x=\"1]",
        "[a x=\"\\",
        "[ok b=\"1\"][a",
        &format!("[a{many}]"),
        &long,
    ] {
        let message = format!("<14>1 - h - - - {data}");
        let read = read(message.as_bytes());
        assert!(read.starts_with("facility=user hostname=h logboom.parse_error=it"), "{read}");
        assert!(read.ends_with(&format!("info | {}", data.as_bytes().escape_ascii())), "{read}");
    }
}

#[test]
fn what_senders_leave_out_of_rfc_5424_is_forgiven() {
    for (message, wanted) in [
        // Heroku leaves structured data out.
        (
            "<40>1 2012-11-30T06:45:29+00:00 host app web.3 - State changed",
            "facility=syslog hostname=host app_name=app proc_id=web.3 emerg | State changed",
        ),
        ("<40>1 - host app web.3 -", "facility=syslog hostname=host app_name=app proc_id=web.3 emerg | "),
        ("<40>1 - host  3 - - x", "facility=syslog hostname=host proc_id=3 emerg | x"),
        (
            "<14>1 2003-99-11T22:14:15Z h a - - - x",
            "facility=user timestamp=2003-99-11T22:14:15Z hostname=h app_name=a info | x",
        ),
        ("<14>1 - h a - -[x] y", "facility=user hostname=h app_name=a msg_id=-[x] info | y"),
    ] {
        assert_eq!(read(message.as_bytes()), wanted);
    }
}

#[test]
fn the_shapes_of_rfc_3164_are_read() {
    for (message, wanted) in [
        (
            "<34>Oct 11 22:14:15 mymachine su: 'su root' failed",
            "facility=auth hostname=mymachine app_name=su crit | \\'su root\\' failed",
        ),
        ("<13>Feb  5 17:32:18 10.0.0.99 Use the BFG!", "facility=user hostname=10.0.0.99 notice | Use the BFG!"),
        (
            "<13>Feb  5 17:32:18 fe80::1%eth0 app[7]: x",
            "facility=user hostname=fe80::1%eth0 app_name=app proc_id=7 notice | x",
        ),
        // To /dev/log, from the C library and from util-linux.
        ("<13>Oct 11 22:14:15 logger[4711]: text", "facility=user app_name=logger proc_id=4711 notice | text"),
        ("<13>Oct 11 22:14:15 root: text: more", "facility=user app_name=root notice | text: more"),
        ("<86>Oct 11 22:14:15 (sd-pam)[3]: x", "facility=authpriv app_name=(sd-pam) proc_id=3 info | x"),
        (
            "<78>Oct 11 22:14:15 h CRON[12]: (root) CMD (x)",
            "facility=cron hostname=h app_name=CRON proc_id=12 info | (root) CMD (x)",
        ),
        (
            "<13>Oct 11 22:14:15 postfix/smtpd[12]:no space",
            "facility=user app_name=postfix/smtpd proc_id=12 notice | no space",
        ),
        ("<13>Oct 11 22:14:15 app[12] no colon", "facility=user app_name=app proc_id=12 notice | no colon"),
        ("<13>Oct 11 22:14:15 app[]: no pid", "facility=user app_name=app notice | no pid"),
        ("<6>Oct 11 22:14:15 h kernel: [1.5] usb 1-1", "facility=kern hostname=h app_name=kernel info | [1.5] usb 1-1"),
        ("<13>Oct 11 22:14:15 app:\ttab", "facility=user app_name=app notice | \\ttab"),
        ("<13>Oct 11 22:14:15 app:  two spaces", "facility=user app_name=app notice |  two spaces"),
        ("<13>Oct 11 22:14:15 app:", "facility=user app_name=app notice | "),
        ("<13>Oct 11 22:14:15 app: ", "facility=user app_name=app notice | "),
        (
            "<13>Oct 11 22:14:15 h last message repeated 2 times",
            "facility=user hostname=h notice | last message repeated 2 times",
        ),
        ("<13>Oct 11 22:14:15 alone", "facility=user notice | alone"),
        ("<13>Oct 11 22:14:15", "facility=user notice | "),
        ("<13>Oct 11 22:14:15 h {\"a\": 1}", "facility=user hostname=h notice | {\\\"a\\\": 1}"),
        ("<13>Oct 11 22:14:15 {\"a\": 1}", "facility=user notice | {\\\"a\\\": 1}"),
        ("<13>Oct 11 22:14:15 h http://x y", "facility=user hostname=h notice | http://x y"),
        ("<13>Oct 11 22:14:15 h Foo::Bar x", "facility=user hostname=h notice | Foo::Bar x"),
        // Timestamps of ISO 8601: rsyslog's forward format, and its files, which have no priority.
        ("<13>2023-10-11T22:14:15.003+02:00 h app[1]: x", "facility=user hostname=h app_name=app proc_id=1 notice | x"),
        ("2023-10-11T22:14:15.003Z h app[1]: x", "hostname=h app_name=app proc_id=1 | x"),
        ("2023-10-11 22:14:15,003 h app[1]: x", "hostname=h app_name=app proc_id=1 | x"),
        ("Oct 11 22:14:15 h app[1]: x", "hostname=h app_name=app proc_id=1 | x"),
        // Cisco.
        (
            "<166>Oct 11 2023 22:14:15 fw01 : %ASA-6-302013: Built",
            "facility=local4 hostname=fw01 app_name=%ASA-6-302013 info | Built",
        ),
        ("<166>Oct 11 2023 22:14:15: %ASA-6-302013: Built", "facility=local4 app_name=%ASA-6-302013 info | Built"),
        (
            "<189>45: *Oct 11 22:14:15.123: %SYS-5-CONFIG_I: Done",
            "facility=local7 sequence=45 app_name=%SYS-5-CONFIG_I notice | Done",
        ),
        // Without a header.
        ("<13>app[3]: x", "facility=user app_name=app proc_id=3 notice | x"),
        ("<13>app: x", "facility=user app_name=app notice | x"),
        ("<13>a plain text: x", "facility=user notice | a plain text: x"),
        ("<13>45: x", "facility=user notice | 45: x"),
        ("<13>array[3] x", "facility=user notice | array[3] x"),
        ("<13>", "facility=user notice | "),
        ("<13>1 2 3 4 5 6 7", "facility=user notice | 1 2 3 4 5 6 7"),
        ("<13>1 hello", "facility=user notice | 1 hello"),
    ] {
        assert_eq!(read(message.as_bytes()), wanted, "{message}");
    }
}

#[test]
fn every_priority_has_the_names_that_logger_uses() {
    assert_eq!(read(b"<0>x"), "facility=kern emerg | x");
    assert_eq!(read(b"<191>x"), "facility=local7 debug | x");
    assert_eq!(read(b"<013>x"), "facility=user notice | x");
    let numbers: Vec<_> = (0..8).map(|n| severity(n).unwrap().0).collect();
    assert_eq!(numbers, [21, 19, 18, 17, 13, 10, 9, 5]);
    assert_eq!(severity(8), None);
}

#[test]
fn what_is_no_syslog_is_kept_whole_and_says_so() {
    for message in [
        "",
        "plain text",
        "<192>x",
        "<>x",
        "<1",
        "<a>x",
        "<-1>x",
        "<1234>x",
        "app: x",
        "Oct 32 22:14:15 h a: x",
        "\u{0}\u{1}",
    ] {
        let wanted = format!(
            "logboom.parse_error=it begins with neither a priority nor a timestamp | {}",
            message.as_bytes().escape_ascii()
        );
        assert_eq!(read(message.as_bytes()), wanted);
    }
}

#[test]
fn a_missing_year_is_the_one_that_puts_the_time_nearest_to_now() {
    let year = |message: &str, now| timestamp_at(message, now, &TimeZone::UTC).unwrap();
    let new_year = utc(2024, 1, 1, 0, 0, 5);
    assert_eq!(year("<13>Dec 31 23:59:58 h a: x", new_year), utc(2023, 12, 31, 23, 59, 58));
    assert_eq!(year("<13>Jan  1 00:00:01 h a: x", utc(2023, 12, 31, 23, 59, 58)), utc(2024, 1, 1, 0, 0, 1));
    assert_eq!(year("<13>Jul  1 00:00:00 h a: x", utc(2024, 7, 2, 0, 0, 0)), utc(2024, 7, 1, 0, 0, 0));
    assert_eq!(year("<13>Feb 29 12:00:00 h a: x", utc(2023, 3, 1, 0, 0, 0)), utc(2024, 2, 29, 12, 0, 0));
    assert_eq!(year("<13>Feb 29 12:00:00 h a: x", utc(2025, 3, 1, 0, 0, 0)), utc(2024, 2, 29, 12, 0, 0));
    assert_eq!(year("<13>Feb 29 12:00:00 h a: x", utc(2100, 1, 1, 0, 0, 0)), utc(2096, 2, 29, 12, 0, 0));
}

#[test]
fn a_time_without_an_offset_is_of_the_zone_and_where_clocks_show_it_twice_the_nearer_one() {
    // Berlin by its rules: no zone files are needed.
    let berlin = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
    let read = |message: &str, now| timestamp_at(message, now, &berlin).unwrap();
    assert_eq!(read("<13>Oct 11 22:14:15 h a: x", NOW), utc(2023, 10, 11, 20, 14, 15));
    assert_eq!(read("<13>2023-12-11T22:14:15 h a: x", NOW), utc(2023, 12, 11, 21, 14, 15));
    assert_eq!(read("<13>1 2023-12-11T22:14:15 h a - - - x", NOW), utc(2023, 12, 11, 21, 14, 15));
    let (first, second) = (utc(2023, 10, 29, 0, 30, 0), utc(2023, 10, 29, 1, 30, 0));
    assert_eq!(read("<13>Oct 29 02:30:00 h a: x", first + SECOND), first);
    assert_eq!(read("<13>Oct 29 02:30:00 h a: x", second + SECOND), second);
    // Half an hour that clocks never show.
    assert_eq!(read("<13>Mar 26 02:30:00 h a: x", utc(2023, 3, 26, 1, 30, 1)), utc(2023, 3, 26, 1, 30, 0));
}

#[test]
fn a_timestamp_is_read_with_what_real_senders_add_to_it() {
    let time = utc(2023, 10, 11, 22, 14, 15);
    for (text, nanos) in [
        ("Oct 11 22:14:15", 0),
        ("oct 11 22:14:15", 0),
        ("OCT 11 22:14:15", 0),
        ("Oct 11 22:14:15.5", 500_000_000),
        ("Oct 11 22:14:15.123456789123", 123_456_789),
        ("Oct 11 2023 22:14:15", 0),
        ("Oct 11 22:14:15 2023", 0),
        ("Oct 11 22:14:15.003 2023", 3_000_000),
        (".Oct 11 22:14:15", 0),
        ("2023-10-11T22:14:15Z", 0),
        ("2023-10-11t22:14:15.003z", 3_000_000),
        ("2023-10-12T00:14:15+0200", 0),
        ("2023-10-11 22:14:15.003", 3_000_000),
        ("2023-10-11T22:14:15Z:", 0),
    ] {
        for message in [format!("<13>{text} h a: x"), format!("{text} h a: x")] {
            assert_eq!(timestamp(&message), Some(time + nanos), "{message}");
            assert!(read(message.as_bytes()).contains("hostname=h app_name=a "), "{message}");
        }
    }
    assert_eq!(timestamp("<13>Oct  1 22:14:15 h a: x"), timestamp("<13>Oct 01 22:14:15 h a: x"));
    assert_eq!(timestamp("<13>Oct  1 22:14:15 h a: x"), timestamp("<13>Oct 1 22:14:15 h a: x"));
    assert_eq!(timestamp("<13>Oct 11 22:14:60 h a: x"), Some(utc(2023, 10, 11, 22, 14, 59)));
    for text in [
        "Okt 11 22:14:15",
        "Oct 11 25:14:15",
        "Oct 11 22:14",
        "Oct 1122:14:15",
        "Oct 11 22:14:15x",
        "2023-10-11",
        "2023-10-11T22:14:15+99:99",
        "9999-10-11T22:14:15Z",
    ] {
        let message = format!("<13>{text} and so on");
        assert_eq!(timestamp(&message), None, "{text}");
        assert!(read(message.as_bytes()).ends_with(&format!("{text} and so on")), "{text}");
    }
}

#[test]
fn the_memory_of_one_message_is_used_again_for_the_next() {
    let message = b"<14>1 - h \xff - - [a b=\"c\" d=\"\\\"\"] x";
    let mut scratch = Scratch::default();
    let mut kept = None;
    for _ in 0..3 {
        let attributes =
            parse(message, NOW, &TimeZone::UTC, &mut scratch, |parsed| parsed.attributes.as_ptr() as usize);
        let place = (attributes, scratch.made.as_ptr() as usize, scratch.fields.as_ptr() as usize);
        assert_eq!(*kept.get_or_insert(place), place);
    }
}

#[test]
fn no_message_makes_it_panic_and_none_loses_its_body() {
    let corpus: &[&[u8]] = &[
        b"<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 - \xef\xbb\xbf'su root' failed",
        b"<165>1 2003-08-24T05:14:15.000003-07:00 192.0.2.1 myproc 8710 - [a b=\"c\\\"\\\\\" b=\"\"][d] x",
        b"<34>Oct 11 22:14:15 mymachine su[12]: 'su root' failed",
        b"<34>Feb 29 22:14:15 2023 su: x",
        b"<189>45: *Mar  1 18:48:50.483: %SYS-5-CONFIG_I: Configured",
        b"<13>2023-10-11 22:14:15,003 h app[1]: x",
        b"2023-10-11T22:14:15.003+02:00 h app[1]: x",
        b"<13>1 - - - - - [\xff \xfe=\"\xfd\\]\"]\0",
        b"\n\r\n<1>",
    ];
    let zones = [TimeZone::UTC, TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()];
    let mut scratch = Scratch::default();
    let mut now = 0i64;
    fuzz(corpus, |message| {
        now = now.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        for now in [now, NOW, i64::MAX, i64::MIN] {
            parse(message, now, &zones[(now & 1) as usize], &mut scratch, |parsed| {
                assert!(message.ends_with(parsed.body));
                assert_eq!(parsed.error.is_some(), parsed.attributes.iter().any(|(key, _)| *key == PARSE_ERROR));
                assert!(parsed.attributes.len() <= 257);
            });
        }
    });
}

/// What a message costs, in ns. Run it in release: `cargo test --release -p logboom-adaptor --lib syslog_costs -- --ignored --nocapture`.
#[test]
#[ignore = "it measures"]
fn syslog_costs() {
    let mut scratch = Scratch::default();
    for message in [
        "<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su 1 ID47 - 'su root' failed for lonvick on /dev/pts/8",
        "<165>1 2003-10-11T22:14:15.003Z mymachine evntslog - ID47 [exampleSDID@32473 iut=\"3\" eventID=\"1011\"] An entry",
        "<34>Oct 11 22:14:15 mymachine su[12]: 'su root' failed for lonvick on /dev/pts/8",
    ] {
        let start = std::time::Instant::now();
        for _ in 0..1_000_000 {
            parse(message.as_bytes(), NOW, &TimeZone::UTC, &mut scratch, |parsed| {
                std::hint::black_box(parsed.timestamp)
            });
        }
        println!("{} ns: {message}", start.elapsed().as_nanos() / 1_000_000);
    }
}

#[test]
fn a_name_that_is_repeated_as_often_as_there_is_room_takes_no_long_time() {
    let message = format!("<14>1 - h - - - {}", "[a b=\"c\"]".repeat(6000));
    let begun = std::time::Instant::now();
    for _ in 0..100 {
        read(message.as_bytes());
    }
    // Unoptimized and on a busy machine. With a look at all for each number it is four times that.
    assert!(begun.elapsed() < std::time::Duration::from_secs(5), "{:?}", begun.elapsed());
}
