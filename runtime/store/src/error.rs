//! What can go wrong with a store, one case for each thing that a caller does about it.

use std::path::PathBuf;

use ferrule_model::Kind;

/// Why a store did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No such object.
    #[error("there is no {kind} with the uid {uid}")]
    NotFound {
        /// Its kind.
        kind: Kind,
        /// Its uid.
        uid: String,
    },
    /// The uid is taken.
    #[error("a {kind} with the uid {uid} is already there")]
    AlreadyExists {
        /// Its kind.
        kind: Kind,
        /// Its uid.
        uid: String,
    },
    /// Somebody else wrote the object since it was read: read it again and decide again.
    #[error("the {kind} {uid} was changed in the meantime (read at version {expected}, now at {found})")]
    Conflict {
        /// Its kind.
        kind: Kind,
        /// Its uid.
        uid: String,
        /// The version that the caller had.
        expected: String,
        /// The version that is stored.
        found: String,
    },
    /// The object breaks a rule of the store.
    #[error("the {kind} {uid} cannot be written: {reason}")]
    Invalid {
        /// Its kind.
        kind: Kind,
        /// Its uid.
        uid: String,
        /// The rule.
        reason: String,
    },
    /// Another process has the store open.
    #[error("{} is in use by another server; stop that one, or give this one a data folder of its own", path.display())]
    Locked {
        /// The store's file.
        path: PathBuf,
    },
    /// A newer release wrote the store.
    #[error(
        "{} was written by a newer release (format {found}; this one reads up to {supported}); use that release, or an empty data folder",
        path.display()
    )]
    NewerFormat {
        /// The store's file.
        path: PathBuf,
        /// The format in the file.
        found: u64,
        /// The newest format that this release reads.
        supported: u64,
    },
    /// The file is something else.
    #[error("{} is not a store of this program ({reason}); move it away, or give another data folder", path.display())]
    NotAStore {
        /// The file.
        path: PathBuf,
        /// How that was seen.
        reason: String,
    },
    /// Something stored cannot be read back.
    #[error("the store is damaged at {place}: {reason}; restore the data folder from a copy")]
    Damaged {
        /// Where in the store.
        place: String,
        /// What was found.
        reason: String,
    },
    /// The disk, or the database on it, failed. Nothing was written.
    #[error("the store cannot be written or read: {reason}")]
    Backend {
        /// What the database said.
        reason: String,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}
