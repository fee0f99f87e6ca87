//! The source starts again from what was durable, after files changed while it was down.

use std::fs::{self, File};
use std::sync::atomic::Ordering;

use super::rig::{Rig, grace, looks};
use crate::source::testing::routes;

/// A source that has read `text` from `a.log` and is down now.
async fn down_after(text: &str) -> Rig {
    let mut rig = Rig::new();
    rig.append("a.log", text);
    let run = rig.start().await;
    rig.until("read", |durable| durable.lines.len() == text.matches('\n').count()).await;
    run.stop().await;
    rig
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_not_durable_is_read_again_and_nothing_else() {
    let mut rig = Rig::new();
    let run = rig.start().await;
    rig.append("a.log", "1\n2\n");
    rig.until_bodies(&["1", "2"]).await;
    run.stalled.store(true, Ordering::SeqCst);
    looks(1).await;
    rig.append("a.log", "3\n4\n");
    looks(2).await;
    run.kill().await;
    rig.assert_bodies(&["1", "2"]);
    rig.append("a.log", "5\n");
    let run = rig.start().await;
    rig.until_bodies(&["1", "2", "3", "4", "5"]).await;
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_that_rules_drop_are_passed_over_for_good() {
    let mut rig = Rig::new();
    rig.routes = routes("[[adaptor.route]]\nbody = '^noise'\ndrop = true\n");
    rig.append("a.log", &"noise\n".repeat(5000));
    rig.append("b.log", "noise\n1\nnoise\n");
    let run = rig.start().await;
    rig.until("read", |durable| {
        let offsets: u64 = durable.standings().iter().map(|standing| standing.offset).sum();
        offsets == 6 * 5000 + 14
    })
    .await;
    assert_eq!((run.counters.records_in.get(), run.counters.records_dropped_by_route.get()), (1, 5002));
    run.stop().await;
    // Without the rule nothing of it comes back.
    rig.routes = routes("[adaptor]");
    let run = rig.start().await;
    rig.append("a.log", "2\n");
    rig.until_bodies(&["1", "2"]).await;
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_renamed_while_down_is_read_to_its_end() {
    for new_name in ["a.log.1", "a-1.log"] {
        let mut rig = down_after("1\n").await;
        rig.append("a.log", "2\n");
        rig.rename("a.log", new_name);
        rig.append("a.log", "new\n");
        let run = rig.start().await;
        rig.until("three lines", |durable| durable.lines.len() == 3).await;
        rig.append(new_name, "3\n");
        rig.until("four lines", |durable| durable.lines.len() == 4).await;
        run.stop().await;
        let durable = rig.durable.lock().unwrap();
        let mut bodies = durable.bodies();
        bodies.retain(|&body| body != "new");
        assert_eq!(bodies, ["1", "2", "3"]);
        let path = rig.path("a.log").display().to_string();
        assert!(durable.lines.iter().all(|(at, _)| *at == path), "{:?}", durable.lines);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_deleted_while_down_is_forgotten_and_its_inode_means_nothing() {
    let mut rig = down_after("same\nsame\n").await;
    rig.remove("a.log");
    rig.append("b.log", "same\nsame\nsame\n");
    let run = rig.start().await;
    rig.until("three more", |durable| durable.lines.len() == 5).await;
    rig.until("only the new one is known", |durable| {
        durable.standings().iter().all(|standing| standing.path.ends_with("b.log"))
    })
    .await;
    run.stop().await;
    assert_eq!(rig.standings().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_time_of_birth_the_first_bytes_tell_a_new_file_with_the_same_inode() {
    let mut rig = down_after("1\n2\n").await;
    for value in rig.durable.lock().unwrap().positions.values_mut() {
        let mut standing: serde_json::Value = serde_json::from_str(value).unwrap();
        standing.as_object_mut().unwrap().remove("born");
        *value = standing.to_string();
    }
    fs::write(rig.path("a.log"), "another\nfile\n").unwrap();
    let run = rig.start().await;
    rig.until_bodies(&["1", "2", "another", "file"]).await;
    run.stop().await;
    assert_eq!(rig.standings().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_truncated_while_down_is_read_from_its_beginning() {
    let mut rig = down_after("1\n2\n").await;
    File::create(rig.path("a.log")).unwrap();
    rig.append("a.log", "3\n");
    let run = rig.start().await;
    rig.until_bodies(&["1", "2", "3"]).await;
    assert_eq!(run.counters.files_truncated.get(), 1);
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_truncated_and_then_renamed_while_down_is_read_from_its_beginning() {
    for new_name in ["a.log.1", "a-1.log"] {
        let mut rig = down_after("1\n2\n").await;
        File::create(rig.path("a.log")).unwrap();
        rig.append("a.log", "longer than before\n");
        rig.rename("a.log", new_name);
        let run = rig.start().await;
        rig.until_bodies(&["1", "2", "longer than before"]).await;
        run.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_number_that_changed_does_not_matter_at_the_same_path_and_the_old_key_is_forgotten() {
    let mut rig = down_after("1\n2\n").await;
    {
        let mut durable = rig.durable.lock().unwrap();
        let (key, value) = durable.positions.pop_first().unwrap();
        let inode = key.rsplit('/').next().unwrap();
        durable.positions.insert(format!("file/test/99999/{inode}"), value);
    }
    rig.append("a.log", "3\n");
    let run = rig.start().await;
    rig.until_bodies(&["1", "2", "3"]).await;
    run.stop().await;
    let durable = rig.durable.lock().unwrap();
    assert_eq!(durable.positions.len(), 1);
    assert!(!durable.positions.keys().any(|key| key.contains("99999")));
}

#[tokio::test(flavor = "multi_thread")]
async fn positions_of_a_file_system_that_is_not_mounted_are_kept() {
    let mut rig = down_after("1\n").await;
    {
        let mut durable = rig.durable.lock().unwrap();
        let value = durable.positions.values().next().unwrap().replace("a.log", "gone.log");
        durable.positions.insert("file/test/99999/5".into(), value.clone());
        durable.positions.insert("file/other/1/5".into(), value);
    }
    let run = rig.start().await;
    grace().await;
    run.stop().await;
    assert_eq!(rig.durable.lock().unwrap().positions.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_was_taken_out_of_the_globs_is_neither_read_nor_forgotten() {
    let mut rig = down_after("1\n").await;
    rig.append("a.log", "2\n");
    rig.settings.exclude.push("a.log".into());
    let run = rig.start().await;
    grace().await;
    run.stop().await;
    rig.assert_bodies(&["1"]);
    rig.settings.exclude.clear();
    let run = rig.start().await;
    rig.until_bodies(&["1", "2"]).await;
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_does_not_read_is_ignored() {
    let mut rig = Rig::new();
    rig.durable.lock().unwrap().positions.insert("file/test/1/2".into(), "{\"path\":7".into());
    rig.append("a.log", "1\n");
    let run = rig.start().await;
    rig.until_bodies(&["1"]).await;
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_without_news_hands_nothing_over() {
    let mut rig = down_after("1\n").await;
    let before = rig.durable.lock().unwrap().positions.clone();
    rig.durable.lock().unwrap().positions.clear();
    rig.durable.lock().unwrap().positions.extend(before.clone());
    let run = rig.start().await;
    grace().await;
    run.stop().await;
    rig.assert_bodies(&["1"]);
    assert_eq!(rig.durable.lock().unwrap().positions, before);
}
