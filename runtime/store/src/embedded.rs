//! A store in one file, for one server: survives kill -9 and power loss once a write has returned.
//!
//! Everything is held in memory too, so that reads wait for nothing. One thread owns the file: it takes the writes that wait,
//! decides them in order, commits them in one durable transaction, and only then lets readers see them and writers go on.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::JoinHandle;

use async_trait::async_trait;
use ferrule_model::{Kind, Object, Status, Uid};
use redb::{Database, DatabaseError, ReadableDatabase, ReadableTable, StorageError, TableDefinition, WriteTransaction};
use tokio::sync::{mpsc, oneshot, watch};

use crate::rules::{self, Effect, Write};
use crate::table::{TOMBSTONES, Table};
use crate::{Listing, Precondition, Principal, Selector, Store, StoreError, Version, Watch};

/// The format of the file that this release writes and the newest that it reads.
pub const FORMAT: u64 = 1;

/// What takes a file forward by one format each, the first from format 1 to format 2; a new format needs a step here.
const STEPS: [Step; FORMAT as usize - 1] = [];

/// Changes a file of one format into one of the next, within the transaction that writes the new number.
type Step = fn(&WriteTransaction) -> Result<(), StoreError>;

/// Facts about the whole: `format`, `version`, `forgotten`.
const META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");
/// `kind/uid` to the object as JSON.
const OBJECTS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("objects");
/// The version of a deletion to the object that went, as JSON.
const GONE: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("tombstones");

/// Writes that share one commit to disk at most: bounds how long the first of them waits for the last.
const GROUP: usize = 256;
/// Writes that may wait for the thread; more wait in their callers.
const QUEUE: usize = 1024;
/// The database's own cache. Small, because reads are served from the table in memory.
const CACHE_BYTES: usize = 8 << 20;

/// How a store is opened.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    /// How many deletions are remembered for watchers.
    pub tombstones: usize,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self { tombstones: TOMBSTONES }
    }
}

/// Keeps everything in one file, which one process at a time can open.
#[derive(Debug)]
pub struct EmbeddedStore {
    table: Arc<RwLock<Table>>,
    changed: Arc<watch::Sender<Version>>,
    writes: Option<mpsc::Sender<Request>>,
    thread: Option<JoinHandle<()>>,
    path: PathBuf,
}

#[derive(Debug)]
struct Request {
    principal: Principal,
    write: Write,
    answer: oneshot::Sender<Result<Arc<Object>, StoreError>>,
}

impl EmbeddedStore {
    /// Opens the store in the file at `path`, or makes a new one there.
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, StoreError> {
        Self::open_with(path, EmbeddedOptions::default()).await
    }

    /// Opens the store with options.
    pub async fn open_with(path: impl Into<PathBuf>, options: EmbeddedOptions) -> Result<Self, StoreError> {
        let path = path.into();
        let opened = tokio::task::spawn_blocking(move || Self::open_blocking(path, &options)).await;
        opened.map_err(|error| StoreError::Backend { reason: error.to_string() })?
    }

    fn open_blocking(path: PathBuf, options: &EmbeddedOptions) -> Result<Self, StoreError> {
        let database =
            Database::builder().set_cache_size(CACHE_BYTES).create(&path).map_err(|error| cannot_open(&path, error))?;
        take_forward(&database, &path, &STEPS)?;
        let table = load(&database, &path, options.tombstones)?;
        let changed = Arc::new(watch::Sender::new(table.version()));
        let shared = Arc::new(RwLock::new(table.clone()));
        let (writes, requests) = mpsc::channel(QUEUE);
        let writer = Writer { database, working: table, shared: shared.clone(), changed: changed.clone() };
        let thread = std::thread::Builder::new()
            .name("ferrule-store".to_owned())
            .spawn(move || writer.run(requests))
            .map_err(|error| StoreError::Backend { reason: error.to_string() })?;
        Ok(Self { table: shared, changed, writes: Some(writes), thread: Some(thread), path })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes everything as it is at this moment into an empty file, as a store of its own. Blocks on the disk; writers of this
    /// store do not wait.
    pub fn copy_into(&self, file: std::fs::File) -> Result<(), StoreError> {
        let table = self.table.read().unwrap_or_else(PoisonError::into_inner).clone();
        let database = Database::builder().set_cache_size(CACHE_BYTES).create_file(file).map_err(backend)?;
        let transaction = database.begin_write().map_err(backend)?;
        {
            let mut meta = transaction.open_table(META).map_err(backend)?;
            let facts = [("format", FORMAT), ("version", table.version().0), ("forgotten", table.forgotten().0)];
            for (name, value) in facts {
                meta.insert(name, value).map_err(backend)?;
            }
            let mut objects = transaction.open_table(OBJECTS).map_err(backend)?;
            for object in table.objects() {
                objects.insert(key(object).as_str(), encode(object)?.as_slice()).map_err(backend)?;
            }
            let mut gone = transaction.open_table(GONE).map_err(backend)?;
            for (version, object) in table.tombstones() {
                gone.insert(version.0, encode(object)?.as_slice()).map_err(backend)?;
            }
        }
        transaction.commit().map_err(backend)
    }

    async fn write(&self, principal: &Principal, write: Write) -> Result<Arc<Object>, StoreError> {
        let (answer, answered) = oneshot::channel();
        let request = Request { principal: principal.clone(), write, answer };
        let writes = self.writes.as_ref().ok_or(StoreError::Closed)?;
        writes.send(request).await.map_err(|_| StoreError::Closed)?;
        answered.await.map_err(|_| StoreError::Closed)?
    }
}

impl Drop for EmbeddedStore {
    /// Waits for the writes that were accepted, and for the file to be free for the next who opens it.
    fn drop(&mut self) {
        self.writes = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn get(&self, kind: Kind, uid: &Uid) -> Result<Option<Arc<Object>>, StoreError> {
        Ok(self.table.read().unwrap_or_else(PoisonError::into_inner).get(kind, uid))
    }

    async fn list(&self, kind: Option<Kind>, selector: &Selector) -> Result<Listing, StoreError> {
        Ok(self.table.read().unwrap_or_else(PoisonError::into_inner).list(kind, selector))
    }

    async fn create(&self, principal: &Principal, object: Object) -> Result<Arc<Object>, StoreError> {
        self.write(principal, Write::Create(Box::new(object))).await
    }

    async fn update(&self, principal: &Principal, object: Object) -> Result<Arc<Object>, StoreError> {
        self.write(principal, Write::Update(Box::new(object))).await
    }

    async fn update_status(
        &self,
        principal: &Principal,
        kind: Kind,
        uid: &Uid,
        resource_version: &str,
        status: Status,
    ) -> Result<Arc<Object>, StoreError> {
        self.write(principal, Write::status(kind, uid, resource_version, status)).await
    }

    async fn delete(
        &self,
        principal: &Principal,
        kind: Kind,
        uid: &Uid,
        precondition: &Precondition,
    ) -> Result<Arc<Object>, StoreError> {
        self.write(principal, Write::delete(kind, uid, precondition)).await
    }

    fn watch(&self, from: Version) -> Watch {
        Watch::new(self.table.clone(), self.changed.subscribe(), from)
    }
}

/// The thread that owns the file.
struct Writer {
    database: Database,
    /// What is decided, a group ahead of what is committed.
    working: Table,
    /// What is committed.
    shared: Arc<RwLock<Table>>,
    changed: Arc<watch::Sender<Version>>,
}

impl Writer {
    fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut group = Vec::with_capacity(GROUP);
        while let Some(first) = requests.blocking_recv() {
            group.push(first);
            while group.len() < GROUP {
                match requests.try_recv() {
                    Ok(next) => group.push(next),
                    Err(_) => break,
                }
            }
            self.write(&mut group);
        }
    }

    fn write(&mut self, group: &mut Vec<Request>) {
        let mut effects = Vec::with_capacity(group.len());
        let mut dropped = Vec::new();
        let mut answers = Vec::with_capacity(group.len());
        for request in group.drain(..) {
            match rules::decide(&self.working, &request.principal, request.write) {
                Ok(effect) => {
                    dropped.extend(self.working.commit(&effect));
                    answers.push((request.answer, Ok(effect.object())));
                    effects.push(effect);
                }
                Err(error) => answers.push((request.answer, Err(error))),
            }
        }
        if effects.iter().any(|effect| !matches!(effect, Effect::Nothing(_))) {
            match self.commit(&effects, &dropped) {
                Ok(()) => {
                    let mut shared = self.shared.write().unwrap_or_else(PoisonError::into_inner);
                    for effect in &effects {
                        shared.commit(effect);
                    }
                    drop(shared);
                    self.changed.send_replace(self.working.version());
                }
                Err(error) => {
                    tracing::error!(%error, "the store could not commit; nothing of it is visible");
                    self.working = self.shared.read().unwrap_or_else(PoisonError::into_inner).clone();
                    for (answer, _) in answers {
                        let _ = answer.send(Err(error.clone()));
                    }
                    return;
                }
            }
        }
        for (answer, outcome) in answers {
            // Nobody waits any more: the write stands all the same.
            let _ = answer.send(outcome);
        }
    }

    fn commit(&self, effects: &[Effect], dropped: &[Version]) -> Result<(), StoreError> {
        let transaction = self.database.begin_write().map_err(backend)?;
        {
            let mut objects = transaction.open_table(OBJECTS).map_err(backend)?;
            let mut gone = transaction.open_table(GONE).map_err(backend)?;
            let mut meta = transaction.open_table(META).map_err(backend)?;
            for effect in effects {
                match effect {
                    Effect::Nothing(_) => {}
                    Effect::Put(object) => {
                        objects.insert(key(object).as_str(), encode(object)?.as_slice()).map_err(backend)?;
                    }
                    Effect::Remove(object) => {
                        objects.remove(key(object).as_str()).map_err(backend)?;
                        let version = Version::of(object).unwrap_or_default();
                        gone.insert(version.0, encode(object)?.as_slice()).map_err(backend)?;
                    }
                }
            }
            for version in dropped {
                gone.remove(version.0).map_err(backend)?;
            }
            meta.insert("version", self.working.version().0).map_err(backend)?;
            meta.insert("forgotten", self.working.forgotten().0).map_err(backend)?;
        }
        transaction.commit().map_err(backend)
    }
}

fn key(object: &Object) -> String {
    format!("{}/{}", object.kind, object.metadata.uid)
}

fn encode(object: &Object) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(object).map_err(backend)
}

fn decode(place: &str, bytes: &[u8]) -> Result<Arc<Object>, StoreError> {
    let damaged = |reason: String| StoreError::Damaged { place: place.to_owned(), reason };
    let object: Object = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
    if Version::of(&object).is_none() {
        return Err(damaged("an object without a resource version".to_owned()));
    }
    Ok(Arc::new(object))
}

fn backend(error: impl std::fmt::Display) -> StoreError {
    StoreError::Backend { reason: error.to_string() }
}

fn cannot_open(path: &Path, error: DatabaseError) -> StoreError {
    let path = path.to_owned();
    match error {
        DatabaseError::DatabaseAlreadyOpen => StoreError::Locked { path },
        DatabaseError::UpgradeRequired(format) => {
            StoreError::NotAStore { path, reason: format!("database layout {format}") }
        }
        DatabaseError::Storage(StorageError::Corrupted(reason)) => StoreError::NotAStore { path, reason },
        DatabaseError::Storage(StorageError::Io(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
            StoreError::NotAStore { path, reason: error.to_string() }
        }
        error => StoreError::Backend { reason: format!("{}: {error}", path.display()) },
    }
}

/// Checks that a file that is not new is ours and of no newer format than `steps` lead to, and does those that it lacks, all or none.
fn take_forward(database: &Database, path: &Path, steps: &[Step]) -> Result<(), StoreError> {
    let foreign = |reason: String| StoreError::NotAStore { path: path.to_owned(), reason };
    let reading = database.begin_read().map_err(backend)?;
    if reading.list_tables().map_err(backend)?.next().is_none() {
        return Ok(());
    }
    let meta = reading.open_table(META).map_err(|error| foreign(error.to_string()))?;
    let found = meta.get("format").map_err(backend)?.map_or(0, |value| value.value());
    let supported = steps.len() as u64 + 1;
    if found > supported {
        return Err(StoreError::NewerFormat { path: path.to_owned(), found, supported });
    }
    let done = found.checked_sub(1).ok_or_else(|| foreign("it names no format".to_owned()))?;
    let lacking = steps.get(usize::try_from(done).unwrap_or(usize::MAX)..).unwrap_or_default();
    if lacking.is_empty() {
        return Ok(());
    }
    tracing::info!(store = %path.display(), from = found, to = supported, "the store is taken to a newer format");
    let transaction = database.begin_write().map_err(backend)?;
    for step in lacking {
        step(&transaction)?;
    }
    transaction.open_table(META).map_err(backend)?.insert("format", supported).map_err(backend)?;
    transaction.commit().map_err(backend)
}

/// Reads everything; writes the format into a new file.
fn load(database: &Database, path: &Path, tombstones: usize) -> Result<Table, StoreError> {
    let mut table = Table::new(tombstones);
    let reading = database.begin_read().map_err(backend)?;
    if reading.list_tables().map_err(backend)?.next().is_none() {
        let transaction = database.begin_write().map_err(backend)?;
        transaction.open_table(META).map_err(backend)?.insert("format", FORMAT).map_err(backend)?;
        transaction.open_table(OBJECTS).map_err(backend)?;
        transaction.open_table(GONE).map_err(backend)?;
        transaction.commit().map_err(backend)?;
        return Ok(table);
    }
    let foreign = |reason: String| StoreError::NotAStore { path: path.to_owned(), reason };
    let meta = reading.open_table(META).map_err(|error| foreign(error.to_string()))?;
    let fact = |name: &str| -> Result<Option<u64>, StoreError> {
        Ok(meta.get(name).map_err(backend)?.map(|value| value.value()))
    };
    table.resume(Version(fact("version")?.unwrap_or_default()), Version(fact("forgotten")?.unwrap_or_default()));
    let objects = reading.open_table(OBJECTS).map_err(|error| foreign(error.to_string()))?;
    for entry in objects.iter().map_err(backend)? {
        let (key, value) = entry.map_err(backend)?;
        table.put(&decode(key.value(), value.value())?);
    }
    let gone = reading.open_table(GONE).map_err(|error| foreign(error.to_string()))?;
    for entry in gone.iter().map_err(backend)? {
        let (version, value) = entry.map_err(backend)?;
        table.bury(&decode(&format!("tombstones/{}", version.value()), value.value())?);
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_file_is_taken_forward_step_by_step_and_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let database = Database::create(&path).unwrap();
        load(&database, &path, 1).unwrap();
        let double: Step = |transaction| {
            let mut meta = transaction.open_table(META).map_err(backend)?;
            let version = meta.get("version").map_err(backend)?.map_or(1, |value| value.value());
            meta.insert("version", 2 * version).map(drop).map_err(backend)
        };
        let fails: Step = |_| Err(StoreError::Closed);
        assert!(take_forward(&database, &path, &[double, fails]).is_err());
        let facts = || {
            let meta = database.begin_read().unwrap().open_table(META).unwrap();
            ["format", "version"].map(|name| meta.get(name).unwrap().map(|value| value.value()))
        };
        assert_eq!(facts(), [Some(1), None], "all steps or none");
        for steps in [&[double][..], &[double], &[double, double, double]] {
            take_forward(&database, &path, steps).unwrap();
        }
        assert_eq!(facts(), [Some(4), Some(8)]);
        let refused = take_forward(&database, &path, &[double]).unwrap_err();
        assert!(matches!(refused, StoreError::NewerFormat { found: 4, supported: 2, .. }), "{refused}");
    }
}
