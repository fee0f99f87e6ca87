//! All of it at once, with a fixed seed: a writer appends, rotates, truncates and deletes, while the source is killed and
//! restarted; in the end every line is there exactly once.

use std::collections::HashMap;
use std::fs;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::rig::{Rig, exists, seeds};

const LOGS: usize = 4;
const ROTATED_MAX: usize = 3;

struct Writer {
    random: StdRng,
    /// Lines begun so far, and which of them are to arrive.
    lines: usize,
    expected: Vec<String>,
    /// The rest of the line that was begun in each log.
    rest: HashMap<usize, String>,
}

impl Writer {
    /// Appends a few lines, the first of them where the last one broke off.
    fn append(&mut self, rig: &Rig, log: usize) {
        let mut text = self.rest.remove(&log).unwrap_or_default();
        for _ in 0..self.random.random_range(1..30) {
            let line = format!("log {log} line {} {}", self.lines, "x".repeat(self.random.random_range(0..120)));
            self.lines += 1;
            text += &line;
            text.push('\n');
            self.expected.push(line);
        }
        if self.random.random_bool(0.3) {
            let cut = self.random.random_range(0..text.len());
            self.rest.insert(log, text.split_off(cut));
        }
        rig.append(&format!("{log}.log"), &text);
    }

    /// Waits until every line is durable. None may be repeated.
    async fn assert_all_come(&self, rig: &Rig, seed: u64) {
        assert!(self.rest.is_empty(), "every line was finished");
        rig.comes(|durable| durable.lines.len() >= self.expected.len()).await;
        let durable = rig.durable.lock().unwrap();
        let difference = durable.difference(&self.expected);
        assert!(
            difference.is_empty(),
            "seed {seed}: lost (-1) or repeated (1): {difference:#?} {:#?}",
            durable.positions
        );
    }

    /// Renames the log, in or out of the globs. The writer finishes its line, before or after.
    fn rotate(&mut self, rig: &Rig, log: usize) {
        let leaves = log.is_multiple_of(2);
        let name = |number: usize| match leaves {
            true => format!("{log}.log.{number}"),
            false => format!("{log}-{number}.log"),
        };
        // A file that leaves the globs before it is known is missed.
        let log_path = rig.path(&format!("{log}.log"));
        if exists(&rig.path(&name(ROTATED_MAX))) || !exists(&log_path) || (leaves && !rig.is_known(&log_path)) {
            return;
        }
        for number in (1..ROTATED_MAX).rev().filter(|&number| exists(&rig.path(&name(number)))) {
            rig.rename(&name(number), &name(number + 1));
        }
        rig.rename(&format!("{log}.log"), &name(1));
        if let Some(rest) = self.rest.remove(&log) {
            rig.append(&name(1), &rest);
        }
        if self.random.random_bool(0.5) {
            self.append(rig, log);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_arrives_exactly_once_whatever_happens() {
    for seed in seeds() {
        run(seed).await;
    }
}

async fn run(seed: u64) {
    let mut rig = Rig::new();
    rig.block_bytes = 2 << 10;
    rig.buffer_bytes = 16 << 10;
    rig.settings.max_open = 3;
    let mut writer =
        Writer { random: StdRng::seed_from_u64(seed), lines: 0, expected: Vec::new(), rest: HashMap::new() };
    let mut run = rig.start().await;
    let mut kills = 0;
    for _ in 0..600 {
        let log = writer.random.random_range(0..LOGS);
        match writer.random.random_range(0..100) {
            0..70 => writer.append(&rig, log),
            70..82 => writer.rotate(&rig, log),
            // Only what was read to its end may be emptied or deleted: all else loses lines by itself.
            action @ 82..88 => {
                run.stalled.store(false, Ordering::SeqCst);
                for log in 0..LOGS {
                    if let Some(rest) = writer.rest.remove(&log) {
                        rig.append(&format!("{log}.log"), &rest);
                    }
                }
                writer.assert_all_come(&rig, seed).await;
                if action < 85 && exists(&rig.path(&format!("{log}.log"))) {
                    fs::write(rig.path(&format!("{log}.log")), "").unwrap();
                } else {
                    for entry in fs::read_dir(rig.dir.path()).unwrap() {
                        if writer.random.random_bool(0.5) {
                            fs::remove_file(entry.unwrap().path()).unwrap();
                        }
                    }
                }
                if writer.random.random_bool(0.5) {
                    writer.append(&rig, log);
                }
            }
            88..92 => {
                run.kill().await;
                kills += 1;
                for _ in 0..writer.random.random_range(0..3) {
                    let log = writer.random.random_range(0..LOGS);
                    writer.append(&rig, log);
                    if writer.random.random_bool(0.3) {
                        writer.rotate(&rig, log);
                    }
                }
                run = rig.start().await;
            }
            92..94 => {
                run.stop().await;
                run = rig.start().await;
            }
            94..97 => run.stalled.store(true, Ordering::SeqCst),
            _ => run.stalled.store(false, Ordering::SeqCst),
        }
        tokio::time::sleep(Duration::from_millis(writer.random.random_range(0..8))).await;
    }
    for (log, rest) in std::mem::take(&mut writer.rest) {
        rig.append(&format!("{log}.log"), &rest);
    }
    run.stalled.store(false, Ordering::SeqCst);
    writer.assert_all_come(&rig, seed).await;
    run.stop().await;
    writer.assert_all_come(&rig, seed).await;
    println!("seed {seed}: {} lines, {kills} kills", writer.expected.len());
}
