//! What a write makes of an object: pure, so that every store answers alike.

use std::sync::Arc;

use ferrule_model::{Kind, Object, Status, Uid};
use jiff::Timestamp;
use serde_json::json;

use crate::table::Table;
use crate::{Precondition, Principal, StoreError, Version};

/// A write that was asked for.
#[derive(Debug)]
pub(crate) enum Write {
    Create(Box<Object>),
    Update(Box<Object>),
    Status { kind: Kind, uid: Uid, resource_version: String, status: Box<Status> },
    Delete { kind: Kind, uid: Uid, precondition: Precondition },
}

impl Write {
    pub(crate) fn status(kind: Kind, uid: &Uid, resource_version: &str, status: Status) -> Self {
        Write::Status {
            kind,
            uid: uid.clone(),
            resource_version: resource_version.to_owned(),
            status: Box::new(status),
        }
    }

    pub(crate) fn delete(kind: Kind, uid: &Uid, precondition: &Precondition) -> Self {
        Write::Delete { kind, uid: uid.clone(), precondition: precondition.clone() }
    }
}

/// What a write does.
#[derive(Debug, Clone)]
pub(crate) enum Effect {
    /// This is now the object.
    Put(Arc<Object>),
    /// The object is gone; this is its tombstone.
    Remove(Arc<Object>),
    /// Nothing differs from what is stored.
    Nothing(Arc<Object>),
}

impl Effect {
    pub(crate) fn object(&self) -> Arc<Object> {
        match self {
            Effect::Put(object) | Effect::Remove(object) | Effect::Nothing(object) => object.clone(),
        }
    }
}

/// Decides what a write does to what is stored, without doing it.
pub(crate) fn decide(table: &Table, principal: &Principal, write: Write) -> Result<Effect, StoreError> {
    let next = table.version().next();
    let now = Timestamp::now();
    match write {
        Write::Create(object) => create(table, principal, *object, next, now),
        Write::Update(object) => update(table, principal, *object, next, now),
        Write::Status { kind, uid, resource_version, status } => {
            let stored = stored(table, kind, &uid)?;
            expect(&stored, &resource_version)?;
            if stored.status == *status {
                return Ok(Effect::Nothing(stored));
            }
            let mut object = Object::clone(&stored);
            object.status = *status;
            stamp(&mut object, next);
            Ok(Effect::Put(Arc::new(object)))
        }
        Write::Delete { kind, uid, precondition } => {
            let stored = stored(table, kind, &uid)?;
            if let Some(version) = &precondition.resource_version {
                expect(&stored, version)?;
            }
            let mut object = Object::clone(&stored);
            stamp(&mut object, next);
            if object.metadata.finalizers.is_empty() {
                return Ok(Effect::Remove(Arc::new(object)));
            }
            if object.metadata.deletion_timestamp.is_some() {
                return Ok(Effect::Nothing(stored));
            }
            object.metadata.deletion_timestamp = Some(now);
            object.metadata.generation += 1;
            sign(&mut object, principal, now);
            Ok(Effect::Put(Arc::new(object)))
        }
    }
}

fn create(
    table: &Table,
    principal: &Principal,
    mut object: Object,
    next: Version,
    now: Timestamp,
) -> Result<Effect, StoreError> {
    if object.metadata.uid.is_unset() {
        object.metadata.uid = Uid::random();
    }
    if table.get(object.kind, &object.metadata.uid).is_some() {
        let uid = object.metadata.uid.to_string();
        return Err(StoreError::AlreadyExists { kind: object.kind, uid });
    }
    if object.metadata.deletion_timestamp.is_some() {
        return Err(invalid(&object, "a new object cannot be one that is being deleted"));
    }
    object.metadata.generation = 1;
    object.metadata.creation_timestamp = Some(now);
    object.metadata.managed_fields.clear();
    stamp(&mut object, next);
    sign(&mut object, principal, now);
    Ok(Effect::Put(Arc::new(object)))
}

fn update(
    table: &Table,
    principal: &Principal,
    mut object: Object,
    next: Version,
    now: Timestamp,
) -> Result<Effect, StoreError> {
    let stored = stored(table, object.kind, &object.metadata.uid)?;
    if object.metadata.resource_version.is_empty() {
        return Err(invalid(&object, "an update carries the resource version that it was made from"));
    }
    expect(&stored, &object.metadata.resource_version)?;
    let (new, old) = (&mut object.metadata, &stored.metadata);
    let added = new.finalizers.iter().any(|finalizer| !old.finalizers.contains(finalizer));
    if old.deletion_timestamp.is_some() && added {
        return Err(invalid(&object, "it is being deleted, and takes no further finalizers"));
    }
    // What only the store may set stays as it is.
    new.creation_timestamp = old.creation_timestamp;
    new.deletion_timestamp = old.deletion_timestamp;
    new.generation = old.generation;
    new.managed_fields = old.managed_fields.clone();
    new.resource_version = old.resource_version.clone();
    object.status = stored.status.clone();
    if object == *stored {
        return Ok(Effect::Nothing(stored));
    }
    if object.spec != stored.spec {
        object.metadata.generation += 1;
    }
    stamp(&mut object, next);
    if object.metadata.deletion_timestamp.is_some() && object.metadata.finalizers.is_empty() {
        return Ok(Effect::Remove(Arc::new(object)));
    }
    sign(&mut object, principal, now);
    Ok(Effect::Put(Arc::new(object)))
}

fn stored(table: &Table, kind: Kind, uid: &Uid) -> Result<Arc<Object>, StoreError> {
    table.get(kind, uid).ok_or_else(|| StoreError::NotFound { kind, uid: uid.to_string() })
}

fn expect(stored: &Object, version: &str) -> Result<(), StoreError> {
    let found = stored.metadata.resource_version.as_str();
    if found == version {
        return Ok(());
    }
    Err(StoreError::Conflict {
        kind: stored.kind,
        uid: stored.metadata.uid.to_string(),
        expected: version.to_owned(),
        found: found.to_owned(),
    })
}

fn invalid(object: &Object, reason: &str) -> StoreError {
    StoreError::Invalid { kind: object.kind, uid: object.metadata.uid.to_string(), reason: reason.to_owned() }
}

fn stamp(object: &mut Object, version: Version) {
    object.metadata.resource_version = version.to_string();
}

/// Records who last wrote the desired state, one entry for each principal.
fn sign(object: &mut Object, principal: &Principal, now: Timestamp) {
    let entries = &mut object.metadata.managed_fields;
    entries.retain(|entry| entry.get("manager").and_then(|name| name.as_str()) != Some(principal.name()));
    entries.push(json!({"manager": principal.name(), "operation": "Update", "time": now.to_string()}));
}
