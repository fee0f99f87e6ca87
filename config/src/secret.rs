//! A text that must not be printed.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::error::quoted;
use crate::token::TOKEN_BYTES_MAX;

/// A token or password. `Debug` hides it; only [`Secret::expose`] shows it.
///
/// `==` is for comparing settings: the time it takes tells how much of a guess is right, so what a
/// stranger offers needs a comparison in constant time.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    text: String,
    file: Option<PathBuf>,
}

impl Secret {
    /// Wraps a secret that is already at hand.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret { text: text.into(), file: None }
    }

    /// The secret itself: for a handshake, never for a log line.
    pub fn expose(&self) -> &str {
        &self.text
    }

    /// The file that it was read from.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Reads a secret of at most 1 KiB from the file at `path`, without the white space around it.
    ///
    /// # Errors
    /// As [`read_text`].
    pub fn read(path: &Path) -> Result<Secret, String> {
        Secret::read_within(path, TOKEN_BYTES_MAX)
    }

    pub(crate) fn read_within(path: &Path, bytes_max: u64) -> Result<Secret, String> {
        Ok(Secret { text: read_text(path, bytes_max)?, file: Some(path.to_owned()) })
    }
}

/// The text in the file at `path`, without the white space around it.
///
/// # Errors
/// What is wrong with the file, to be put behind the name of the key that named it: it cannot
/// be read, is larger than `bytes_max`, is not UTF-8, or holds nothing.
pub(crate) fn read_text(path: &Path, bytes_max: u64) -> Result<String, String> {
    let (mut bytes, name) = (Vec::new(), quoted(&path.display().to_string()));
    File::open(path).and_then(|file| file.take(bytes_max + 1).read_to_end(&mut bytes)).map_err(|reason| {
        format!(
            "names the file `{name}`, which cannot be read: {reason}; check the path, and that this user may read it"
        )
    })?;
    let refuse = |what: &str| Err(format!("names the file `{name}`, which {what}"));
    if bytes.len() as u64 > bytes_max {
        return refuse(&format!("holds more than {bytes_max} bytes; put only the secret there"));
    }
    match String::from_utf8(bytes) {
        Err(_) => refuse("is not UTF-8; write the secret as plain text"),
        Ok(text) if text.trim().is_empty() => refuse("is empty; put the secret there"),
        Ok(text) => Ok(text.trim().to_owned()),
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_hides_a_secret() {
        let secret = Secret::new("swordfish");
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        assert_eq!(secret.expose(), "swordfish");
    }
}
