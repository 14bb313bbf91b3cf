//! The order of all writes to one store.

use std::fmt;
use std::str::FromStr;

use ferrule_model::Object;

/// How far a store's history goes. It grows with every write; outside this crate its text (`metadata.resourceVersion`) is
/// opaque, and only versions of one store can be compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Version(pub(crate) u64);

impl Version {
    /// Before the first write: a watch from here sees everything that is stored.
    pub const START: Version = Version(0);

    /// The version at which `object` was last written, if it came from a store.
    pub fn of(object: &Object) -> Option<Version> {
        object.metadata.resource_version.parse().ok()
    }

    pub(crate) fn next(self) -> Version {
        Version(self.0 + 1)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A text that no store of this kind gave out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a resource version of this store")]
pub struct NotAVersion(String);

impl FromStr for Version {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse().map(Version).map_err(|_| NotAVersion(text.to_owned()))
    }
}
