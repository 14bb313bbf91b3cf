//! What changed in a store since a version.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

use ferrule_model::Object;
use tokio::sync::watch;

use crate::Version;
use crate::table::Table;

/// One change.
#[derive(Debug, Clone)]
pub enum Event {
    /// The object was created or changed; this is how it is now.
    Put(Arc<Object>),
    /// The object is gone; this is how it was, with the version at which it went.
    Delete(Arc<Object>),
}

impl Event {
    /// The object concerned.
    pub fn object(&self) -> &Arc<Object> {
        match self {
            Event::Put(object) | Event::Delete(object) => object,
        }
    }

    /// Where in the order of writes it happened.
    pub fn version(&self) -> Version {
        Version::of(self.object()).unwrap_or_default()
    }
}

/// Why a watch ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WatchError {
    /// Tombstones after `from` were dropped, so a deletion could be missed: list everything again and watch from there.
    #[error("version {from} is too old to watch from (deletions are kept from version {oldest} on); list again")]
    TooOld {
        /// Where the watch stood.
        from: Version,
        /// The oldest version that can be watched from.
        oldest: Version,
    },
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

/// A watch on a store; see [`Store::watch`](crate::Store::watch). Dropping it ends it; waiting in it holds nothing back.
#[derive(Debug)]
pub struct Watch {
    table: Arc<RwLock<Table>>,
    changed: watch::Receiver<Version>,
    from: Version,
    pending: VecDeque<Event>,
}

impl Watch {
    pub(crate) fn new(table: Arc<RwLock<Table>>, changed: watch::Receiver<Version>, from: Version) -> Self {
        Self { table, changed, from, pending: VecDeque::new() }
    }

    /// Waits for the next change. Safe to cancel: nothing is lost.
    pub async fn next(&mut self) -> Result<Event, WatchError> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                self.from = event.version();
                return Ok(event);
            }
            // Marked as seen before reading, so that a write in between wakes the wait below.
            let _ = self.changed.borrow_and_update();
            let since = self.table.read().unwrap_or_else(PoisonError::into_inner).since(self.from);
            self.pending = since.map_err(|oldest| WatchError::TooOld { from: self.from, oldest })?.into();
            if self.pending.is_empty() {
                self.changed.changed().await.map_err(|_| WatchError::Closed)?;
            }
        }
    }

    /// Takes the changes that are there already, without waiting for more.
    pub fn ready(&mut self) -> Result<Vec<Event>, WatchError> {
        let mut events: Vec<Event> = self.pending.drain(..).collect();
        if let Some(last) = events.last() {
            self.from = last.version();
        }
        let since = self.table.read().unwrap_or_else(PoisonError::into_inner).since(self.from);
        events.extend(since.map_err(|oldest| WatchError::TooOld { from: self.from, oldest })?);
        if let Some(last) = events.last() {
            self.from = last.version();
        }
        Ok(events)
    }

    /// Up to where changes were given out.
    pub fn version(&self) -> Version {
        self.from
    }
}
