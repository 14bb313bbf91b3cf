//! A store that lives as long as its process: for `ferrule run` and for tests.

use std::sync::{Arc, PoisonError, RwLock};

use async_trait::async_trait;
use ferrule_model::{Kind, Object, Status, Uid};
use tokio::sync::watch;

use crate::rules::{self, Write};
use crate::table::{TOMBSTONES, Table};
use crate::{Listing, Precondition, Principal, Selector, Store, StoreError, Version, Watch};

/// Keeps everything in memory.
#[derive(Debug)]
pub struct MemoryStore {
    table: Arc<RwLock<Table>>,
    changed: watch::Sender<Version>,
}

impl Default for MemoryStore {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::with_tombstones(TOMBSTONES)
    }

    /// An empty store that remembers at most so many deletions for its watchers.
    pub fn with_tombstones(limit: usize) -> Self {
        Self { table: Arc::new(RwLock::new(Table::new(limit))), changed: watch::Sender::new(Version::START) }
    }

    fn write(&self, principal: &Principal, write: Write) -> Result<Arc<Object>, StoreError> {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        let effect = rules::decide(&table, principal, write)?;
        let object = effect.object();
        table.commit(&effect);
        let version = table.version();
        drop(table);
        self.changed.send_replace(version);
        Ok(object)
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, kind: Kind, uid: &Uid) -> Result<Option<Arc<Object>>, StoreError> {
        Ok(self.table.read().unwrap_or_else(PoisonError::into_inner).get(kind, uid))
    }

    async fn list(&self, kind: Option<Kind>, selector: &Selector) -> Result<Listing, StoreError> {
        Ok(self.table.read().unwrap_or_else(PoisonError::into_inner).list(kind, selector))
    }

    async fn create(&self, principal: &Principal, object: Object) -> Result<Arc<Object>, StoreError> {
        self.write(principal, Write::Create(Box::new(object)))
    }

    async fn update(&self, principal: &Principal, object: Object) -> Result<Arc<Object>, StoreError> {
        self.write(principal, Write::Update(Box::new(object)))
    }

    async fn update_status(
        &self,
        principal: &Principal,
        kind: Kind,
        uid: &Uid,
        resource_version: &str,
        status: Status,
    ) -> Result<Arc<Object>, StoreError> {
        self.write(principal, Write::status(kind, uid, resource_version, status))
    }

    async fn delete(
        &self,
        principal: &Principal,
        kind: Kind,
        uid: &Uid,
        precondition: &Precondition,
    ) -> Result<Arc<Object>, StoreError> {
        self.write(principal, Write::delete(kind, uid, precondition))
    }

    fn watch(&self, from: Version) -> Watch {
        Watch::new(self.table.clone(), self.changed.subscribe(), from)
    }
}
