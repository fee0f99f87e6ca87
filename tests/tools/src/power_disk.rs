//! `power-disk FOLDER` mounts a disk whose power can be cut, and takes orders on standard input, each answered with a line:
//! `cut N all` or `cut N SEED` (before the N-th call from now on, what is not synced is lost, or some of it), `calls`,
//! `off?`, `restore` (once nobody uses it). It is unmounted at the end of its input.

// A file system tells when files were changed.
#![allow(clippy::disallowed_methods)]

mod disk;

use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use fuser::{BackgroundSession, MountOption};

use disk::{Calls, Disk, Loss};

fn main() {
    let folder = std::env::args().nth(1).expect("a folder");
    let disk = Arc::new(Mutex::new(Disk::new()));
    let mut session = match mount(&disk, folder.as_ref()) {
        Ok(session) => Some(session),
        Err(error) => return println!("cannot mount: {error}"),
    };
    println!("mounted");
    for line in std::io::stdin().lock().lines() {
        let line = line.unwrap();
        let words: Vec<&str> = line.split(' ').collect();
        let answer = match words[..] {
            ["cut", at, "all"] => {
                disk.lock().unwrap().cut_at(at.parse().unwrap(), Loss::All);
                "done".to_owned()
            }
            ["cut", at, seed] => {
                disk.lock().unwrap().cut_at(at.parse().unwrap(), Loss::Some { seed: seed.parse().unwrap() });
                "done".to_owned()
            }
            ["calls"] => disk.lock().unwrap().calls().to_string(),
            ["off?"] => disk.lock().unwrap().is_off().to_string(),
            ["restore"] => {
                // Mounted anew, so that the kernel remembers nothing of what is lost.
                drop(session.take());
                disk.lock().unwrap().restore();
                session = Some(mount(&disk, folder.as_ref()).unwrap());
                "done".to_owned()
            }
            _ => panic!("{line}"),
        };
        println!("{answer}");
        std::io::stdout().flush().unwrap();
    }
}

fn mount(disk: &Arc<Mutex<Disk>>, at: &Path) -> std::io::Result<BackgroundSession> {
    let options = [MountOption::FSName("logboom-test".to_owned()), MountOption::DefaultPermissions];
    fuser::spawn_mount2(Calls(disk.clone()), at, &options)
}
