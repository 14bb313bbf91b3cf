//! The log on the machine's own disk: one journal for all streams, group commit, recovery to the last whole record.

pub(crate) mod body;
mod compaction;
mod disk;
mod frame;
mod freeze;
mod options;
mod reader;
mod recovery;
mod rescue;
mod segment;
mod state;
mod stream;
mod sync;
mod wire;
mod writer;

use std::collections::VecDeque;
use std::fs::{self, File, TryLockError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use async_trait::async_trait;
use ferrule_model::ids::Uid;
use ferrule_model::record::Batch;

use self::disk::{Disk, OsDisk};
use self::frame::Kind;
pub use self::freeze::FrozenFile;
pub use self::options::{Clock, OpenError, Options};
use self::reader::Reader;
use self::state::{Core, Item, Shared, Submitted, check};
use self::wire::{put_bytes, put_cursor};
use self::writer::Writer;
use crate::log::{
    AppendReceipt, Bounds, Durability, Guarantees, Health, Log, LogError, LogReader, ReaderId, Retention, StartAt,
    StreamOptions, Usage,
};
use crate::memory::MemoryLog;

/// The log on the machine's own disk. Cloning shares it; when the last clone goes, what is left is written and synced.
///
/// Streams that ask for [`Durability::Process`] never touch the disk: they are in memory, as in a [`MemoryLog`].
#[derive(Clone)]
pub struct EmbeddedLog {
    handle: Arc<Handle>,
    memory: MemoryLog,
}

impl std::fmt::Debug for EmbeddedLog {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmbeddedLog").field("options", &self.handle.shared.options).finish_non_exhaustive()
    }
}

/// The threads, which end with the last handle.
struct Handle {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Keeps other processes out, for as long as the threads run.
    lock: Mutex<Option<File>>,
}

impl Handle {
    /// Ends the threads, and waits for them.
    fn end(&self) {
        let signals = {
            let mut core = self.shared.lock();
            core.closed = true;
            core.ending = true;
            core.streams.values().map(|stream| stream.signals.clone()).collect::<Vec<_>>()
        };
        for signals in signals {
            signals.wake();
        }
        self.shared.work.notify_all();
        self.shared.unsynced.notify_all();
        self.shared.admit.notify_waiters();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a thread of the log panicked");
            }
        }
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.end();
    }
}

impl EmbeddedLog {
    /// Opens the log in a folder, or makes it. What was found there is in [`Log::health`]. Blocks while it reads.
    pub fn open(options: Options) -> Result<Self, OpenError> {
        let place = options.folder.display().to_string();
        let failed = |error| OpenError::Disk { place: place.clone(), error };
        fs::create_dir_all(&options.folder).map_err(failed)?;
        let lock = File::create(options.folder.join("lock")).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::InUse(place)),
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let disk = Arc::new(OsDisk::new(options.folder.clone()));
        Self::open_on(disk, options, Some(lock))
    }

    fn open_on(disk: Arc<dyn Disk>, options: Options, lock: Option<File>) -> Result<Self, OpenError> {
        let place = options.folder.display().to_string();
        let failed = |error| OpenError::Disk { place: place.clone(), error };
        let core = recovery::recover(&*disk)?;
        let memory = MemoryLog::new(Bounds::default()).with_largest_record(options.largest_record);
        let shared = Arc::new(Shared::new(core, disk, options));
        let mut writer = Writer::begin(&shared).map_err(failed)?;
        let (one, two) = (shared.clone(), shared.clone());
        let write = std::thread::Builder::new().name("log-write".into()).spawn(move || writer.run(&one));
        let sync = std::thread::Builder::new().name("log-sync".into()).spawn(move || sync::run(&two));
        let handle = Handle { shared, threads: Mutex::default(), lock: Mutex::new(lock) };
        {
            let mut threads = handle.threads.lock().unwrap_or_else(PoisonError::into_inner);
            for thread in [write, sync] {
                threads.push(thread.map_err(failed)?);
            }
        }
        Ok(Self { handle: Arc::new(handle), memory })
    }

    /// The number of a stream that is in the journal.
    fn number(&self, stream: &Uid) -> Option<u32> {
        self.handle.shared.lock().numbers.get(stream).copied()
    }

    /// Changes a stream of the journal under the lock, and says so in the journal; then whoever waits looks again.
    fn change(&self, stream: &Uid, change: impl FnOnce(&mut Core, u32)) {
        let shared = &self.handle.shared;
        let signals = {
            let mut core = shared.lock();
            let Some(number) = core.numbers.get(stream).copied() else { return };
            let signals = core.streams.get(&number).map(|stream| stream.signals.clone());
            change(&mut core, number);
            signals
        };
        shared.work.notify_one();
        if let Some(signals) = signals {
            signals.wake();
        }
    }
}

#[async_trait]
impl Log for EmbeddedLog {
    fn name(&self) -> &'static str {
        "embedded"
    }

    fn guarantees(&self, durability: Durability) -> Guarantees {
        match durability {
            Durability::Process => self.memory.guarantees(durability),
            Durability::System | Durability::Disk => Guarantees {
                ordered: true,
                replayable: true,
                durable: durability,
                shared: false,
                largest_record: self.handle.shared.options.largest_record,
                retention: Retention::Kept,
            },
        }
    }

    fn configure(&self, stream: &Uid, options: StreamOptions) {
        let shared = &self.handle.shared;
        if self.number(stream).is_none() {
            if options.durability == Durability::Process {
                return self.memory.configure(stream, options);
            }
            let held = self.memory.take(stream);
            let mut core = shared.lock();
            let number = core.number(stream);
            if let Some(held) = held {
                core.adopt(number, held);
            }
        }
        let now = shared.now();
        self.change(stream, |core, number| core.configure(number, options, now));
    }

    async fn append(&self, stream: &Uid, records: Batch, position: Option<Vec<u8>>) -> Result<AppendReceipt, LogError> {
        let shared = &self.handle.shared;
        let Some(number) = self.number(stream) else {
            return self.memory.append(stream, records, position).await;
        };
        check(&records, shared.options.largest_record)?;
        let signals =
            shared.lock().streams.get(&number).map(|stream| stream.signals.clone()).ok_or(LogError::Closed)?;
        let (mut records, mut position) = (records, position);
        loop {
            let mut room = std::pin::pin!(signals.room.notified());
            let mut admit = std::pin::pin!(shared.admit.notified());
            room.as_mut().enable();
            admit.as_mut().enable();
            match shared.submit(number, records, position)? {
                Submitted::Accepted(receipt, done) => {
                    done.await.map_err(|_| LogError::Closed)??;
                    return Ok(receipt);
                }
                Submitted::Full(back, source) => (records, position) = (*back, source),
            }
            tokio::select! {
                () = room => {}
                () = admit => {}
            }
        }
    }

    async fn position(&self, stream: &Uid) -> Result<Option<Vec<u8>>, LogError> {
        match self.number(stream) {
            None => self.memory.position(stream).await,
            Some(number) => {
                let core = self.handle.shared.lock();
                Ok(core.streams.get(&number).and_then(|stream| stream.position.clone()))
            }
        }
    }

    async fn reader(&self, stream: &Uid, id: ReaderId, start: StartAt) -> Result<Box<dyn LogReader>, LogError> {
        let Some(number) = self.number(stream) else {
            return self.memory.reader(stream, id, start).await;
        };
        let shared = self.handle.shared.clone();
        let now = shared.now();
        let (signals, hold, cursor) = {
            let mut core = shared.lock();
            if core.closed {
                return Err(LogError::Closed);
            }
            let found = core.streams.get_mut(&number).ok_or(LogError::Closed)?;
            let (hold, cursor) = found.open(id, start);
            let signals = found.signals.clone();
            if let Some(name) = found.name_of(hold) {
                // In the order of the appends: what is appended from now on is written after it.
                let mut body = Vec::new();
                put_bytes(&mut body, name.as_bytes());
                put_cursor(&mut body, &cursor);
                core.queue.push_back(Item::Control { kind: Kind::Cursor, stream: number, first: 0, body });
            }
            core.trim(number, now);
            (signals, hold, cursor)
        };
        shared.work.notify_one();
        // A reader of the same name ends, and whoever waits for a reader goes on.
        signals.wake();
        Ok(Box::new(Reader {
            shared,
            signals,
            stream: number,
            hold,
            next: cursor.low,
            skip: cursor.done,
            ahead: VecDeque::new(),
            reading: None,
        }))
    }

    fn forget_reader(&self, stream: &Uid, name: &str) {
        if self.number(stream).is_none() {
            return self.memory.forget_reader(stream, name);
        }
        let now = self.handle.shared.now();
        self.change(stream, |core, number| {
            if !core.streams.get_mut(&number).is_some_and(|stream| stream.forget(name)) {
                return;
            }
            let mut body = Vec::new();
            put_bytes(&mut body, name.as_bytes());
            core.queue.push_back(Item::Control { kind: Kind::Forget, stream: number, first: 0, body });
            core.trim(number, now);
        });
    }

    fn readers(&self, stream: &Uid) -> Vec<String> {
        let Some(number) = self.number(stream) else { return self.memory.readers(stream) };
        let core = self.handle.shared.lock();
        core.streams.get(&number).map(|stream| stream.names.keys().cloned().collect()).unwrap_or_default()
    }

    fn usage(&self, stream: &Uid) -> Usage {
        match self.number(stream) {
            None => self.memory.usage(stream),
            Some(number) => {
                let core = self.handle.shared.lock();
                core.streams.get(&number).map(stream::Stream::usage).unwrap_or_default()
            }
        }
    }

    fn health(&self) -> Health {
        let core = self.handle.shared.lock();
        Health {
            trouble: core.trouble.clone(),
            findings: core.findings.clone(),
            disk_bytes: core.disk_bytes(),
            syncs: core.syncs,
            batches: core.batches,
        }
    }

    fn remove(&self, stream: &Uid) {
        if self.number(stream).is_none() {
            return self.memory.remove(stream);
        }
        self.change(stream, |core, number| {
            if let Some(gone) = core.streams.remove(&number) {
                core.numbers.remove(&gone.uid);
                let chunks: Vec<_> = gone.chunks.into();
                core.bury(&chunks);
            }
            core.queue.push_back(Item::Control { kind: Kind::Remove, stream: number, first: 0, body: Vec::new() });
        });
    }

    fn streams(&self) -> Vec<Uid> {
        let mut all: Vec<Uid> = self.handle.shared.lock().numbers.keys().cloned().collect();
        all.extend(self.memory.streams());
        all
    }

    async fn close(&self) {
        let handle = self.handle.clone();
        if tokio::task::spawn_blocking(move || handle.end()).await.is_err() {
            tracing::error!("closing the log panicked");
        }
    }
}

#[cfg(test)]
mod faulty;
#[cfg(test)]
mod schedules;
#[cfg(test)]
mod tests;
