//! Programs of the tests that are no part of the workspace (`tests/tools`), built when they are first needed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The path of one of them.
pub fn tool(name: &str) -> PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        // Beside everything else that is built, and not in its way.
        let target = Path::new(env!("CARGO_BIN_EXE_logboom")).ancestors().nth(2).unwrap().join("tools");
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tools/Cargo.toml");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--locked", "--manifest-path"]).arg(manifest).arg("--target-dir").arg(&target);
        assert!(cargo.status().unwrap().success(), "tests/tools cannot be built");
        target.join("debug")
    });
    folder.join(name)
}
