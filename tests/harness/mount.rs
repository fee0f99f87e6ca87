//! Small disks.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A file system that is mounted as long as this lives.
pub struct Mount(PathBuf);

impl Mount {
    /// An empty disk of this size in memory; `None`, with the reason printed, where that is not allowed.
    pub fn tmpfs(at: &Path, size: &str) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let output =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(at).output();
        match output {
            Ok(output) if output.status.success() => Some(Self(at.to_owned())),
            Ok(output) => {
                println!("skipped: {}", String::from_utf8_lossy(&output.stderr).trim_end());
                None
            }
            Err(error) => {
                println!("skipped: mount: {error}");
                None
            }
        }
    }

    /// Whatever is mounted there.
    pub fn already(at: &Path) -> Self {
        Self(at.to_owned())
    }

    /// Makes a disk in memory larger.
    pub fn resize(&self, size: &str) {
        let options = format!("remount,size={size}");
        let status = Command::new("mount").args(["-o", &options]).arg(&self.0).status().unwrap();
        assert!(status.success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // At once, even if somebody still uses it.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).stderr(Stdio::null()).status();
    }
}
