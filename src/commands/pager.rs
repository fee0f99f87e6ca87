//! The pager: a child process that long answers on a terminal go through.

use std::io::{self, Write, stdout};
use std::process::{Child, ChildStdin, Command, Stdio};

/// What stands for the pager if the environment names none: it leaves short answers on the screen and ends.
const DEFAULT: &str = "less";
/// How `less` behaves unless `LESS` says otherwise: quit if it fits on one screen, keep colours, do not clear.
const LESS: &str = "FRX";

/// Standard output by way of `$LOGBOOM_PAGER`, `$PAGER` or `less`, which starts with the first bytes.
pub struct Pager<F: Fn()> {
    wanted: bool,
    before: F,
    child: Option<(Child, ChildStdin)>,
}

impl<F: Fn()> Pager<F> {
    /// Starts nothing yet. `before` is called when the screen is about to change hands.
    pub fn new(wanted: bool, before: F) -> Self {
        Self { wanted, before, child: None }
    }

    /// Returns when the reader has left.
    pub fn wait(self) {
        if let Some((mut child, input)) = self.child {
            drop(input);
            let _ = child.wait();
        }
    }
}

impl<F: Fn()> Write for Pager<F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.is_empty() {
            return Ok(0);
        }
        if std::mem::take(&mut self.wanted) {
            (self.before)();
            self.child = spawn(name(|name| std::env::var(name).ok()));
        }
        match &mut self.child {
            Some((_, input)) => input.write(bytes),
            None => stdout().write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match &mut self.child {
            Some((_, input)) => input.flush(),
            None => stdout().flush(),
        }
    }
}

/// `None`: none is wanted.
fn name(variable: impl Fn(&str) -> Option<String>) -> Option<String> {
    let name = variable("LOGBOOM_PAGER").or_else(|| variable("PAGER")).unwrap_or_else(|| DEFAULT.to_owned());
    (!name.trim().is_empty() && name.trim() != "cat").then_some(name)
}

/// Without a pager that runs, answers go to the terminal as they are.
fn spawn(name: Option<String>) -> Option<(Child, ChildStdin)> {
    let name = name?;
    // It may have options, so it is for a shell to read; which says 127 where there is no such program.
    let mut command = Command::new("sh");
    command
        .args(["-c", &format!("command -v {} >/dev/null || exec cat; exec {name}", name.split_whitespace().next()?)]);
    command.stdin(Stdio::piped());
    if std::env::var_os("LESS").is_none() {
        command.env("LESS", LESS);
    }
    let mut child = command.spawn().ok()?;
    let input = child.stdin.take()?;
    Some((child, input))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pager_is_the_one_that_the_environment_names() {
        let of = |set: &'static [(&str, &str)]| {
            name(|name| set.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned()))
        };
        assert_eq!(of(&[]).as_deref(), Some("less"));
        assert_eq!(of(&[("PAGER", "more")]).as_deref(), Some("more"));
        assert_eq!(of(&[("PAGER", "more"), ("LOGBOOM_PAGER", "less -S")]).as_deref(), Some("less -S"));
        assert_eq!(of(&[("PAGER", "cat")]), None);
        assert_eq!(of(&[("PAGER", "")]), None);
    }
}
