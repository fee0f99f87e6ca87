//! Tokens as those keep them who check them: as hashes.
//!
//! A token is random and long (`logboom token` makes one), so that one round of SHA-256 is enough: there is nothing to guess.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use constant_time_eq::constant_time_eq_32;
use sha2::{Digest, Sha256};

use crate::error::{Unparsable, quoted};
use crate::secret::read_text;

/// The most bytes of a file with tokens.
pub(crate) const TOKEN_BYTES_MAX: u64 = 1024;
const PREFIX: &str = "sha256:";

/// The hash of a token, written `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// The hash of `token`.
    pub fn of(token: &str) -> TokenHash {
        TokenHash(Sha256::digest(token.as_bytes()).into())
    }

    /// Whether both are hashes of one token. The time that this takes tells nothing.
    pub fn matches(&self, other: &TokenHash) -> bool {
        constant_time_eq_32(&self.0, &other.0)
    }
}

impl FromStr for TokenHash {
    type Err = Unparsable;

    fn from_str(text: &str) -> Result<TokenHash, Unparsable> {
        let digits = text.strip_prefix(PREFIX).filter(|digits| digits.len() == 64 && digits.is_ascii());
        let mut hash = [0; 32];
        let parsed = digits.is_some_and(|digits| {
            hash.iter_mut().zip(digits.as_bytes().chunks(2)).all(|(byte, digits)| {
                let digit = |at: usize| char::from(digits[at]).to_digit(16);
                digit(0).zip(digit(1)).map(|(high, low)| *byte = (high << 4 | low) as u8).is_some()
            })
        });
        // What stands there may be a token by mistake, so it is not quoted.
        match parsed {
            true => Ok(TokenHash(hash)),
            false => Err(Unparsable(
                "it is not the hash of a token; write `sha256:` and 64 hexadecimal digits, as `logboom token` prints them"
                    .to_owned(),
            )),
        }
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(PREFIX)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(..)")
    }
}

/// Tokens of which a peer has to show one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    hashes: Vec<TokenHash>,
    file: Option<PathBuf>,
}

impl Tokens {
    /// This one token.
    pub fn of(token: &str) -> Tokens {
        Tokens { hashes: vec![TokenHash::of(token)], file: None }
    }

    /// Those in the file at `path`: one on each line, or its hash.
    ///
    /// # Errors
    /// What is wrong with the file, to be put behind the name of the key that named it.
    pub fn read(path: &Path) -> Result<Tokens, String> {
        let text = read_text(path, TOKEN_BYTES_MAX)?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
        let hashes = lines.map(|line| match line.starts_with(PREFIX) {
            true => line.parse().map_err(|error: Unparsable| {
                format!("names the file `{}`, which has a wrong line: {error}", quoted(&path.display().to_string()))
            }),
            false => Ok(TokenHash::of(line)),
        });
        Ok(Tokens { hashes: hashes.collect::<Result<_, String>>()?, file: Some(path.to_owned()) })
    }

    /// The file that they were read from.
    pub fn file(&self) -> Option<&Path> {
        self.file.as_deref()
    }

    /// Whether `shown` is the hash of one of them. The time that this takes does not tell how near it is.
    pub fn contain(&self, shown: &TokenHash) -> bool {
        self.hashes.iter().fold(false, |found, hash| found | hash.matches(shown))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_written_as_sha256sum_prints_it() {
        let hash = TokenHash::of("abc");
        let text = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash.to_string(), text);
        assert_eq!(text.parse(), Ok(hash));
        assert_eq!(text.to_uppercase().replace("SHA", "sha").parse(), Ok(hash));
        for wrong in ["", "abc", "sha256:", &text[..70], &format!("{text}0"), &text.replace('f', "g"), &text[7..]] {
            assert!(wrong.parse::<TokenHash>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn one_of_several_tokens_is_enough_and_none_is_printed() {
        let mut tokens = Tokens::of("old");
        tokens.hashes.push(TokenHash::of("new"));
        for (shown, right) in [("old", true), ("new", true), ("", false), ("ol", false), ("oldnew", false)] {
            assert_eq!(tokens.contain(&TokenHash::of(shown)), right, "{shown}");
        }
        assert!(!format!("{tokens:?}").contains("ba78"));
    }
}
