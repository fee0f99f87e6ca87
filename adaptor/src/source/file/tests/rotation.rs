//! Files are renamed, truncated, deleted, and their inodes taken again, while they are followed.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, symlink};
use std::sync::atomic::Ordering;

use super::rig::{Rig, grace, looks};

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_file_is_followed_to_its_end_and_the_new_one_read_from_its_beginning() {
    for new_name in ["a.log.1", "a-1.log"] {
        let mut rig = Rig::new();
        let run = rig.start().await;
        rig.append("a.log", "1\n");
        rig.until_bodies(&["1"]).await;
        rig.rename("a.log", new_name);
        rig.append(new_name, "2\n");
        rig.append("a.log", "new\n");
        rig.until("three lines", |durable| durable.lines.len() == 3).await;
        looks(1).await;
        // Its writer has not noticed yet.
        rig.append(new_name, "3\n");
        rig.until("four lines", |durable| durable.lines.len() == 4).await;
        run.stop().await;
        let durable = rig.durable.lock().unwrap();
        let mut bodies = durable.bodies();
        bodies.retain(|&body| body != "new");
        assert_eq!(bodies, ["1", "2", "3"], "in order, once");
        let path = rig.path("a.log").display().to_string();
        assert!(durable.lines.iter().all(|(at, _)| *at == path), "records keep the path of the discovery");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_file_that_grows_after_the_grace_is_still_read() {
    let mut rig = Rig::new();
    let run = rig.start().await;
    rig.append("a.log", "1\n");
    rig.until_bodies(&["1"]).await;
    rig.rename("a.log", "a.log.1");
    grace().await;
    rig.append("a.log.1", "2\n");
    rig.until_bodies(&["1", "2"]).await;
    rig.rename("a.log.1", "a.log.2");
    rig.append("a.log.2", "3\n");
    rig.until_bodies(&["1", "2", "3"]).await;
    run.stop().await;
    assert!(rig.standings()[0].at.as_ref().unwrap().ends_with("a.log.2"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unfinished_line_of_a_renamed_file_is_a_record_after_the_grace_and_what_comes_later_another() {
    for new_name in ["a.log.1", "a-1.log"] {
        let mut rig = Rig::new();
        let run = rig.start().await;
        rig.append("a.log", "1\nunfini");
        rig.until_bodies(&["1"]).await;
        rig.rename("a.log", new_name);
        looks(1).await;
        rig.append(new_name, "shed");
        rig.until_bodies(&["1", "unfinished"]).await;
        rig.append(new_name, "more\n");
        rig.until_bodies(&["1", "unfinished", "more"]).await;
        run.stop().await;
        let run = rig.start().await;
        looks(3).await;
        run.stop().await;
        rig.assert_bodies(&["1", "unfinished", "more"]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_file_is_read_to_its_end_and_then_forgotten() {
    let mut rig = Rig::new();
    let run = rig.start().await;
    rig.append("a.log", "1\n");
    rig.until_bodies(&["1"]).await;
    let mut writer = File::options().append(true).open(rig.path("a.log")).unwrap();
    rig.remove("a.log");
    looks(1).await;
    writer.write_all(b"2\nlast").unwrap();
    drop(writer);
    rig.until_bodies(&["1", "2", "last"]).await;
    rig.until("forgotten", |durable| durable.positions.is_empty()).await;
    run.stop().await;
    rig.assert_bodies(&["1", "2", "last"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_moved_to_another_folder_is_read_to_its_end() {
    let mut rig = Rig::new();
    fs::create_dir(rig.path("old")).unwrap();
    let run = rig.start().await;
    rig.append("a.log", "1\n");
    rig.until_bodies(&["1"]).await;
    rig.rename("a.log", "old/a.log");
    rig.append("old/a.log", "2\n");
    rig.until_bodies(&["1", "2"]).await;
    rig.until("forgotten", |durable| durable.positions.is_empty()).await;
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renamed_file_is_forgotten_once_it_is_deleted_and_not_before() {
    let mut rig = Rig::new();
    let run = rig.start().await;
    rig.append("a.log", "1\n");
    rig.until_bodies(&["1"]).await;
    rig.rename("a.log", "a.log.1");
    grace().await;
    assert_eq!(rig.standings().len(), 1);
    rig.remove("a.log.1");
    rig.until("forgotten", |durable| durable.positions.is_empty()).await;
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copytruncate_is_noticed_by_the_size() {
    let mut rig = Rig::new();
    let run = rig.start().await;
    rig.append("a.log", "1\n2\n3\n");
    rig.until_bodies(&["1", "2", "3"]).await;
    fs::copy(rig.path("a.log"), rig.path("a.log.1")).unwrap();
    File::options().write(true).truncate(true).open(rig.path("a.log")).unwrap();
    rig.append("a.log", "4\n");
    rig.until_bodies(&["1", "2", "3", "4"]).await;
    assert_eq!(run.counters.files_truncated.get(), 1);
    run.stop().await;
    assert_eq!(rig.standings()[0].offset, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_truncated_and_grown_beyond_where_it_was_is_noticed_by_its_first_bytes() {
    let mut rig = Rig::new();
    let run = rig.start().await;
    for (before, after) in [("1\n", "4\n"), ("1\n2\n3\n", "longer 4\nlonger 5\n")] {
        let count = rig.durable.lock().unwrap().lines.len();
        fs::write(rig.path("a.log"), before).unwrap();
        let lines = before.lines().count();
        rig.until("before", |durable| durable.lines.len() == count + lines).await;
        // Truncates and writes: between two looks, or nearly so.
        fs::write(rig.path("a.log"), after).unwrap();
        let lines = lines + after.lines().count();
        rig.until("after", |durable| durable.lines.len() == count + lines).await;
    }
    run.stop().await;
    rig.assert_bodies(&["1", "4", "1", "2", "3", "longer 4", "longer 5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_truncated_and_grown_again_while_there_is_no_room_is_not_read_on_in_the_middle() {
    let mut rig = Rig::new();
    rig.buffer_bytes = 1;
    let content = |name: &str| (0..200_000).map(|n| format!("{name} {n}\n")).collect::<String>();
    rig.append("a.log", &content("old"));
    let run = rig.start().await;
    run.stalled.store(true, Ordering::SeqCst);
    looks(5).await;
    fs::write(rig.path("a.log"), content("new and longer")).unwrap();
    run.stalled.store(false, Ordering::SeqCst);
    rig.until("the last line", |durable| durable.lines.last().is_some_and(|(_, body)| body.ends_with(" 199999"))).await;
    looks(5).await;
    run.stop().await;
    let durable = rig.durable.lock().unwrap();
    let bodies = durable.bodies();
    let (old, new) = bodies.split_at(bodies.len() - 200_000);
    assert!(new.iter().enumerate().all(|(n, &body)| body == format!("new and longer {n}")), "{:?}", &new[..3]);
    // The last of them was cut by the end of a read, and nobody can finish it.
    let (cut, whole) = old.split_last().unwrap();
    assert!(whole.iter().enumerate().all(|(n, &body)| body == format!("old {n}")), "{:?}", whole.last());
    assert!(format!("old {}", whole.len()).starts_with(cut), "{cut}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unfinished_line_of_a_truncated_file_is_a_record() {
    let mut rig = Rig::new();
    let run = rig.start().await;
    rig.append("a.log", "1\nunfinished");
    rig.until_bodies(&["1"]).await;
    looks(2).await;
    fs::write(rig.path("a.log"), "").unwrap();
    rig.until_bodies(&["1", "unfinished"]).await;
    assert_eq!(rig.standings()[0].offset, 0);
    rig.append("a.log", "2\n");
    rig.until_bodies(&["1", "unfinished", "2"]).await;
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_cut_back_within_its_unfinished_line_is_not_read_again() {
    let mut rig = Rig::new();
    let run = rig.start().await;
    rig.append("a.log", "1\nunfinished");
    rig.until_bodies(&["1"]).await;
    looks(2).await;
    File::options().write(true).open(rig.path("a.log")).unwrap().set_len(4).unwrap();
    looks(2).await;
    rig.append("a.log", "til now\n");
    rig.until_bodies(&["1", "until now"]).await;
    assert_eq!(run.counters.files_truncated.get(), 0);
    run.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_file_with_the_inode_of_a_deleted_one_is_read_from_its_beginning() {
    let mut rig = Rig::new();
    let mut reused = 0;
    for name in ["b.log", "a.log"] {
        let run = rig.start().await;
        for round in 0..5 {
            let count = rig.durable.lock().unwrap().lines.len();
            // All begin the same, and each is longer than the one before.
            rig.append("a.log", &"same\n".repeat(round + 1));
            rig.until("read", |durable| durable.lines.len() == count + round + 1).await;
            let inode = fs::metadata(rig.path("a.log")).unwrap().ino();
            rig.remove("a.log");
            // Until the source lets go of it, nobody can get the inode.
            rig.until("forgotten", |durable| durable.positions.is_empty()).await;
            rig.append(name, &"same\n".repeat(round + 2));
            reused += u32::from(fs::metadata(rig.path(name)).unwrap().ino() == inode);
            rig.until("read", |durable| durable.lines.len() == count + 2 * round + 3).await;
            rig.remove(name);
            rig.until("forgotten", |durable| durable.positions.is_empty()).await;
        }
        run.stop().await;
    }
    println!("{reused} of 10 inodes were reused");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_behind_a_link_is_followed_when_it_is_renamed_and_the_link_leads_to_a_new_one() {
    let mut rig = Rig::new();
    fs::create_dir(rig.path("pod")).unwrap();
    rig.append("pod/0", "1\n");
    symlink("pod/0", rig.path("a.log")).unwrap();
    let run = rig.start().await;
    rig.until_bodies(&["1"]).await;
    rig.rename("pod/0", "pod/0.old");
    rig.append("pod/0.old", "2\n");
    rig.append("pod/0", "new\n");
    rig.until("three lines", |durable| durable.lines.len() == 3).await;
    rig.append("pod/0.old", "unfinished");
    rig.until("the unfinished line", |durable| durable.lines.len() == 4).await;
    run.kill().await;
    rig.append("pod/0.old", "3\n");
    let run = rig.start().await;
    rig.until("five lines", |durable| durable.lines.len() == 5).await;
    run.stop().await;
    let durable = rig.durable.lock().unwrap();
    let mut bodies = durable.bodies();
    bodies.retain(|&body| body != "new");
    assert_eq!(bodies, ["1", "2", "unfinished", "3"]);
    let path = rig.path("a.log").display().to_string();
    assert!(durable.lines.iter().all(|(at, _)| *at == path));
}
