//! Containers that write lines in parts, on two streams, while their files rotate and the source is killed and restarted:
//! in the end every line is there exactly once, whole.

use std::sync::atomic::Ordering;
use std::time::Duration;

use logboom_config::{Format, Multiline, MultilineRule, OnLongLine};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::rig::{Rig, exists, seeds};

const LOGS: usize = 3;
const MAX_LINE: usize = 300;

/// How lines are written, and what becomes of them.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Cri,
    Docker,
    /// Lines of parts, of which those that are indented belong to the one before.
    Records,
    /// Lines longer than the limit are cut.
    Cut,
}

/// What one stream of a container is at.
#[derive(Default)]
struct Stream {
    /// The line, or record, so far.
    text: String,
    /// Parts of the line that are still to be written.
    parts: Vec<String>,
    /// Lines of the record that are still to be written.
    lines: Vec<String>,
}

struct Writer {
    random: StdRng,
    mode: Mode,
    count: usize,
    expected: Vec<String>,
    streams: Vec<[Stream; 2]>,
    rotations: usize,
}

impl Writer {
    /// Writes the next part of a stream of a log.
    fn write(&mut self, rig: &Rig, log: usize) {
        let which = self.random.random_range(0..2);
        let stream = &mut self.streams[log][which];
        if stream.parts.is_empty() {
            if stream.lines.is_empty() {
                if !stream.text.is_empty() {
                    self.expected.push(std::mem::take(&mut stream.text));
                }
                let more = if self.mode == Mode::Records { self.random.random_range(0..4) } else { 0 };
                stream.lines =
                    (0..more).map(|n| format!(" {n}{}", "y".repeat(self.random.random_range(0..20)))).collect();
                let length = if self.mode == Mode::Cut { self.random.random_range(0..600) } else { 60 };
                stream.lines.push(format!("log {log}.{which} line {} {}", self.count, "x".repeat(length)));
                self.count += 1;
            } else {
                stream.text.push('\n');
            }
            let line = stream.lines.pop().unwrap();
            stream.text += &line;
            if self.mode == Mode::Cut {
                stream.text.truncate(MAX_LINE);
            }
            let mut rest = line.as_str();
            while !rest.is_empty() {
                let (part, after) = rest.split_at(self.random.random_range(1..=rest.len()));
                stream.parts.insert(0, part.to_owned());
                rest = after;
            }
        }
        let part = stream.parts.pop().unwrap();
        let (name, last) = (["stdout", "stderr"][which], stream.parts.is_empty());
        let text = match self.mode {
            Mode::Docker => {
                let log = if last { part + "\n" } else { part };
                let log = serde_json::to_string(&log).unwrap();
                format!("{{\"log\":{log},\"stream\":\"{name}\",\"time\":\"2023-11-14T22:13:20.5Z\"}}\n")
            }
            _ => format!("2023-11-14T22:13:20.5Z {name} {} {part}\n", if last { "F" } else { "P" }),
        };
        let file = format!("{log}.log");
        // Sometimes a part is written in two goes.
        let cut = if self.random.random_bool(0.1) { self.random.random_range(0..text.len()) } else { 0 };
        rig.append(&file, &text[..cut]);
        rig.append(&file, &text[cut..]);
    }

    /// Writes until no line is unfinished.
    fn finish(&mut self, rig: &Rig) {
        for log in 0..LOGS {
            while self.streams[log].iter().any(|stream| !stream.parts.is_empty() || !stream.lines.is_empty()) {
                self.write(rig, log);
            }
        }
        for stream in self.streams.iter_mut().flatten() {
            if !stream.text.is_empty() {
                self.expected.push(std::mem::take(&mut stream.text));
            }
        }
    }

    /// Renames the log, once it is known: a file that leaves the globs before that is missed.
    fn rotate(&mut self, rig: &Rig, log: usize) {
        let path = rig.path(&format!("{log}.log"));
        if exists(&path) && rig.is_known(&path) {
            self.rotations += 1;
            rig.rename(&format!("{log}.log"), &format!("{log}.log.{}", self.rotations));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_line_of_a_container_arrives_exactly_once_and_whole_whatever_happens() {
    for seed in seeds() {
        for mode in [Mode::Cri, Mode::Docker, Mode::Records, Mode::Cut] {
            run(seed, mode).await;
        }
    }
}

async fn run(seed: u64, mode: Mode) {
    let mut rig = Rig::new();
    rig.block_bytes = 2 << 10;
    rig.buffer_bytes = 16 << 10;
    rig.settings.max_open = 2;
    rig.source.format = if mode == Mode::Docker { Format::DockerJson } else { Format::Cri };
    if mode == Mode::Records {
        let rule = MultilineRule::Custom { start: None, continuation: None, indented: true };
        let timeout = Duration::from_secs(3600);
        rig.source.parsing.multiline = Some(Multiline { rule, timeout, lines_max: 500 });
    }
    if mode == Mode::Cut {
        (rig.source.max_line, rig.source.on_long_line) = (MAX_LINE, OnLongLine::Truncate);
    }
    let mut writer = Writer {
        random: StdRng::seed_from_u64(seed),
        mode,
        count: 0,
        expected: Vec::new(),
        streams: (0..LOGS).map(|_| Default::default()).collect(),
        rotations: 0,
    };
    let mut run = rig.start().await;
    let mut kills = 0;
    for _ in 0..250 {
        let log = writer.random.random_range(0..LOGS);
        match writer.random.random_range(0..100) {
            0..80 => {
                for _ in 0..writer.random.random_range(1..8) {
                    writer.write(&rig, log);
                }
            }
            80..88 => writer.rotate(&rig, log),
            88..92 => {
                run.kill().await;
                kills += 1;
                for _ in 0..writer.random.random_range(0..4) {
                    let log = writer.random.random_range(0..LOGS);
                    writer.write(&rig, log);
                    writer.rotate(&rig, log);
                    writer.write(&rig, log);
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
        tokio::time::sleep(Duration::from_millis(writer.random.random_range(0..10))).await;
    }
    run.stalled.store(false, Ordering::SeqCst);
    writer.finish(&rig);
    if mode == Mode::Records {
        // What ends the last record of each stream, and is not looked at.
        for log in 0..LOGS {
            for stream in ["stdout", "stderr"] {
                rig.append(&format!("{log}.log"), &format!("2023-11-14T22:13:20.5Z {stream} F the end\n"));
            }
        }
    }
    rig.comes(|durable| durable.lines.len() >= writer.expected.len()).await;
    run.stop().await;
    let difference = rig.durable.lock().unwrap().difference(&writer.expected);
    assert!(difference.is_empty(), "seed {seed} {mode:?}: lost (-1), repeated or made up (1): {difference:#?}");
    println!("seed {seed} {mode:?}: {} lines, {} rotations, {kills} kills", writer.expected.len(), writer.rotations);
}
