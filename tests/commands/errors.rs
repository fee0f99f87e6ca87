//! What goes wrong is said in one line, with the right exit code, and nothing is left running.

use std::fs;
use std::net::TcpListener;
use std::process::Output;

use tempfile::TempDir;

use crate::harness::{Node, PATIENCE, free_port, logboom, run};

const WRONG_SETTINGS: i32 = 78;
const FAILED: i32 = 1;

/// Runs `logboom` in a folder with `settings.toml`.
fn run_with(settings: &str, arguments: &[&str]) -> (Output, TempDir) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("settings.toml"), settings).unwrap();
    fs::write(folder.path().join("file"), "not a folder").unwrap();
    (run(logboom().args(arguments).current_dir(folder.path()), b"a line\n"), folder)
}

/// Fails unless it says exactly one line with each of `parts` in it, and ends with `code`.
#[track_caller]
fn assert_one_line(settings: &str, arguments: &[&str], code: i32, parts: &[&str]) {
    let (output, _folder) = run_with(settings, arguments);
    let errors = String::from_utf8(output.stderr).unwrap();
    print!("{arguments:?}: {errors}");
    assert_eq!(output.status.code(), Some(code), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert!(output.stdout.is_empty(), "{:?}", String::from_utf8_lossy(&output.stdout));
    for part in parts {
        assert!(errors.contains(part), "no {part:?} in: {errors}");
    }
}

const ADAPTOR: [&str; 3] = ["adaptor", "--config", "settings.toml"];
const COLLECTOR: [&str; 3] = ["collector", "--config", "settings.toml"];
const CHECK: [&str; 2] = ["check", "settings.toml"];

#[test]
fn an_unknown_key_is_named_with_its_line() {
    let settings = "[collector]\nflush_intervall = \"1s\"\n[sink]\nurl = \"store\"\n";
    for arguments in [&COLLECTOR[..], &CHECK, &["up", "-c", "settings.toml"]] {
        assert_one_line(
            settings,
            arguments,
            WRONG_SETTINGS,
            &["settings.toml:2:", "flush_intervall", "flush_interval"],
        );
    }
}

#[test]
fn a_value_that_cannot_be_is_named_with_its_line() {
    let settings = "[adaptor]\n[adaptor.spool]\nwhen_full = \"panic\"\n";
    assert_one_line(settings, &ADAPTOR, WRONG_SETTINGS, &["settings.toml:3:", "adaptor.spool.when_full", "panic"]);
}

#[test]
fn text_that_is_no_toml_is_named_with_its_line() {
    assert_one_line("[adaptor]\nhost = \n", &ADAPTOR, WRONG_SETTINGS, &["settings.toml:2:"]);
}

#[test]
fn a_missing_settings_file_is_named() {
    let arguments = ["adaptor", "--config", "none.toml"];
    assert_one_line("", &arguments, WRONG_SETTINGS, &["none.toml", "No such file"]);
}

#[test]
fn a_missing_section_is_named() {
    assert_one_line("", &ADAPTOR, WRONG_SETTINGS, &["settings.toml", "[adaptor]"]);
    assert_one_line("[collector]\n", &COLLECTOR, WRONG_SETTINGS, &["settings.toml", "[sink]"]);
}

#[test]
fn a_port_in_use_is_named() {
    // Between the two another test may have bound it.
    let (port, _taken) = (0..100)
        .find_map(|_| {
            let port = free_port();
            TcpListener::bind(("127.0.0.1", port)).ok().map(|taken| (port, taken))
        })
        .unwrap();
    let address = format!("127.0.0.1:{port}");
    let collector = format!("[collector]\nlisten = \"{address}\"\n[sink]\nurl = \"store\"\n");
    assert_one_line(&collector, &COLLECTOR, FAILED, &[&address, "collector.listen"]);
    let source = format!(
        "[adaptor]\n[adaptor.spool]\npath = \"spool\"\n[[adaptor.source]]\ntype = \"tcp\"\nlisten = \"{address}\"\n"
    );
    assert_one_line(&source, &ADAPTOR, FAILED, &[&address]);
    assert_one_line("", &["up", "--listen", &address], FAILED, &[&address]);
}

#[test]
fn a_folder_that_cannot_be_written_is_named() {
    // Below a file, and in a place that takes no files from anybody.
    for path in ["file/spool", "/proc/logboom"] {
        let settings = format!("[adaptor]\n[adaptor.spool]\npath = \"{path}\"\n");
        assert_one_line(&settings, &ADAPTOR, FAILED, &[path]);
        assert_one_line("", &["up", "--listen", "127.0.0.1:0", "--data", path], FAILED, &[path]);
    }
    let settings = "[adaptor]\n[adaptor.spool]\npath = \"spool\"\n\
                    [[adaptor.source]]\ntype = \"unix\"\npath = \"file/in.sock\"\n";
    assert_one_line(settings, &ADAPTOR, FAILED, &["file/in.sock"]);
}

#[test]
fn a_store_that_refuses_is_named() {
    for url in ["file", "file/store", "/proc/logboom"] {
        let settings = format!("[collector]\nlisten = \"127.0.0.1:0\"\n[sink]\nurl = \"{url}\"\n");
        assert_one_line(&settings, &COLLECTOR, FAILED, &[url]);
        assert_one_line("", &["query", "--store", url, "SELECT 1 FROM logs"], FAILED, &[url]);
    }
    // A folder with something else's log in it.
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("store/_delta_log");
    fs::create_dir_all(&log).unwrap();
    fs::write(log.join("00000000000000000000.json"), "{}\n").unwrap();
    let settings = "[collector]\nlisten = \"127.0.0.1:0\"\n[sink]\nurl = \"store\"\n";
    fs::write(folder.path().join("settings.toml"), settings).unwrap();
    let output = run(logboom().args(COLLECTOR).current_dir(folder.path()), b"");
    let errors = String::from_utf8(output.stderr).unwrap();
    print!("{errors}");
    assert_eq!((output.status.code(), errors.lines().count()), (Some(FAILED), 1), "{errors}");
}

#[test]
fn sending_to_nobody_says_what_to_start() {
    assert_one_line("", &["send"], FAILED, &["./logboom-data/logboom.sock", "logboom up"]);
}

#[test]
fn a_query_that_is_no_sql_is_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let settings = "[collector]\nlisten = \"127.0.0.1:0\"\n[sink]\nurl = \"store\"\n";
    fs::write(folder.path().join("settings.toml"), settings).unwrap();
    let mut collector = Node::new(folder.path(), "collector", &COLLECTOR);
    collector.start();
    collector.wait_for("collector started", PATIENCE);
    for sql in ["SELEC 1", "SELECT nothing FROM logs", "SELECT * FROM nowhere"] {
        let output = run(logboom().args(["query", "--store", "store", sql]).current_dir(folder.path()), b"");
        let errors = String::from_utf8(output.stderr).unwrap();
        print!("{sql}: {errors}");
        assert_eq!((output.status.code(), errors.lines().count()), (Some(FAILED), 1), "{errors}");
    }
}

/// It has no put-if-absent because it is told not to, so no server has to be there.
const UNFIT: &str = "[collector]\n[sink]\nurl = \"s3://bucket/table\"\n[sink.options]\nconditional_put = \"disabled\"\n\
                     skip_signature = \"true\"\nallow_http = \"true\"\nendpoint = \"http://127.0.0.1:9\"\n";

#[test]
fn a_collector_refuses_to_start_on_a_store_that_is_unfit_for_commits() {
    let parts = ["s3://bucket/table", "unfit for a table", "has no put-if-absent", "docs/stores.md"];
    assert_one_line(UNFIT, &COLLECTOR, FAILED, &parts);
}

#[test]
fn a_check_of_the_connection_says_that_a_store_is_unfit() {
    let (output, _folder) = run_with(UNFIT, &["check", "--connect", "settings.toml"]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), errors.lines().count()), (Some(FAILED), 1), "{errors}");
    assert!(errors.contains("unfit for a table") && errors.contains("has no put-if-absent"), "{errors}");
}

#[test]
fn a_check_of_the_connection_says_that_a_store_is_fit() {
    let settings = "[sink]\nurl = \"store\"\n";
    let (output, folder) = run_with(settings, &["check", "--connect", "settings.toml"]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("fit for a table") && said.contains("100 of 100 races"), "{said}");
    let left = fs::read_dir(folder.path().join("store/_probe")).into_iter().flatten().count();
    assert_eq!(left, 0, "what it puts it deletes again");
}

#[test]
fn an_unknown_option_of_the_store_is_named_before_anything_runs() {
    let settings = "[collector]\n[sink]\nurl = \"s3://bucket/table\"\noptions = { regoin = \"x\" }\n";
    for arguments in [&CHECK[..], &COLLECTOR] {
        assert_one_line(settings, arguments, FAILED, &["`regoin`", "s3://bucket/table", "did you mean `region`"]);
    }
}

#[test]
fn a_table_that_cannot_be_verified_is_named() {
    assert_one_line("", &["table", "verify", "--store", "nowhere"], FAILED, &["nowhere", "No such file"]);
    assert_one_line("", &["table", "verify", "--store", "."], FAILED, &["no table at"]);
}
