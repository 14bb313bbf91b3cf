//! The identity of a resource object.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The identity of an object for as long as it exists; cheap to clone. Names may repeat, uids may not. Usually a UUID, but any
/// text that a KPS document uses as an id will do. The default is the empty one: not chosen yet.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Uid(Arc<str>);

impl Uid {
    /// A uid from its text, as documents of other systems bring it.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// A fresh uid.
    pub fn random() -> Self {
        Self::new(uuid::Uuid::new_v4().to_string())
    }

    /// A uid derived from another one and a word: the same each time, so that what a document implies keeps its identity.
    pub fn derived(of: &Uid, word: &str) -> Self {
        let space = uuid::Uuid::parse_str(&of.0)
            .unwrap_or_else(|_| uuid::Uuid::new_v5(&uuid::Uuid::NAMESPACE_OID, of.0.as_bytes()));
        Self::new(uuid::Uuid::new_v5(&space, word.as_bytes()).to_string())
    }

    /// Whether no uid was chosen yet.
    pub fn is_unset(&self) -> bool {
        self.0.is_empty()
    }

    /// The uid as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Uid {
    fn default() -> Self {
        Self::new("")
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

impl From<&str> for Uid {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Uid {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl AsRef<str> for Uid {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl std::borrow::Borrow<str> for Uid {
    fn borrow(&self) -> &str {
        &self.0
    }
}
