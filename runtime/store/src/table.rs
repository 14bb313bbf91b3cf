//! All objects of a store in memory, in the order in which they were last written.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use ferrule_model::{Kind, Object, Uid};

use crate::rules::Effect;
use crate::{Event, Listing, Selector, Version};

/// How many deletions are remembered by default. A watcher that was away for more of them lists again.
pub(crate) const TOMBSTONES: usize = 4096;

/// Objects, tombstones and the version they are at. Cloning copies pointers only.
#[derive(Debug, Clone)]
pub(crate) struct Table {
    objects: BTreeMap<(Kind, Uid), Arc<Object>>,
    order: BTreeMap<Version, (Kind, Uid)>,
    tombstones: BTreeMap<Version, Arc<Object>>,
    limit: usize,
    version: Version,
    /// The newest deletion that was dropped from `tombstones`.
    forgotten: Version,
}

impl Table {
    pub(crate) fn new(limit: usize) -> Self {
        Self {
            objects: BTreeMap::new(),
            order: BTreeMap::new(),
            tombstones: BTreeMap::new(),
            limit,
            version: Version::START,
            forgotten: Version::START,
        }
    }

    /// Sets where a stored history stands, before its objects are put back.
    pub(crate) fn resume(&mut self, version: Version, forgotten: Version) {
        self.version = version;
        self.forgotten = forgotten;
    }

    pub(crate) fn version(&self) -> Version {
        self.version
    }

    pub(crate) fn forgotten(&self) -> Version {
        self.forgotten
    }

    pub(crate) fn objects(&self) -> impl Iterator<Item = &Arc<Object>> {
        self.objects.values()
    }

    pub(crate) fn tombstones(&self) -> impl Iterator<Item = (Version, &Arc<Object>)> {
        self.tombstones.iter().map(|(version, object)| (*version, object))
    }

    pub(crate) fn get(&self, kind: Kind, uid: &Uid) -> Option<Arc<Object>> {
        self.objects.get(&(kind, uid.clone())).cloned()
    }

    pub(crate) fn list(&self, kind: Option<Kind>, selector: &Selector) -> Listing {
        let objects = self
            .objects
            .iter()
            .filter(|((of, _), object)| kind.is_none_or(|kind| kind == *of) && selector.matches(object))
            .map(|(_, object)| object.clone())
            .collect();
        Listing { version: self.version, objects }
    }

    /// What changed after `from`, in order; the oldest version that can be asked for if `from` is older.
    pub(crate) fn since(&self, from: Version) -> Result<Vec<Event>, Version> {
        // From the start there is nothing that a watcher could have seen and that is gone now.
        if from < self.forgotten && from != Version::START {
            return Err(self.forgotten);
        }
        let after = (Bound::Excluded(from), Bound::Unbounded);
        let puts = self
            .order
            .range(after)
            .filter_map(|(version, key)| self.objects.get(key).map(|object| (*version, Event::Put(object.clone()))));
        let deletes = self.tombstones.range(after).map(|(version, object)| (*version, Event::Delete(object.clone())));
        let mut events: Vec<_> = puts.chain(deletes).collect();
        events.sort_by_key(|(version, _)| *version);
        Ok(events.into_iter().map(|(_, event)| event).collect())
    }

    /// Does what was decided. Returns the versions of the tombstones that had to go.
    pub(crate) fn commit(&mut self, effect: &Effect) -> Vec<Version> {
        let mut dropped = Vec::new();
        match effect {
            Effect::Nothing(_) => {}
            Effect::Put(object) => self.put(object),
            Effect::Remove(tombstone) => {
                let key = (tombstone.kind, tombstone.metadata.uid.clone());
                if let Some(old) = self.objects.remove(&key).as_deref().and_then(Version::of) {
                    self.order.remove(&old);
                }
                self.bury(tombstone);
                while self.tombstones.len() > self.limit {
                    if let Some((version, _)) = self.tombstones.pop_first() {
                        self.forgotten = version;
                        dropped.push(version);
                    }
                }
            }
        }
        dropped
    }

    /// Puts an object as it was stored.
    pub(crate) fn put(&mut self, object: &Arc<Object>) {
        let key = (object.kind, object.metadata.uid.clone());
        let version = Version::of(object).unwrap_or_default();
        if let Some(old) = self.objects.insert(key.clone(), object.clone()).as_deref().and_then(Version::of) {
            self.order.remove(&old);
        }
        self.order.insert(version, key);
        self.version = self.version.max(version);
    }

    /// Puts a tombstone as it was stored.
    pub(crate) fn bury(&mut self, tombstone: &Arc<Object>) {
        let version = Version::of(tombstone).unwrap_or_default();
        self.tombstones.insert(version, tombstone.clone());
        self.version = self.version.max(version);
    }
}
