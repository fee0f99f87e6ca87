//! The README's commands, typed verbatim.
//!
//! Every fenced block that is marked `sh` is run by bash, in the order of the file, in one folder in which `logboom` is
//! the command under test. A line that starts a Logboom in the foreground (`cargo run --release -- up …`, `logboom up …`)
//! goes to the background instead and is waited for; lines that call `cargo` or `just` are left out. What a block says
//! must end with success. Blocks of which the line before the fence is `<!-- not run -->` are passed over.

use std::fs;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::harness::{Node, PATIENCE, run};

const NOT_RUN: &str = "<!-- not run -->";

#[test]
fn the_commands_of_the_readme_work_as_they_stand() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
    let Ok(text) = fs::read_to_string(&path) else {
        println!("there is no README.md");
        return;
    };
    run_blocks(&blocks(&text));
}

#[test]
fn the_commands_of_each_document_work_as_they_stand() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "md") {
            println!("{}", path.display());
            run_blocks(&blocks(&fs::read_to_string(path).unwrap()));
        }
    }
}

#[test]
fn blocks_are_taken_in_order_and_only_those_that_are_shell() {
    let text = "a\n```sh\none\ntwo\n```\n```toml\nx\n```\n<!-- not run -->\n```sh\nthree\n```\n```sh\nfour\n```\n";
    assert_eq!(blocks(text), ["one\ntwo\n", "four\n"]);
}

#[test]
fn a_walk_through_like_the_readmes_runs() {
    run_blocks(&[
        "cargo run --release -- up --listen 127.0.0.1:0\n".to_owned(),
        "echo hello | logboom send --category demo\nsleep 3\n".to_owned(),
        "logboom query \"SELECT body FROM logs\" | grep hello\n".to_owned(),
    ]);
}

fn blocks(text: &str) -> Vec<String> {
    let (mut blocks, mut open, mut before) = (Vec::new(), None, "");
    for line in text.lines() {
        match (&mut open, line.trim_end()) {
            (None, "```sh") => open = Some((String::new(), before != NOT_RUN)),
            (Some(_), "```") => blocks.extend(open.take().filter(|(_, run)| *run).map(|(block, _)| block)),
            (Some((block, _)), line) => {
                block.push_str(line);
                block.push('\n');
            }
            (None, _) => {}
        }
        before = line.trim();
    }
    blocks
}

fn run_blocks(blocks: &[String]) {
    let folder = tempfile::tempdir().unwrap();
    let mut ups = Vec::new();
    for block in blocks {
        let mut script = String::from("set -euo pipefail\n");
        for line in block.lines() {
            match up(line) {
                Some(arguments) => {
                    run_script(&folder, &std::mem::take(&mut script), block);
                    let arguments: Vec<&str> = arguments.split_whitespace().collect();
                    let mut node = Node::new(folder.path(), &format!("up-{}", ups.len()), &arguments);
                    node.start();
                    node.wait_for("is up on", PATIENCE);
                    ups.push(node);
                }
                None if ["cargo ", "just "].iter().any(|other| line.trim_start().starts_with(other)) => {}
                None => script += &format!("{line}\n"),
            }
        }
        run_script(&folder, &script, block);
    }
    for node in &mut ups {
        assert!(node.terminate(PATIENCE).success());
    }
}

/// The arguments of a line that runs a Logboom in the foreground, from `up` on.
fn up(line: &str) -> Option<&str> {
    let line = line.split(" #").next()?.trim();
    let rest = line.strip_prefix("cargo run --release -- ").or_else(|| line.strip_prefix("logboom "))?;
    (rest == "up" || rest.starts_with("up ")).then_some(rest)
}

fn run_script(folder: &TempDir, script: &str, block: &str) {
    let commands = Path::new(env!("CARGO_BIN_EXE_logboom")).parent().unwrap();
    let path = format!("{}:{}", commands.display(), std::env::var("PATH").unwrap_or_default());
    let mut bash = Command::new("bash");
    let output = run(bash.arg("-c").arg(script).current_dir(folder.path()).env("PATH", path), b"");
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}: of\n{block}\n{said}\n{errors}", output.status);
}
