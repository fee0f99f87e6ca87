//! Rotation as fast as it goes, 50 times a second, in every way that files are rotated; in the end every line is there
//! exactly once. Of copytruncate, which loses lines by itself, exactly what it may lose is.
//!
//! The short versions run always; the long ones for `LOGBOOM_TORTURE_SECONDS` (60) when they are asked for.

use std::collections::{BTreeMap, VecDeque};
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, symlink};
use std::time::{Duration, Instant};

use super::rig::{Rig, looks};
use crate::source::testing::gzip;

/// Time between two rotations.
const PAUSE: Duration = Duration::from_millis(20);
/// Rotations after which a file is compressed or deleted: the source has surely seen it by then.
const KEPT: usize = 50;
const SHORT: Duration = Duration::from_secs(2);

#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Rename,
    Copytruncate,
    Gzip,
    Delete,
    Links,
}

struct Writer {
    way: Way,
    lines: usize,
    /// The first line of each file, or of each content of the one file.
    firsts: Vec<usize>,
    rotations: usize,
    kept: VecDeque<String>,
    /// Lines that were written but not copied when copytruncate emptied the file.
    race: usize,
}

impl Writer {
    fn line(&mut self) -> String {
        self.lines += 1;
        text(self.lines - 1) + "\n"
    }

    fn append(&mut self, rig: &Rig) {
        let text: String = (0..self.lines % 7 + 1).map(|_| self.line()).collect();
        rig.append(&self.name(), &text);
    }

    /// Where the next line goes.
    fn name(&self) -> String {
        match self.way {
            Way::Links => format!("pods/shop_cart_1/main/{}.log", self.rotations),
            _ => "a.log".to_owned(),
        }
    }

    fn rotate(&mut self, rig: &Rig) {
        let old = self.name();
        self.rotations += 1;
        let rotated = format!("a.log.{}", self.rotations);
        match self.way {
            Way::Rename | Way::Gzip => {
                rig.rename(&old, &rotated);
                // Its writer has not noticed yet.
                let late = self.line();
                rig.append(&rotated, &late);
                self.kept.push_back(rotated);
            }
            Way::Copytruncate => {
                let copied = fs::copy(rig.path(&old), rig.path("copy")).unwrap();
                if self.rotations.is_multiple_of(3) {
                    self.append(rig);
                }
                let file = File::options().write(true).open(rig.path(&old)).unwrap();
                let all = fs::read(rig.path(&old)).unwrap();
                self.race += all[copied as usize..].iter().filter(|&&byte| byte == b'\n').count();
                file.set_len(0).unwrap();
            }
            Way::Delete => {}
            Way::Links => {
                let name = self.name();
                rig.append(&name, "");
                let _ = fs::remove_file(rig.path("new"));
                symlink(rig.path(&name), rig.path("new")).unwrap();
                rig.rename("new", "containers/a.log");
                self.kept.push_back(old);
            }
        }
        self.firsts.push(self.lines);
        if self.kept.len() > KEPT
            && let Some(oldest) = self.kept.pop_front()
        {
            if self.way == Way::Gzip {
                let gz = gzip(&fs::read(rig.path(&oldest)).unwrap());
                fs::write(rig.path(&format!("{oldest}.gz")), gz).unwrap();
            }
            if self.way == Way::Gzip || self.kept.len() > 10 * KEPT {
                rig.remove(&oldest);
            }
        }
    }
}

/// A line that no piece of another could be taken for.
fn text(number: usize) -> String {
    format!("{number} of the torture{}", format!(" {number}").repeat(number % 50))
}

/// How often each line is there. With copytruncate the beginning of a line may be there instead, whose end was emptied
/// before it was read; how many of those.
fn counts(rig: &Rig, way: Way) -> (BTreeMap<usize, usize>, usize) {
    let (mut counts, mut beginnings) = (BTreeMap::new(), 0);
    for body in rig.durable.lock().unwrap().bodies() {
        let number = body.split(' ').next().and_then(|number| number.parse::<usize>().ok());
        match number.filter(|&number| text(number) == body) {
            Some(number) => *counts.entry(number).or_default() += 1,
            None if way == Way::Copytruncate && number.is_some_and(|number| text(number).starts_with(body)) => {
                beginnings += 1;
            }
            None => panic!("{way:?}: no line of ours: {body:?}"),
        }
    }
    (counts, beginnings)
}

async fn torture(way: Way, time: Duration) {
    let mut rig = Rig::new();
    rig.block_bytes = 64 << 10;
    let root = rig.dir.path().display().to_string();
    rig.settings.include = match way {
        Way::Rename | Way::Gzip => vec![format!("{root}/a.log*")],
        Way::Links => vec![format!("{root}/containers/*.log"), format!("{root}/pods/*/*/*.log")],
        _ => vec![format!("{root}/a.log")],
    };
    rig.settings.exclude = vec!["*.gz".to_owned()];
    fs::create_dir_all(rig.path("pods/shop_cart_1/main")).unwrap();
    fs::create_dir_all(rig.path("containers")).unwrap();
    let mut writer = Writer { way, lines: 0, firsts: vec![0], rotations: 0, kept: VecDeque::new(), race: 0 };
    writer.append(&rig);
    let mut run = rig.start().await;
    let (start, mut kills) = (Instant::now(), 0);
    while start.elapsed() < time {
        writer.append(&rig);
        let due = PAUSE * writer.rotations as u32;
        if start.elapsed() >= due {
            writer.rotate(&rig);
            writer.append(&rig);
        }
        // What is deleted before it is read is lost if the source is killed, so it is killed only where nothing is.
        if matches!(way, Way::Rename | Way::Links) && start.elapsed().as_millis() / 700 > kills {
            kills += 1;
            run.kill().await;
            run = rig.start().await;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let took = start.elapsed();
    writer.append(&rig);
    let last = writer.lines - 1;
    let all = |lines: usize| lines == writer.lines || way == Way::Copytruncate;
    rig.comes(|durable| {
        let bodies = durable.bodies();
        all(bodies.len()) && bodies.iter().rev().take(2000).any(|body| body.starts_with(&format!("{last} ")))
    })
    .await;
    looks(5).await;
    let truncated = run.counters.files_truncated.get();
    run.stop().await;
    let (counts, beginnings) = counts(&rig, way);
    let repeated: Vec<_> = counts.iter().filter(|(_, count)| **count > 1).collect();
    let lost: Vec<_> = (0..writer.lines).filter(|line| !counts.contains_key(line)).collect();
    let (rotations, lines) = (writer.rotations, writer.lines);
    println!("{way:?}: {lines} lines, {rotations} rotations in {took:?}, {kills} kills, {} lost", lost.len());
    assert!(repeated.is_empty(), "{way:?}: repeated {repeated:?}");
    if way != Way::Copytruncate {
        assert!(lost.is_empty(), "{way:?}: lost {lost:?}");
        return;
    }
    // What is lost is what nobody had read when the file was emptied: the last lines of a content, and nothing else.
    let contents = writer.firsts.iter().zip(writer.firsts.iter().skip(1).chain([&lines]));
    let mut cut = 0;
    for (&first, &behind) in contents {
        let kept = (first..behind).take_while(|line| counts.contains_key(line)).count();
        let tail_is_lost = (first + kept..behind).all(|line| !counts.contains_key(&line));
        assert!(tail_is_lost, "{first}..{behind}: of {:?}", lost);
        cut += usize::from(first + kept < behind);
    }
    println!(
        "  of {rotations} contents {cut} lost their last lines; {} lines were not even copied, {beginnings} half read; \
         {truncated} truncations noticed",
        writer.race
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn files_renamed_50_times_a_second_are_read_exactly_once_whatever_is_killed() {
    torture(Way::Rename, SHORT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_compressed_after_rotation_are_read_exactly_once() {
    torture(Way::Gzip, SHORT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_behind_links_that_are_swapped_50_times_a_second_are_read_exactly_once() {
    torture(Way::Links, SHORT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn copytruncate_50_times_a_second_loses_only_what_it_emptied_unread() {
    torture(Way::Copytruncate, SHORT).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn files_deleted_and_created_again_with_the_same_inode_are_read_exactly_once() {
    recreate(40).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "it takes minutes"]
async fn every_way_of_rotation_for_long() {
    let seconds = std::env::var("LOGBOOM_TORTURE_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    let time = Duration::from_secs(seconds.unwrap_or(60));
    for way in [Way::Rename, Way::Gzip, Way::Links, Way::Copytruncate] {
        torture(way, time).await;
    }
    recreate(time.as_secs() as usize * 20).await;
}

/// Deletes a file as soon as it is read, and creates it again. Another file takes the only descriptor, so that nothing
/// keeps the inode from being taken again.
async fn recreate(rounds: usize) {
    let mut rig = Rig::new();
    rig.settings.max_open = 1;
    let mut writer =
        Writer { way: Way::Delete, lines: 0, firsts: vec![0], rotations: 0, kept: VecDeque::new(), race: 0 };
    let (mut run, mut inode, mut same, mut others) = (rig.start().await, 0, 0, 0);
    for round in 0..rounds {
        writer.append(&rig);
        let now = fs::metadata(rig.path("a.log")).unwrap().ino();
        same += u32::from(now == inode);
        inode = now;
        let expected = writer.lines + others;
        rig.until("the file", |durable| durable.lines.len() == expected).await;
        if round % 10 == 9 {
            run.kill().await;
            run = rig.start().await;
        }
        others += 1;
        rig.append("b.log", "another\n");
        rig.until("the other file", |durable| durable.lines.len() == expected + 1).await;
        rig.remove("a.log");
    }
    run.stop().await;
    let counts = {
        rig.durable.lock().unwrap().lines.retain(|(_, body)| body != "another");
        counts(&rig, Way::Delete).0
    };
    println!("delete: {} lines, {rounds} rounds, {same} times with the same inode", writer.lines);
    assert!(counts.len() == writer.lines && counts.values().all(|&count| count == 1), "{counts:?}");
    assert!(same > 0, "no inode was taken again: the test says nothing");
}
