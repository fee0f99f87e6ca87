//! A value made of files, which is made anew when they change.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use logboom_config::{Secret, Tokens};
use sha2::{Digest, Sha256};
use tracing::{error, info};

/// The files are looked at this often at most, and only when the value is asked for.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// How often whoever has nobody to ask for the value asks for it himself: if a time of his is a moment too early for
/// another look, the next is soon.
pub const ASK_INTERVAL: Duration = Duration::from_millis(500);
/// The most bytes of a file that are looked at.
const FILE_BYTES_MAX: u64 = 4 << 20;

type Make<T> = Box<dyn Fn() -> Result<T, String> + Send + Sync>;

/// See the module. While the files are wrong the value stays what it was.
pub struct Live<T> {
    what: String,
    files: Vec<PathBuf>,
    make: Option<Make<T>>,
    state: Mutex<State<T>>,
}

struct State<T> {
    value: Arc<T>,
    /// Hash of what the files held when they were last looked at.
    seen: [u8; 32],
    looked: Instant,
}

impl<T> Live<T> {
    /// The value that `make` makes of `files` now. `what` the log calls it.
    ///
    /// # Errors
    /// What `make` says.
    pub fn new(
        what: impl Into<String>,
        files: impl IntoIterator<Item = PathBuf>,
        make: impl Fn() -> Result<T, String> + Send + Sync + 'static,
    ) -> Result<Self, String> {
        let files: Vec<_> = files.into_iter().collect();
        // Looked at before they are read: what changes in between is found the next time.
        let seen = digest(&files);
        let state = State { value: Arc::new(make()?), seen, looked: Instant::now() };
        Ok(Self { what: what.into(), files, make: Some(Box::new(make)), state: Mutex::new(state) })
    }

    /// A value that stays what it is.
    pub fn fixed(value: T) -> Self {
        let state = State { value: Arc::new(value), seen: [0; 32], looked: Instant::now() };
        Self { what: String::new(), files: vec![], make: None, state: Mutex::new(state) }
    }

    /// The value. Looks at the files if that was not done within `LOOK_INTERVAL`; what is wrong with them is logged once.
    pub fn current(&self) -> Arc<T> {
        self.current_at(Instant::now())
    }

    fn current_at(&self, now: Instant) -> Arc<T> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(make) = &self.make else { return state.value.clone() };
        if now.duration_since(state.looked) < LOOK_INTERVAL {
            return state.value.clone();
        }
        state.looked = now;
        let seen = digest(&self.files);
        if seen != state.seen {
            state.seen = seen;
            let what = &*self.what;
            match make() {
                Ok(value) => {
                    info!(what, "changed files are in force");
                    state.value = Arc::new(value);
                }
                Err(error) => error!(what, error, "changed files cannot be used; going on with what they held before"),
            }
        }
        state.value.clone()
    }
}

impl Live<Tokens> {
    /// The tokens of `what`, read again from their file.
    ///
    /// # Errors
    /// What is wrong with the file meanwhile.
    pub fn tokens(what: impl Into<String>, tokens: Tokens) -> Result<Self, String> {
        match tokens.file().map(Path::to_owned) {
            None => Ok(Self::fixed(tokens)),
            Some(file) => Self::new(what, [file.clone()], move || {
                Tokens::read(&file).map_err(|error| format!("the key for tokens {error}"))
            }),
        }
    }
}

impl Live<Secret> {
    /// The secret of `what`, read again from its file.
    ///
    /// # Errors
    /// What is wrong with the file meanwhile.
    pub fn secret(what: impl Into<String>, secret: Secret) -> Result<Self, String> {
        match secret.file().map(Path::to_owned) {
            None => Ok(Self::fixed(secret)),
            Some(file) => Self::new(what, [file.clone()], move || {
                Secret::read(&file).map_err(|error| format!("the key for the secret {error}"))
            }),
        }
    }
}

/// The hash of what files hold, or of why they cannot be read. They are small; times and sizes would not tell everything.
fn digest(files: &[PathBuf]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for file in files {
        match read(file) {
            Ok(bytes) => {
                hash.update((bytes.len() as u64).to_le_bytes());
                hash.update(&bytes);
            }
            Err(error) => hash.update(format!("{:?}", error.kind())),
        }
    }
    hash.finalize().into()
}

fn read(file: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(file)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_changed_file_is_in_force_and_a_broken_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("number");
        fs::write(&file, "1").unwrap();
        let path = file.clone();
        let make =
            move || fs::read_to_string(&path).map_err(|e| e.to_string())?.parse().map_err(|_| "no number".to_owned());
        let live: Live<u32> = Live::new("number", [file.clone()], make).unwrap();
        let mut now = Instant::now();
        let mut later = |text: Option<&str>| {
            match text {
                Some(text) => fs::write(&file, text).unwrap(),
                None => fs::remove_file(&file).unwrap(),
            }
            now += LOOK_INTERVAL;
            *live.current_at(now)
        };
        let seen = [Some("1"), Some("2"), Some("x"), Some("3"), None, Some("3"), Some("4")].map(&mut later);
        assert_eq!(seen, [1, 2, 2, 3, 3, 3, 4]);
        fs::write(&file, "5").unwrap();
        assert_eq!(*live.current_at(now + LOOK_INTERVAL / 2), 4, "looked at too early");
        assert_eq!(*live.current_at(now + LOOK_INTERVAL), 5);
    }
}
