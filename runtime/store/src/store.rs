//! The promise that every store keeps.

use std::sync::Arc;

use async_trait::async_trait;
use ferrule_model::{Kind, Object, Status, Uid};

use crate::{Principal, Selector, StoreError, Version, Watch};

/// What a delete expects of the object; an empty one expects nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Precondition {
    /// The object's resource version.
    pub resource_version: Option<String>,
}

/// The objects that matched, and the version they were read at: a watch from there misses nothing and repeats nothing.
#[derive(Debug, Clone)]
pub struct Listing {
    /// The version of the store when it was read.
    pub version: Version,
    /// The objects, by kind and uid.
    pub objects: Vec<Arc<Object>>,
}

/// Objects by kind and uid, written one at a time and watched.
///
/// Guarantees: a write that returned is durable by the store's own means, and every later read sees it. Writes are in one
/// order, and an object's `metadata.resourceVersion` says where in it the object was last written. A write that changes
/// nothing writes nothing and returns what is stored. There is no transaction over several objects.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// One object, or none.
    async fn get(&self, kind: Kind, uid: &Uid) -> Result<Option<Arc<Object>>, StoreError>;

    /// The objects of one kind, or of all, that match.
    async fn list(&self, kind: Option<Kind>, selector: &Selector) -> Result<Listing, StoreError>;

    /// Stores a new object. A uid is made up if it has none. Generation, versions and times are the store's own; a status
    /// is kept as given (objects arrive with one from other systems).
    async fn create(&self, principal: &Principal, object: Object) -> Result<Arc<Object>, StoreError>;

    /// Replaces metadata, spec and form if the object is still at the resource version that `object` carries. The generation
    /// grows if the spec differs. The status stays as it is stored. When the last finalizer of an object being deleted goes,
    /// so does the object.
    async fn update(&self, principal: &Principal, object: Object) -> Result<Arc<Object>, StoreError>;

    /// Replaces the status if the object is still at `resource_version`; leaves the generation alone.
    async fn update_status(
        &self,
        principal: &Principal,
        kind: Kind,
        uid: &Uid,
        resource_version: &str,
        status: Status,
    ) -> Result<Arc<Object>, StoreError>;

    /// Deletes the object, or, while it has finalizers, marks it with a deletion timestamp. Returns it as last stored.
    async fn delete(
        &self,
        principal: &Principal,
        kind: Kind,
        uid: &Uid,
        precondition: &Precondition,
    ) -> Result<Arc<Object>, StoreError>;

    /// What changes after `from`. Not every step between is promised, only that the last state of each object comes, and a
    /// tombstone for each that went.
    fn watch(&self, from: Version) -> Watch;
}
