//! Why a message is not what its protocol says.

use std::borrow::Cow;

use super::line::Unparsed;

/// What is wrong with a message, in words for its sender.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Malformed(pub(crate) Cow<'static, str>);

impl Malformed {
    pub(crate) const fn fixed(reason: &'static str) -> Self {
        Self(Cow::Borrowed(reason))
    }

    pub(crate) fn new(reason: String) -> Self {
        Self(Cow::Owned(reason))
    }
}

impl From<serde_json::Error> for Malformed {
    fn from(error: serde_json::Error) -> Self {
        Self::new(error.to_string())
    }
}

impl From<Unparsed> for Malformed {
    fn from(Unparsed(reason): Unparsed) -> Self {
        Self(reason)
    }
}
