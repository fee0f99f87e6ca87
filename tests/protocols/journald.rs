//! The systemd journal, written by systemd's own writer and read through the real `journalctl`.
//!
//! Needs both: `systemd-journal-remote` is a package of that name. Without them the test says so and passes.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::harness::{PATIENCE, Pipeline, Plan, quoted, wait_until};

const WRITER: &str = "/lib/systemd/systemd-journal-remote";
const ROUNDS: usize = 20;
const ENTRIES: usize = 60;

/// Writes entries into a journal file as they come, as journald does.
struct Writer(Child);

impl Writer {
    fn start(folder: &Path) -> Option<Self> {
        let here = Path::new(WRITER).exists() && Command::new("journalctl").arg("--version").output().is_ok();
        if !here {
            println!("not run: it needs journalctl and {WRITER} (Debian: systemd-journal-remote)");
            return None;
        }
        let mut command = Command::new(WRITER);
        command.arg("-o").arg(folder.join("host.journal")).arg("-").stdin(Stdio::piped()).stderr(Stdio::null());
        Some(Self(command.spawn().unwrap()))
    }

    /// Adds an entry, in the journal's export format.
    fn add(&mut self, number: usize, message: &[u8]) {
        let mut entry = format!(
            "__REALTIME_TIMESTAMP={}\n__MONOTONIC_TIMESTAMP={number}\n_BOOT_ID={}\n_SYSTEMD_UNIT=shop.service\nMESSAGE\n",
            1_700_000_000_000_000 + number * 1000,
            "1".repeat(32),
        )
        .into_bytes();
        entry.extend((message.len() as u64).to_le_bytes());
        entry.extend([message, b"\n\n"].concat());
        self.0.stdin.as_mut().unwrap().write_all(&entry).unwrap();
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn every_entry_is_there_once_though_the_adaptor_is_killed_again_and_again() {
    let folder = tempfile::tempdir().unwrap();
    let Some(mut writer) = Writer::start(folder.path()) else { return };
    let source = format!("type = \"journald\"\njournal_path = {}", quoted(folder.path()));
    let mut pipeline = Pipeline::with_source(Plan::default(), &source);
    pipeline.start_collectors();
    let mut sent = Vec::new();
    for round in 0..ROUNDS {
        for n in 0..ENTRIES {
            let number = sent.len();
            let message = match n {
                0 => format!("round {round} of \u{1f980}\nand a second line, \0 and more").into_bytes(),
                1 if round == 0 => vec![b'x'; 500_000],
                _ => format!("entry {number}").into_bytes(),
            };
            writer.add(number, &message);
            sent.push(message);
        }
        if round == 0 {
            pipeline.start_adaptors();
        } else if round % 4 == 3 {
            // Some are in the table by now, so that it is in the middle.
            wait_until("some arrive", PATIENCE, || !pipeline.rows().is_empty());
            pipeline.adaptors[0].node.kill();
            std::thread::sleep(Duration::from_millis(50));
            pipeline.adaptors[0].node.start();
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    wait_until("all are in the table", PATIENCE, || pipeline.rows().len() >= sent.len());
    // Another start finds nothing new: the last cursor is in the spool.
    pipeline.adaptors[0].node.kill();
    pipeline.adaptors[0].node.start();
    pipeline.adaptors[0].wait_ready();
    std::thread::sleep(Duration::from_secs(1));
    let mut found = pipeline.rows();
    sent.sort();
    found.sort();
    assert_eq!(found.len(), sent.len(), "entries are there twice, or not at all");
    assert!(found == sent, "entries are not what was written");
}
