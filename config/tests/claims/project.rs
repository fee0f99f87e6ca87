//! What the project says of itself: each threat of `SECURITY.md` has a test, each fuzz target is listed, the units of systemd
//! are as tight as the manual says and start what there is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The texts of all Rust files.
fn sources() -> Vec<(PathBuf, String)> {
    fn find(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            match path.is_dir() {
                true if !["target", ".git"].contains(&&*name) => find(&path, found),
                false if name.ends_with(".rs") => found.push((path.clone(), fs::read_to_string(&path).unwrap())),
                _ => {}
            }
        }
    }
    let mut found = Vec::new();
    find(&root(), &mut found);
    found
}

#[test]
fn every_threat_names_a_test_that_exists() {
    let text = fs::read_to_string(root().join("SECURITY.md")).unwrap();
    let sources = sources();
    let tests: BTreeSet<&str> = sources
        .iter()
        .flat_map(|(_, text)| text.split("fn ").skip(1))
        .filter_map(|rest| rest.split_once("() ").map(|(name, _)| name))
        .collect();
    let threats = text.split_once("## Threats").unwrap().1.split_once("## What is not promised").unwrap().0;
    let rows = threats.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| threat"));
    let mut count = 0;
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split(" | ").collect();
        let [_, _, named] = cells[..] else { panic!("a row has a threat, what stops it, and tests: {row}") };
        let named: Vec<&str> = named.split('`').skip(1).step_by(2).collect();
        assert!(!named.is_empty(), "no test: {row}");
        for name in named {
            assert!(tests.contains(name), "there is no test `{name}`: {row}");
        }
        count += 1;
    }
    assert!(count > 25, "{count} rows were found");
}

#[test]
fn every_fuzz_target_is_listed_and_is_there() {
    let listed = fs::read_to_string(root().join("fuzz/targets")).unwrap();
    let rows: Vec<Vec<&str>> =
        listed.lines().filter(|line| !line.starts_with('#')).map(|line| line.split('\t').collect()).collect();
    let names: BTreeSet<&str> = rows.iter().map(|row| row[0]).collect();
    assert_eq!(names.len(), rows.len(), "a name is there twice");
    let mut found = 0;
    for (path, text) in sources() {
        if path.starts_with(root().join("fuzz")) || path.ends_with("project.rs") {
            continue;
        }
        // The test is the function that the call is in.
        for (at, _) in text.match_indices(" fuzz(") {
            let test = text[..at].rsplit("fn ").next().unwrap().split_once('(').unwrap().0;
            let is_listed = rows.iter().any(|row| row[3].rsplit("::").next() == Some(test));
            assert!(is_listed, "{}: `{test}` is not in fuzz/targets", path.display());
            found += 1;
        }
    }
    assert_eq!(found, rows.len(), "fuzz/targets lists more than there is");
}

#[test]
fn units_of_systemd_are_tight_and_have_no_key_that_it_does_not_know() {
    let folder = root().join("packaging/systemd");
    let units = ["logboom-adaptor.service", "logboom-collector.service"].map(|name| folder.join(name));
    for (unit, command) in units.iter().zip(["logboom-adaptor --config ", "logboom collector --config "]) {
        let text = fs::read_to_string(unit).unwrap();
        assert!(text.contains(&format!("ExecStart=/usr/bin/{command}")), "{}", unit.display());
        let path = unit.to_str().unwrap();
        let Ok(tight) = Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--threshold=20", "--no-pager", path])
            .output()
        else {
            println!("there is no systemd-analyze here; skipped");
            return;
        };
        let said = String::from_utf8_lossy(&tight.stdout);
        assert!(tight.status.success() && said.contains("Overall exposure level"), "{said}");
        // It fails for the programs that are not installed here; what it does not understand it says.
        let verified = Command::new("systemd-analyze").args(["verify", "--man=no", path]).output().unwrap();
        let said = String::from_utf8_lossy(&verified.stderr);
        let complaints: Vec<&str> =
            said.lines().filter(|line| line.contains(path) || line.contains(".service:")).collect();
        let expected = |line: &&&str| line.contains("is not executable: No such file");
        assert!(complaints.iter().filter(|line| !expected(line)).count() == 0, "{said}");
    }
}
