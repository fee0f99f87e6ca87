//! The README's commands, typed verbatim.
//!
//! The fenced blocks of a document that are marked `sh` are one bash session, in a folder of its own in which `logboom` is
//! the command under test, on ports of its own; every command has to succeed. A block marked `text` that follows says
//! what the block before it prints. A Logboom in the foreground (`cargo run --release -- up …`) goes to the background and
//! is waited for. Blocks of which the line before the fence is `<!-- not run -->` are passed over.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::harness::{free_port, run};

const NOT_RUN: &str = "<!-- not run -->";
/// Printed between blocks.
const MARKER: &str = "=== next block ===";
/// In seconds.
const LIMIT: &str = "60";

#[test]
fn the_commands_of_the_readme_work_as_they_stand() {
    let blocks = document(&Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md"));
    assert!(!blocks.is_empty(), "no command in the README is tested");
}

#[test]
fn the_commands_of_each_document_work_as_they_stand() {
    for entry in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs")).unwrap() {
        let path = entry.unwrap().path();
        // The manual of sources has a test of its own.
        let here = path.file_stem().is_some_and(|stem| stem != "sources");
        if here && path.extension().is_some_and(|extension| extension == "md") {
            println!("{}: {} blocks", path.display(), document(&path).len());
        }
    }
}

#[test]
fn a_block_that_fails_or_prints_something_else_is_noticed() {
    let block = |commands: &str, prints: Option<&str>| Block {
        commands: commands.to_owned(),
        prints: prints.map(str::to_owned),
    };
    assert_eq!(session(&[block("cd /\n", None), block("pwd\n", Some("/\n"))]), Ok(()));
    assert!(session(&[block("false\ntrue\n", None)]).is_err());
    assert!(session(&[block("echo a\n", Some("a\n")), block("echo a\n", Some("b\n"))]).is_err());
}

#[test]
fn blocks_are_taken_in_order_and_only_those_that_are_shell() {
    let text = "```sh\none\ntwo\n```\nThis prints\n```text\n1\n```\n```toml\nx\n```\n\
                <!-- not run -->\n```sh\nthree\n```\n```sh\nfour\n```\n";
    let found: Vec<_> = blocks(text).into_iter().map(|block| (block.commands, block.prints)).collect();
    assert_eq!(found, [("one\ntwo\n".into(), Some("1\n".into())), ("four\n".into(), None)]);
}

#[test]
fn a_logboom_in_the_foreground_goes_to_the_background() {
    let text = "```sh\ncargo run --release -- up\n```\n```sh\necho hello | logboom send --category demo\nsleep 3\n\
                logboom query --quiet -o csv 'SELECT body FROM logs'\n```\n```text\nbody\nhello\n```\n";
    assert_eq!(session(&blocks(text)), Ok(()));
}

struct Block {
    commands: String,
    prints: Option<String>,
}

/// Runs the blocks of a document.
#[track_caller]
fn document(path: &Path) -> Vec<Block> {
    let blocks = blocks(&fs::read_to_string(path).unwrap());
    session(&blocks).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    blocks
}

fn blocks(text: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut lines = text.lines();
    let mut before = "";
    while let Some(line) = lines.next() {
        if let Some(kind) = line.trim().strip_prefix("```") {
            let content: String =
                lines.by_ref().take_while(|line| line.trim() != "```").map(|line| format!("{line}\n")).collect();
            match (kind, blocks.last_mut()) {
                ("sh", _) if before != NOT_RUN => blocks.push(Block { commands: content, prints: None }),
                ("text", Some(last)) if last.prints.is_none() => last.prints = Some(content),
                _ => {}
            }
        }
        before = line.trim();
    }
    blocks
}

/// Runs `blocks` in one bash.
fn session(blocks: &[Block]) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let bin = folder.path().join("bin");
    let home = folder.path().join("home");
    fs::create_dir(&bin).unwrap();
    fs::create_dir(&home).unwrap();
    let command = env!("CARGO_BIN_EXE_logboom");
    let up = format!("if [ \"$1\" = up ]; then shift; set -- up --listen 127.0.0.1:{} \"$@\"; fi", free_port());
    fs::write(bin.join("logboom"), format!("#!/bin/sh\n{up}\nexec {command} \"$@\"\n")).unwrap();
    fs::set_permissions(bin.join("logboom"), fs::Permissions::from_mode(0o755)).unwrap();

    let mut script = String::from("set -euo pipefail\ntrap 'kill $(jobs -p) 2>/dev/null || true' EXIT\n");
    for block in blocks {
        block.commands.lines().for_each(|line| script += &command_line(line));
        script += &format!("echo '{MARKER}'\n");
    }
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    let mut bash = Command::new("timeout");
    bash.args([LIMIT, "bash", "-c", &script]).current_dir(&home).env("PATH", path);
    let output = run(&mut bash, b"");
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        return Err(format!("{}\n{said}\n{errors}", output.status));
    }
    let marker = format!("{MARKER}\n");
    for (block, printed) in blocks.iter().zip(said.split(&marker)) {
        if block.prints.as_ref().is_some_and(|prints| prints != printed) {
            return Err(format!("it prints\n{printed}\nand not what follows:\n{}", block.commands));
        }
    }
    Ok(())
}

fn command_line(line: &str) -> String {
    let line = line.replace("cargo run --release -- ", "logboom ");
    match line.starts_with("logboom up") && !line.trim_end().ends_with('&') {
        true => format!("{line} > .up.txt &\nuntil grep -q query .up.txt; do sleep 0.1; done\n"),
        false => format!("{line}\n"),
    }
}
