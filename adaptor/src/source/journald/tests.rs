use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use logboom_config::{JournaldSource, ReadFrom, Source, SourceKind};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use crate::source::testing::{A_WHILE, PATIENCE, Rig, Seen};

/// Writes journal files from the export format.
const WRITER: &str = "/lib/systemd/systemd-journal-remote";

fn source(journalctl: &Path, journal_path: Option<PathBuf>) -> Source {
    let settings = JournaldSource {
        units: vec![],
        journal_path,
        journalctl: journalctl.to_owned(),
        read_from: ReadFrom::Beginning,
    };
    Source::new("journal", SourceKind::Journald(settings))
}

fn with(source: &Source, change: impl FnOnce(&mut JournaldSource)) -> Source {
    let mut source = source.clone();
    if let SourceKind::Journald(settings) = &mut source.kind {
        change(settings);
    }
    source
}

fn bodies(seen: &[Seen]) -> Vec<&str> {
    seen.iter().map(|seen| seen.body.as_str()).collect()
}

fn standing(rig: &Rig) -> Option<String> {
    rig.positions.lock().unwrap().get("journald/journal").cloned()
}

/// A stand-in for journalctl: prints `entries` from the cursor that it is told, and as a follower what is added to them.
struct Fake {
    folder: TempDir,
}

impl Fake {
    fn new() -> Self {
        let fake = Self { folder: tempfile::tempdir().unwrap() };
        fs::write(fake.path("entries"), "").unwrap();
        // Cursors are line numbers. What is asked for is noted in `calls`.
        let script = r#"#!/bin/sh
here=$(dirname "$0"); from=1; mode=all
echo "$*" >> "$here/calls"
for word in "$@"; do
    case $word in
        --cursor=*) from=${word#--cursor=} ;;
        --follow) mode=follow ;;
        --lines=1) mode=last ;;
    esac
done
[ -e "$here/fail" ] && { cat "$here/fail" >&2; exit 1; }
case $from in *[!0-9]*) echo 'Failed to seek to cursor: Invalid argument' >&2; exit 1 ;; esac
case $mode in
    last) exec tail -n 1 "$here/entries" ;;
    all) exec tail -n "+$from" "$here/entries" ;;
    follow) exec tail -n "+$from" -f -s 0.02 "$here/entries" ;;
esac
"#;
        fs::write(fake.program(), script).unwrap();
        fs::set_permissions(fake.program(), fs::Permissions::from_mode(0o755)).unwrap();
        fake
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn program(&self) -> PathBuf {
        self.path("journalctl")
    }

    fn source(&self) -> Source {
        source(&self.program(), None)
    }

    /// Adds entries with these numbers.
    fn add(&self, numbers: std::ops::RangeInclusive<usize>) {
        let lines: String =
            numbers.map(|n| format!("{{\"__CURSOR\":\"{n}\",\"MESSAGE\":\"m{n}\",\"_PID\":\"{n}\"}}\n")).collect();
        let old = fs::read_to_string(self.path("entries")).unwrap();
        match old.is_empty() {
            true => fs::write(self.path("entries"), lines).unwrap(),
            false => {
                use std::io::Write;
                fs::File::options()
                    .append(true)
                    .open(self.path("entries"))
                    .unwrap()
                    .write_all(lines.as_bytes())
                    .unwrap();
            }
        }
    }

    fn calls(&self) -> String {
        fs::read_to_string(self.path("calls")).unwrap_or_default()
    }
}

fn messages(numbers: std::ops::RangeInclusive<usize>) -> Vec<String> {
    numbers.map(|n| format!("m{n}")).collect()
}

#[tokio::test]
async fn entries_are_read_and_followed_and_their_position_comes_with_them() {
    let (rig, fake) = (Rig::new(), Fake::new());
    fake.add(1..=3);
    let running = rig.open(fake.source()).await;
    assert_eq!(bodies(&rig.records(3).await), messages(1..=3));
    assert_eq!(standing(&rig).unwrap(), r#"{"cursor":"3"}"#);
    sleep(A_WHILE).await;
    fake.add(4..=5);
    assert_eq!(bodies(&rig.records(5).await), messages(1..=5));
    assert_eq!(standing(&rig).unwrap(), r#"{"cursor":"5"}"#);
    rig.stop(running).await;
}

#[tokio::test]
async fn a_restart_neither_loses_nor_repeats_whatever_was_not_durable() {
    let fake = Fake::new();
    fake.add(1..=500);
    let mut rig = Rig::new();
    let mut seen = Vec::new();
    for round in 1..=5 {
        let running = rig.open(fake.source()).await;
        rig.records(1).await;
        fake.add(500 * round + 1..=500 * round + 500);
        // Killed on the spot, with whatever was in memory.
        running.abort();
        let _ = running.await;
        rig.context.intake.close();
        sleep(A_WHILE).await;
        seen.extend(rig.synced.lock().unwrap().drain(..));
        rig = rig.restarted();
    }
    let running = rig.open(fake.source()).await;
    rig.records(3000 - seen.len()).await;
    seen.extend(rig.synced.lock().unwrap().drain(..));
    assert_eq!(bodies(&seen), messages(1..=3000));
    rig.stop(running).await;
}

#[tokio::test]
async fn journalctl_is_started_again_when_it_dies_and_goes_on_where_it_was() {
    let (rig, fake) = (Rig::new(), Fake::new());
    fake.add(1..=3);
    fs::write(fake.path("fail"), "out of order").unwrap();
    let running = rig.open(fake.source()).await;
    let end = Instant::now() + PATIENCE;
    while fake.calls().lines().count() < 2 {
        assert!(Instant::now() < end, "it is not tried again");
        sleep(Duration::from_millis(10)).await;
    }
    fs::remove_file(fake.path("fail")).unwrap();
    rig.records(3).await;
    rig.stop(running).await;
    assert_eq!(bodies(&rig.records(3).await), messages(1..=3));
}

#[tokio::test]
async fn a_position_whose_entry_is_gone_goes_on_with_the_next_that_is_there() {
    let fake = Fake::new();
    fake.add(1..=3);
    let mut rig = Rig::new();
    // The second entry was vacuumed: in its place stands another.
    let position = ("journald/journal".to_owned(), r#"{"cursor":"2"}"#.to_owned());
    rig.context.positions = std::sync::Arc::new([position].into());
    let entries = fs::read_to_string(fake.path("entries")).unwrap().replace("\"2\"", "\"2b\"");
    fs::write(fake.path("entries"), entries).unwrap();
    let running = rig.open(fake.source()).await;
    assert_eq!(bodies(&rig.records(2).await), messages(2..=3));
    rig.stop(running).await;
}

#[tokio::test]
async fn a_position_that_journalctl_refuses_makes_it_read_everything_again() {
    let fake = Fake::new();
    fake.add(1..=3);
    let mut rig = Rig::new();
    let position = ("journald/journal".to_owned(), r#"{"cursor":"damaged"}"#.to_owned());
    rig.context.positions = std::sync::Arc::new([position].into());
    let running = rig.open(fake.source()).await;
    assert_eq!(bodies(&rig.records(3).await), messages(1..=3));
    rig.stop(running).await;
}

#[tokio::test]
async fn from_the_end_only_what_comes_is_read_also_after_a_restart_that_saw_nothing() {
    let fake = Fake::new();
    fake.add(1..=3);
    let rig = Rig::new();
    let source = with(&fake.source(), |settings| settings.read_from = ReadFrom::End);
    let running = rig.open(source.clone()).await;
    let end = Instant::now() + PATIENCE;
    while standing(&rig).is_none() {
        assert!(Instant::now() < end);
        sleep(Duration::from_millis(5)).await;
    }
    rig.stop(running).await;
    fake.add(4..=5);
    let rig = rig.restarted();
    let running = rig.open(source).await;
    assert_eq!(bodies(&rig.records(2).await), messages(4..=5));
    rig.stop(running).await;
}

#[tokio::test]
async fn from_the_end_of_an_empty_journal_all_that_comes_is_read() {
    let fake = Fake::new();
    let rig = Rig::new();
    let running = rig.open(with(&fake.source(), |settings| settings.read_from = ReadFrom::End)).await;
    sleep(A_WHILE).await;
    fake.add(1..=2);
    assert_eq!(bodies(&rig.records(2).await), messages(1..=2));
    rig.stop(running).await;
}

#[tokio::test]
async fn a_full_adaptor_makes_journalctl_wait() {
    let (rig, fake) = (Rig::new(), Fake::new());
    fake.add(1..=200_000);
    rig.hold(true);
    let running = rig.open(fake.source()).await;
    sleep(A_WHILE * 4).await;
    assert!(rig.context.counters.records_in.get() < 200_000);
    rig.hold(false);
    assert_eq!(bodies(&rig.records(200_000).await), messages(1..=200_000));
    rig.stop(running).await;
}

#[tokio::test]
async fn the_position_moves_on_over_entries_that_are_dropped() {
    let (rig, fake) = (Rig::new(), Fake::new());
    fs::write(fake.path("entries"), format!("{{\"__CURSOR\":\"7\",\"MESSAGE\":\"{}\"}}\n", "x".repeat(100))).unwrap();
    let source = Source { max_line: 64, on_long_line: logboom_config::OnLongLine::Drop, ..fake.source() };
    let running = rig.open(source).await;
    let end = Instant::now() + PATIENCE;
    while standing(&rig).is_none() {
        assert!(Instant::now() < end);
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(standing(&rig).unwrap(), r#"{"cursor":"7"}"#);
    assert_eq!(rig.context.counters.lines_dropped_too_long.get(), 1);
    rig.stop(running).await;
}

#[tokio::test]
async fn units_and_the_folder_are_passed_on() {
    let (rig, fake) = (Rig::new(), Fake::new());
    let source = with(&fake.source(), |settings| {
        settings.units = vec!["a.service".into(), "b.service".into()];
        settings.journal_path = Some("/some/where".into());
    });
    let running = rig.open(source).await;
    let end = Instant::now() + PATIENCE;
    while fake.calls().lines().count() < 2 {
        assert!(Instant::now() < end);
        sleep(Duration::from_millis(5)).await;
    }
    rig.stop(running).await;
    let common = "--output=json --all --quiet --no-pager --directory /some/where --merge \
                  --unit a.service --unit b.service";
    assert_eq!(fake.calls().lines().collect::<Vec<_>>(), [common, &format!("{common} --follow --no-tail")]);
}

#[tokio::test]
async fn a_line_that_is_no_entry_is_kept_whole_and_counted() {
    let (rig, fake) = (Rig::new(), Fake::new());
    fs::write(fake.path("entries"), "{\"MESSAGE\":\n").unwrap();
    let running = rig.open(fake.source()).await;
    let seen = rig.records(1).await;
    assert_eq!(seen[0].body, "{\"MESSAGE\":");
    assert!(seen[0].attributes.contains_key("logboom.parse_error"));
    assert!(rig.context.counters.lines_unparsed.get() > 0);
    rig.stop(running).await;
}

/// A folder with real journal files, if this machine has what it takes to write them.
struct Journal {
    folder: TempDir,
    files: usize,
}

impl Journal {
    fn new() -> Option<Self> {
        let here = Path::new(WRITER).exists() && Command::new("journalctl").arg("--version").output().is_ok();
        if !here {
            println!("not run: it needs journalctl and {WRITER} (Debian: systemd-journal-remote)");
        }
        here.then(|| Self { folder: tempfile::tempdir().unwrap(), files: 0 })
    }

    /// Writes another journal file with entries, each of a boot, a number and a message.
    fn add(&mut self, entries: &[(u8, u64, &[u8])]) {
        let mut export = Vec::new();
        for (boot, number, message) in entries {
            export.extend(
                format!(
                    "__REALTIME_TIMESTAMP={}\n__MONOTONIC_TIMESTAMP={number}\n_BOOT_ID={}\nPRIORITY=4\n_PID={number}\n\
                 _SYSTEMD_UNIT=u{}.service\nBIG={}\nMESSAGE\n",
                    1_700_000_000_000_000 + number * 1000,
                    char::from(b'0' + boot).to_string().repeat(32),
                    number % 2,
                    "x".repeat(5000),
                )
                .bytes(),
            );
            export.extend((message.len() as u64).to_le_bytes());
            export.extend(*message);
            export.extend(b"\n\n");
        }
        let from = self.folder.path().join("export");
        fs::write(&from, export).unwrap();
        self.files += 1;
        let to = self.journals().join(format!("{}.journal", self.files));
        fs::create_dir_all(self.journals()).unwrap();
        let written = Command::new(WRITER).arg("-o").arg(to).arg(from).output().unwrap();
        assert!(written.status.success(), "{written:?}");
    }

    fn journals(&self) -> PathBuf {
        self.folder.path().join("journals")
    }

    fn source(&self) -> Source {
        source(Path::new("journalctl"), Some(self.journals()))
    }
}

#[tokio::test]
async fn a_real_journal_is_read_over_boots_and_restarts_with_whatever_messages_hold() {
    let Some(mut journal) = Journal::new() else { return };
    let big = vec![b'm'; 200_000];
    journal.add(&[(1, 1, b"one"), (1, 2, b"a\xff\0b\nc"), (2, 3, b""), (2, 4, &big)]);
    let rig = Rig::new();
    let running = rig.open(journal.source()).await;
    let seen = rig.records(4).await;
    assert_eq!(bodies(&seen), ["one", "a\u{fffd}\0b\nc", "", std::str::from_utf8(&big).unwrap()]);
    assert_eq!(seen[2].attributes["journald._boot_id"], "2".repeat(32));
    assert_eq!(seen[2].attributes["journald.big"].len(), 5000);
    assert!(!seen[2].attributes.keys().any(|key| key.contains("cursor") || key.contains("monotonic")));
    rig.stop(running).await;

    // Written while nobody followed, before another boot.
    journal.add(&[(2, 5, b"five"), (3, 6, b"six")]);
    let rig = rig.restarted();
    let running = rig.open(journal.source()).await;
    assert_eq!(bodies(&rig.records(2).await), ["five", "six"]);
    sleep(A_WHILE).await;
    journal.add(&[(3, 7, b"seven")]);
    assert_eq!(bodies(&rig.records(3).await), ["five", "six", "seven"]);
    rig.stop(running).await;
    sleep(A_WHILE).await;
    assert_eq!(rig.synced.lock().unwrap().len(), 3);
}

#[tokio::test]
async fn a_real_journal_that_was_vacuumed_goes_on_with_the_oldest_entry_that_is_left() {
    let Some(mut journal) = Journal::new() else { return };
    journal.add(&[(1, 1, b"one"), (1, 2, b"two")]);
    let rig = Rig::new();
    let running = rig.open(journal.source()).await;
    rig.records(2).await;
    rig.stop(running).await;
    journal.add(&[(1, 3, b"three"), (1, 4, b"four")]);
    fs::remove_file(journal.journals().join("1.journal")).unwrap();
    let rig = rig.restarted();
    let running = rig.open(journal.source()).await;
    assert_eq!(bodies(&rig.records(2).await), ["three", "four"]);
    rig.stop(running).await;
}

#[tokio::test]
async fn of_a_real_journal_only_the_units_that_are_named_are_read() {
    let Some(mut journal) = Journal::new() else { return };
    journal.add(&[(1, 1, b"one"), (1, 2, b"two"), (1, 3, b"three")]);
    let rig = Rig::new();
    let running = rig.open(with(&journal.source(), |settings| settings.units = vec!["u1.service".into()])).await;
    assert_eq!(bodies(&rig.records(2).await), ["one", "three"]);
    rig.stop(running).await;
}
