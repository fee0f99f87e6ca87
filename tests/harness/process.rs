//! One process.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::wait_until;

/// Lines of a log that a failed test shows.
const LOG_LINES: usize = 25;

/// What a tracer says at the beginning. Behind it comes the id of the process.
const TRACED: &str = "the tracer has started process ";

/// The command under test.
pub fn logboom() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_logboom"));
    command.env_remove("LOGBOOM_LOG").env_remove("LOGBOOM_CRASH_AT").env_remove("RUST_BACKTRACE");
    command
}

/// A long-running `logboom`, which can be started again and again. Its output of all runs is one file.
pub struct Node {
    name: String,
    arguments: Vec<String>,
    folder: PathBuf,
    log: PathBuf,
    /// Length of the log when it was last started.
    log_begin: usize,
    child: Option<Child>,
    /// A program that runs it, with the first of its arguments; mostly none.
    wrapper: Vec<String>,
    /// The child is a tracer.
    is_traced: bool,
}

impl Node {
    /// A node that is not started yet, with `folder` as its working folder.
    pub fn new(folder: &Path, name: &str, arguments: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            folder: folder.to_owned(),
            log: folder.join(format!("{name}.log")),
            log_begin: 0,
            child: None,
            wrapper: Vec::new(),
            is_traced: false,
        }
    }

    /// From its next start on it is run by this program, which has to become it: `ip netns exec name`.
    pub fn wrap(&mut self, wrapper: &[&str]) {
        self.wrapper = wrapper.iter().map(|word| (*word).to_owned()).collect();
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Starts it.
    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    /// Starts it with additions to its environment.
    pub fn start_with(&mut self, environment: &[(&str, &str)]) {
        let mut command = logboom();
        command.args(&self.arguments);
        if let [program, arguments @ ..] = &self.wrapper[..] {
            let mut wrapper = Command::new(program);
            wrapper.args(arguments).arg(command.get_program()).args(command.get_args());
            command = wrapper;
        }
        command.envs(environment.iter().copied());
        self.spawn(command);
        self.is_traced = false;
    }

    /// Starts it under a tracer: a program that runs it, with the first of its arguments. It writes to the same output.
    pub fn start_traced(&mut self, tracer: &[&str]) {
        let command = logboom();
        let mut wrapper = Command::new(tracer[0]);
        wrapper.args(&tracer[1..]).arg(command.get_program()).args(&self.arguments);
        self.spawn(wrapper);
        self.is_traced = true;
        self.wait_for(TRACED, super::PATIENCE);
    }

    fn spawn(&mut self, mut command: Command) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        self.log_begin = fs::metadata(&self.log).map_or(0, |log| log.len() as usize);
        let log = File::options().create(true).append(true).open(&self.log).unwrap();
        command.current_dir(&self.folder);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap());
    }

    /// Kills it on the spot.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            child.wait().unwrap();
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap_or_else(|| panic!("{} does not run", self.name)).id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let child = self.child.as_ref().unwrap_or_else(|| panic!("{} does not run", self.name));
        if self.is_traced {
            // A tracer ends with what it traces, which may be at this moment.
            let traced = Pid::from_raw(self.number_behind(TRACED).unwrap() as i32).unwrap();
            let _ = kill_process(traced, signal);
            return;
        }
        kill_process(Pid::from_child(child), signal).unwrap();
    }

    /// Whether it was started and is not running any more.
    pub fn has_ended(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| child.try_wait().unwrap().is_some())
    }

    /// Asks it to end and waits for that.
    #[track_caller]
    pub fn terminate(&mut self, limit: Duration) -> ExitStatus {
        self.signal(Signal::TERM);
        self.wait(limit)
    }

    /// Waits for its end.
    #[track_caller]
    pub fn wait(&mut self, limit: Duration) -> ExitStatus {
        let begin = Instant::now();
        loop {
            if let Some(status) = self.ended() {
                return status;
            }
            assert!(begin.elapsed() < limit, "{} has not ended within {limit:?}", self.name);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// How it ended, if it has just done so.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().unwrap()?;
        self.child = None;
        Some(status)
    }

    /// Waits until its output since the last start holds `text`. Returns how long that took.
    #[track_caller]
    pub fn wait_for(&self, text: &str, limit: Duration) -> Duration {
        wait_until(&format!("{} says {text:?}", self.name), limit, || self.log().contains(text))
    }

    /// Its output since the last start.
    pub fn log(&self) -> String {
        let log = fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log[self.log_begin.min(log.len())..]).into_owned()
    }

    /// The number behind `name=` in its output since the last start, where it was last said; 0 if never.
    pub fn counter(&self, name: &str) -> u64 {
        self.number_behind(&format!("{name}=")).unwrap_or(0)
    }

    /// The number behind `text` in its output since the last start, where it was last said.
    pub fn number_behind(&self, text: &str) -> Option<u64> {
        let log = self.log();
        let (_, rest) = log.rsplit_once(text)?;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(LOG_LINES)..].join("\n    ");
            eprintln!("--- the end of the log of {}:\n    {last}", self.name);
        }
    }
}

/// Runs a short-lived `logboom` to its end, with `input` on its standard input.
pub fn run(command: &mut Command, input: &[u8]) -> Output {
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_owned();
    // It may end without reading all of it.
    let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    output
}
