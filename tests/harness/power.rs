//! A disk whose power can be cut: `tests/tools/src/power_disk.rs`, as a test sees it.

use std::fmt::Display;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};

use super::mount::Mount;
use super::tools::tool;

/// What a power cut takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// All that is not synced.
    All,
    /// Of all that is not synced an arbitrary part: sectors, lengths and names, each by itself.
    Some { seed: u64 },
}

/// A disk, mounted as long as this lives.
pub struct PowerDisk {
    process: Child,
    answers: BufReader<ChildStdout>,
    /// Ends after the process, in case that could not unmount it.
    _mount: Mount,
}

impl PowerDisk {
    /// Mounts an empty one; `None`, with the reason printed, where that is not possible.
    pub fn mount(at: &Path) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let mut command = Command::new(tool("power-disk"));
        let mut process = command.arg(at).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        let mut disk = Self { process, answers, _mount: Mount::already(at) };
        let answer = disk.answer();
        if answer != "mounted" {
            println!("skipped: {answer}");
            return None;
        }
        Some(disk)
    }

    /// Cuts the power before the `at`-th call from now on that changes or syncs anything.
    pub fn cut_at(&mut self, at: u64, loss: Loss) {
        match loss {
            Loss::All => self.ask(format_args!("cut {at} all")),
            Loss::Some { seed } => self.ask(format_args!("cut {at} {seed}")),
        };
    }

    /// Calls that changed or synced anything, since [`PowerDisk::cut_at`] or the beginning.
    pub fn calls(&mut self) -> u64 {
        self.ask("calls").parse().unwrap()
    }

    /// Whether the power is gone: every call fails.
    pub fn is_off(&mut self) -> bool {
        self.ask("off?") == "true"
    }

    /// The power is back. Whoever used the disk has to have ended.
    pub fn restore(&mut self) {
        self.ask("restore");
    }

    fn ask(&mut self, order: impl Display) -> String {
        writeln!(self.process.stdin.as_ref().expect("it is piped"), "{order}").unwrap();
        self.answer()
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for PowerDisk {
    fn drop(&mut self) {
        drop(self.process.stdin.take());
        let _ = self.process.wait();
    }
}
