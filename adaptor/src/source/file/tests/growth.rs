//! Files appear, grow, and end without a newline.

use std::fs;
use std::os::unix::fs::symlink;

use super::rig::{Rig, grace, looks};

#[tokio::test(flavor = "multi_thread")]
async fn files_that_appear_later_are_found_and_read_as_they_grow() {
    let mut rig = Rig::new();
    let run = rig.start().await;
    looks(2).await;
    rig.append("a.log", "a1\na2\n");
    rig.until_bodies(&["a1", "a2"]).await;
    rig.append("b.log", "b1\n");
    rig.until_bodies(&["a1", "a2", "b1"]).await;
    rig.append("a.log", "a3\n");
    rig.until_bodies(&["a1", "a2", "b1", "a3"]).await;
    let path = rig.path("b.log").display().to_string();
    assert_eq!(rig.durable.lock().unwrap().lines[2], (path, "b1".into()));
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_is_taken_once_it_is_whole() {
    let mut rig = Rig::new();
    let run = rig.start().await;
    rig.append("a.log", "one\ntw");
    rig.until_bodies(&["one"]).await;
    grace().await;
    rig.assert_bodies(&["one"]);
    rig.append("a.log", "o\n");
    rig.until_bodies(&["one", "two"]).await;
    run.stop().await;
    assert_eq!(rig.standings()[0].offset, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_line_stays_in_the_file_when_the_source_stops() {
    let mut rig = Rig::new();
    rig.append("a.log", "one\ntw");
    let run = rig.start().await;
    rig.until_bodies(&["one"]).await;
    run.stop().await;
    rig.assert_bodies(&["one"]);
    assert_eq!(rig.standings()[0].offset, 4);
    rig.append("a.log", "o\nthree\n");
    let run = rig.start().await;
    rig.until_bodies(&["one", "two", "three"]).await;
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_behind_links_and_several_globs_is_read_once_and_other_things_are_passed_over() {
    let mut rig = Rig::new();
    rig.settings.include.push(format!("{}/a*", rig.dir.path().display()));
    rig.settings.exclude.push("*.skip.log".into());
    rig.append("a.log", "one\n");
    rig.append("a.skip.log", "no\n");
    symlink("a.log", rig.path("b.log")).unwrap();
    fs::hard_link(rig.path("a.log"), rig.path("c.log")).unwrap();
    fs::create_dir(rig.path("d.log")).unwrap();
    let run = rig.start().await;
    rig.until_bodies(&["one"]).await;
    rig.append("b.log", "two\n");
    rig.until_bodies(&["one", "two"]).await;
    looks(3).await;
    run.stop().await;
    rig.assert_bodies(&["one", "two"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_from_the_end_skips_what_was_there_and_nothing_else() {
    let mut rig = Rig::new();
    rig.settings.read_from = logboom_config::ReadFrom::End;
    rig.append("a.log", "old\n");
    rig.append("partial.log", "old\nsplit he");
    let run = rig.start().await;
    rig.append("a.log", "new\n");
    rig.append("later.log", "later\n");
    rig.until("two lines", |durable| durable.lines.len() == 2).await;
    rig.append("partial.log", "re\nwhole\n");
    rig.until_bodies(&["new", "later", "whole"]).await;
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_at_which_reading_starts_is_durable_before_anything_is_read() {
    let mut rig = Rig::new();
    rig.settings.read_from = logboom_config::ReadFrom::End;
    rig.append("a.log", "old\n");
    rig.append("partial.log", "old\nsplit he");
    let run = rig.start().await;
    rig.until("positions", |durable| durable.standings().len() == 2).await;
    run.kill().await;
    rig.append("a.log", "new\n");
    rig.append("partial.log", "re\nwhole\n");
    rig.append("later.log", "later\n");
    let run = rig.start().await;
    rig.until_bodies(&["new", "later", "whole"]).await;
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_from_the_end_is_remembered_even_if_there_was_no_file() {
    let mut rig = Rig::new();
    rig.settings.read_from = logboom_config::ReadFrom::End;
    let run = rig.start().await;
    rig.until("the start", |durable| !durable.positions.is_empty()).await;
    run.kill().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_that_was_used_before_knows_that_a_file_is_new() {
    let mut rig = Rig::new();
    rig.resumed = true;
    rig.settings.read_from = logboom_config::ReadFrom::End;
    rig.append("a.log", "written while the adaptor was down\n");
    let run = rig.start().await;
    rig.until_bodies(&["written while the adaptor was down"]).await;
    run.stop().await;
}
