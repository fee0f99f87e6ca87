//! Lines that belong together: a record of several lines waits in its file, a container's line may go on in the next file.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use logboom_config::{Format, Multiline, MultilineRule, OnLongLine};

use super::rig::{Rig, grace, looks};

const HOUR: Duration = Duration::from_secs(3600);

fn multiline(timeout: Duration) -> Rig {
    let mut rig = Rig::new();
    let rule = MultilineRule::Custom { start: None, continuation: None, indented: true };
    rig.source.parsing.multiline = Some(Multiline { rule, timeout, lines_max: 5 });
    rig
}

fn cri() -> Rig {
    let mut rig = Rig::new();
    rig.source.format = Format::Cri;
    rig
}

/// Lines of `cri`: `o` or `e` for the stream, `P` or `F`, and content.
fn parts(texts: &[&str]) -> String {
    let lines = texts.iter().map(|text| {
        let stream = if text.starts_with('o') { "stdout" } else { "stderr" };
        format!("2023-11-14T22:13:20.123456789Z {stream} {} {}\n", &text[1..2], &text[2..])
    });
    lines.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_several_lines_is_handed_over_once_the_next_begins_or_its_time_is_over() {
    let mut rig = multiline(Duration::from_millis(300));
    let run = rig.start().await;
    rig.append("a.log", "1\n a\n\n b\n2\n");
    rig.until_bodies(&["1\n a\n\n b"]).await;
    rig.append("a.log", " c\n");
    rig.until_bodies(&["1\n a\n\n b", "2\n c"]).await;
    rig.append("a.log", " late\n");
    rig.until_bodies(&["1\n a\n\n b", "2\n c", " late"]).await;
    run.stop().await;
    assert_eq!(rig.standings()[0].offset, 20);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_record_stays_in_the_file_when_the_source_stops_or_is_killed() {
    for kill in [false, true] {
        let mut rig = multiline(HOUR);
        rig.append("a.log", "1\n a\n2\n b\n half a li");
        let run = rig.start().await;
        rig.until_bodies(&["1\n a"]).await;
        looks(2).await;
        match kill {
            true => run.kill().await,
            false => run.stop().await,
        }
        rig.assert_bodies(&["1\n a"]);
        assert_eq!(rig.standings()[0].offset, 5);
        rig.append("a.log", "ne\n3\n");
        let run = rig.start().await;
        rig.until_bodies(&["1\n a", "2\n b\n half a line"]).await;
        run.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unfinished_record_of_a_renamed_truncated_or_deleted_file_is_a_record() {
    for end in ["rename", "truncate", "delete"] {
        let mut rig = multiline(HOUR);
        rig.append("a.log", "1\n2\n b\n c");
        let run = rig.start().await;
        rig.until_bodies(&["1"]).await;
        looks(2).await;
        match end {
            "rename" => rig.rename("a.log", "a.log.1"),
            "truncate" => fs::write(rig.path("a.log"), "").unwrap(),
            _ => rig.remove("a.log"),
        }
        rig.until_bodies(&["1", "2\n b\n c"]).await;
        run.stop().await;
        rig.assert_bodies(&["1", "2\n b\n c"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_cut_back_within_its_unfinished_record_is_not_read_again() {
    let mut rig = multiline(HOUR);
    let run = rig.start().await;
    rig.append("a.log", "1\n2\n b\n c");
    rig.until_bodies(&["1"]).await;
    looks(2).await;
    for (len, rest) in [(8, "d\n"), (5, " e\n"), (4, " f\n3\n")] {
        fs::File::options().write(true).open(rig.path("a.log")).unwrap().set_len(len).unwrap();
        looks(3).await;
        rig.append("a.log", rest);
        looks(2).await;
    }
    rig.until_bodies(&["1", "2\n f"]).await;
    assert_eq!(run.counters.files_truncated.get(), 0);
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_whose_line_has_not_ended_does_not_repeat_the_other_after_a_crash() {
    let mut rig = cri();
    rig.append("a.log", &parts(&["oP1", "eF2", "eP3", "oP4"]));
    let run = rig.start().await;
    rig.until_bodies(&["2"]).await;
    run.kill().await;
    let standing = rig.standings().remove(0);
    assert_eq!((standing.offset, standing.lanes.unwrap().done[1]), (0, parts(&["oP1", "eF2"]).len() as u64));
    rig.append("a.log", &parts(&["eF5", "oF6"]));
    let run = rig.start().await;
    rig.until_bodies(&["2", "35", "146"]).await;
    run.stop().await;
    assert_eq!(rig.standings()[0].lanes, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rest_of_a_line_that_was_cut_is_passed_over_even_after_a_crash() {
    let mut rig = cri();
    rig.source.max_line = 64;
    rig.source.on_long_line = OnLongLine::Truncate;
    let long = "x".repeat(60);
    rig.append("a.log", &parts(&["eF1", &format!("oP{long}"), &format!("oP{long}")]));
    let run = rig.start().await;
    rig.until_bodies(&["1", &"x".repeat(64)]).await;
    run.kill().await;
    rig.append("a.log", &parts(&["oPy", "eF2", "oFy", "oF3"]));
    let run = rig.start().await;
    rig.until_bodies(&["1", &"x".repeat(64), "2", "3"]).await;
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_begins_in_one_file_and_ends_in_the_next_is_one_record() {
    for kill in [false, true] {
        let mut rig = cri();
        rig.append("a.log", &parts(&["oF1", "oP2", "eP3"]));
        let mut run = rig.start().await;
        rig.until_bodies(&["1"]).await;
        rig.rename("a.log", "a.log.1");
        rig.append("a.log.1", &parts(&["oP4"]));
        rig.append("a.log", &parts(&["oP5", "eF6"]));
        rig.until_bodies(&["1", "36"]).await;
        if kill {
            run.kill().await;
            run = rig.start().await;
            looks(5).await;
        }
        rig.rename("a.log", "a.log.2");
        rig.append("a.log", &parts(&["oF7", "eF8"]));
        rig.until("four records", |durable| durable.lines.len() == 4).await;
        run.stop().await;
        rig.assert_bodies(&["1", "36", "2457", "8"]);
        assert!(rig.standings().iter().all(|standing| standing.lanes.is_none()), "{:?}", rig.standings());
        let run = rig.start().await;
        grace().await;
        run.stop().await;
        rig.assert_bodies(&["1", "36", "2457", "8"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_goes_on_behind_a_link_as_kubernetes_makes_them_and_after_its_first_file_is_deleted() {
    let mut rig = cri();
    fs::create_dir_all(rig.path("pods/shop_cart_1/main")).unwrap();
    let name = format!("cart_shop_main-{}.log", "0123456789abcdef".repeat(4));
    rig.append("pods/shop_cart_1/main/0.log", &parts(&["oF1", "oP2"]));
    symlink("pods/shop_cart_1/main/0.log", rig.path(&name)).unwrap();
    let run = rig.start().await;
    rig.until_bodies(&["1"]).await;
    rig.rename("pods/shop_cart_1/main/0.log", "pods/shop_cart_1/main/0.log.20231114-221320");
    rig.append("pods/shop_cart_1/main/0.log", &parts(&["oP3"]));
    looks(8).await;
    rig.remove("pods/shop_cart_1/main/0.log.20231114-221320");
    grace().await;
    rig.append("pods/shop_cart_1/main/0.log", &parts(&["oF4"]));
    rig.until_bodies(&["1", "234"]).await;
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_whose_next_file_never_comes_is_a_record_once_its_file_is_done_with() {
    let mut rig = cri();
    rig.append("a.log", &parts(&["oF1", "oP2"]));
    let run = rig.start().await;
    rig.until_bodies(&["1"]).await;
    rig.rename("a.log", "a.log.1");
    rig.until_bodies(&["1", "2"]).await;
    rig.append("a.log", &parts(&["oF3"]));
    rig.until_bodies(&["1", "2", "3"]).await;
    run.stop().await;
}
