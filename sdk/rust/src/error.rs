//! Why a call did not do what was asked: each case leads the host to a different action.

use std::error;
use std::fmt;

use crate::bindings::ferrule::connector::types;

/// What a source, sink or function answers when it cannot go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Error {
    /// The outside system cannot be reached or is not ready. The session is opened again with backoff, and records in flight
    /// are offered again.
    Unavailable(String),
    /// The parameters can never work. The stream stays down until its documents change.
    Invalid(String),
    /// The host refused something that the guest cannot do without. The host adds what to write where.
    Denied(String),
    /// Anything else. The instance is discarded and a new one opened with backoff.
    Failed(String),
}

impl Error {
    /// The outside system cannot be reached or is not ready.
    pub fn unavailable(why: impl fmt::Display) -> Self {
        Self::Unavailable(why.to_string())
    }

    /// The parameters can never work.
    pub fn invalid(why: impl fmt::Display) -> Self {
        Self::Invalid(why.to_string())
    }

    /// Anything that no other case names.
    pub fn failed(why: impl fmt::Display) -> Self {
        Self::Failed(why.to_string())
    }

    /// What was said about it.
    pub fn message(&self) -> &str {
        match self {
            Self::Unavailable(why) | Self::Invalid(why) | Self::Denied(why) | Self::Failed(why) => why,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.message())
    }
}

impl error::Error for Error {}

impl From<Error> for types::Error {
    fn from(error: Error) -> Self {
        match error {
            Error::Unavailable(why) => Self::Unavailable(why),
            Error::Invalid(why) => Self::Invalid(why),
            Error::Denied(why) => Self::Denied(why),
            Error::Failed(why) => Self::Failed(why),
        }
    }
}

/// A refused file or connection is `Denied`, everything else `Unavailable`.
impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::PermissionDenied => Self::Denied(error.to_string()),
            _ => Self::Unavailable(error.to_string()),
        }
    }
}
