//! The log in NATS JetStream: for what one machine does not carry. See `docs/decisions/0007-jetstream-log.md`.

mod address;
mod connect;
mod frame;
mod jetstream;
mod names;
mod open;
mod patient;
mod reader;
mod savings;
mod state;
mod trim;
mod writer;

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use ferrule_model::ids::Uid;
use ferrule_model::record::Batch;
use tokio::sync::Notify;
use tokio::task::JoinSet;

pub use self::address::is_address;
pub use self::connect::{Credentials, NatsError, NatsOptions};
use self::jetstream::JetStream;
pub use self::patient::PatientNatsLog;
use self::savings::Savings;
use self::state::Stream;
use crate::log::{
    AppendReceipt, Cursor, Durability, Guarantees, Health, Log, LogError, LogReader, ReaderId, Retention, StartAt,
    StreamOptions, Usage,
};
use crate::memory::MemoryLog;

/// How long the end of a log waits for what is on its way to NATS.
const LAST: Duration = Duration::from_secs(5);

/// Nothing panics while it holds a lock, so a poisoned one is as good as any.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A log whose streams are JetStream streams. Streams that ask for no more than the life of the process are kept in memory.
#[derive(Debug)]
pub struct NatsLog {
    shared: Arc<Shared>,
    memory: MemoryLog,
    /// What runs beside; it ends with the log.
    tasks: Mutex<JoinSet<()>>,
    writers: Mutex<JoinSet<()>>,
}

/// What the log and its tasks share.
#[derive(Debug)]
struct Shared {
    jetstream: JetStream,
    streams: Mutex<HashMap<Uid, Arc<Stream>>>,
    /// Every stream of the log at NATS, open or not.
    known: Mutex<HashSet<Uid>>,
    /// How streams are kept that were configured.
    options: Mutex<HashMap<Uid, StreamOptions>>,
    /// Streams that are on their way out at NATS.
    removing: Mutex<HashSet<Uid>>,
    /// One of them went.
    removed: Notify,
    savings: Savings,
    /// Names this log among the writers: the owner and a number of its own.
    session: String,
    owner: String,
    durable: Durability,
    largest_record: usize,
    /// Bytes that the records of a message may have.
    budget: usize,
    tail_bytes: u64,
    closed: AtomicBool,
    next_write: AtomicU64,
    batches: AtomicU64,
    /// Bytes that the streams take at NATS, as it was asked last.
    stored: AtomicU64,
    /// Why NATS is away; none when it is there.
    away: Arc<Mutex<Option<String>>>,
    findings: Mutex<Vec<String>>,
}

impl NatsLog {
    fn in_memory(&self, stream: &Uid) -> bool {
        lock(&self.shared.options).get(stream).is_none_or(|options| options.durability == Durability::Process)
    }

    fn stream(&self, uid: &Uid) -> Arc<Stream> {
        let mut streams = lock(&self.shared.streams);
        if let Some(stream) = streams.get(uid) {
            return stream.clone();
        }
        let options = lock(&self.shared.options).get(uid).copied();
        let stream = Arc::new(Stream::new(uid.clone(), options.unwrap_or(StreamOptions::new(self.shared.durable))));
        lock(&stream.state).closed = self.shared.closed.load(Ordering::Acquire);
        streams.insert(uid.clone(), stream.clone());
        stream
    }

    fn known(&self, uid: &Uid) -> Option<Arc<Stream>> {
        lock(&self.shared.streams).get(uid).cloned()
    }

    /// Lets go of a stream; what it has at NATS stays.
    fn end(&self, uid: &Uid) {
        let Some(stream) = lock(&self.shared.streams).remove(uid) else { return };
        let mut state = lock(&stream.state);
        state.closed = true;
        state.forget();
        drop(state);
        stream.wake();
    }
}

#[async_trait]
impl Log for NatsLog {
    fn name(&self) -> &'static str {
        "nats"
    }

    fn guarantees(&self, durability: Durability) -> Guarantees {
        if durability == Durability::Process {
            let largest_record = self.shared.largest_record;
            return Guarantees { largest_record, ..self.memory.guarantees(durability) };
        }
        Guarantees {
            ordered: true,
            replayable: true,
            durable: self.shared.durable,
            shared: true,
            largest_record: self.shared.largest_record,
            retention: Retention::Kept,
        }
    }

    fn configure(&self, stream: &Uid, options: StreamOptions) {
        let was_in_memory = self.in_memory(stream);
        lock(&self.shared.options).insert(stream.clone(), options);
        if options.durability == Durability::Process {
            self.end(stream);
            self.memory.configure(stream, options);
            return;
        }
        if was_in_memory {
            self.memory.remove(stream);
        }
        let stream = self.stream(stream);
        lock(&stream.state).options = Some(options);
        stream.room.notify_waiters();
    }

    async fn append(&self, stream: &Uid, records: Batch, position: Option<Vec<u8>>) -> Result<AppendReceipt, LogError> {
        if self.in_memory(stream) {
            return self.memory.append(stream, records, position).await;
        }
        self.append_there(&self.stream(stream), records, position).await
    }

    async fn position(&self, stream: &Uid) -> Result<Option<Vec<u8>>, LogError> {
        if self.in_memory(stream) {
            return self.memory.position(stream).await;
        }
        let stream = self.stream(stream);
        self.shared.open(&stream).await?;
        let position = lock(&stream.state).position.clone();
        Ok(position.map(|position| position.to_vec()))
    }

    async fn reader(&self, stream: &Uid, id: ReaderId, start: StartAt) -> Result<Box<dyn LogReader>, LogError> {
        if self.in_memory(stream) {
            return self.memory.reader(stream, id, start).await;
        }
        let stream = self.stream(stream);
        // What is appended while the reader is being opened comes after what was the newest record when it was asked for.
        let start = match start {
            StartAt::Latest => {
                let state = lock(&stream.state);
                match state.open {
                    true => StartAt::Cursor(Cursor { low: state.head.end, done: Vec::new() }),
                    false => StartAt::Time(state::now_ms()),
                }
            }
            start => start,
        };
        self.shared.open(&stream).await?;
        let (number, Cursor { low, done }, before, sequence) = self.shared.hold(&stream, id, start).await?;
        // A reader of the same name ends, and whoever waits for a reader goes on.
        stream.wake();
        Ok(Box::new(reader::Reader {
            shared: self.shared.clone(),
            stream,
            number,
            next: low,
            before,
            sequence,
            skip: done,
            ready: VecDeque::new(),
            given: VecDeque::new(),
            asked: None,
            backoff: writer::Backoff::new(),
            asked_untold: tokio::time::Instant::now(),
            told: None,
        }))
    }

    fn forget_reader(&self, stream: &Uid, name: &str) {
        if self.in_memory(stream) {
            return self.memory.forget_reader(stream, name);
        }
        if let Some(stream) = self.known(stream) {
            lock(&stream.state).forget_reader(name);
            stream.wake();
        }
        self.shared.savings.forget([self.shared.jetstream.names.cursor(stream, name)]);
    }

    fn usage(&self, stream: &Uid) -> Usage {
        if self.in_memory(stream) {
            return self.memory.usage(stream);
        }
        self.known(stream).map(|stream| lock(&stream.state).usage()).unwrap_or_default()
    }

    fn health(&self) -> Health {
        let away = lock(&self.shared.away).clone();
        let streams: Vec<Arc<Stream>> = lock(&self.shared.streams).values().cloned().collect();
        let trouble = away.or_else(|| streams.iter().find_map(|stream| lock(&stream.state).trouble.clone()));
        Health {
            trouble,
            findings: lock(&self.shared.findings).clone(),
            disk_bytes: self.shared.stored.load(Ordering::Relaxed),
            syncs: 0,
            batches: self.shared.batches.load(Ordering::Relaxed),
        }
    }

    fn remove(&self, stream: &Uid) {
        self.memory.remove(stream);
        self.end(stream);
        if lock(&self.shared.known).remove(stream) {
            lock(&self.shared.removing).insert(stream.clone());
            let (shared, uid) = (self.shared.clone(), stream.clone());
            lock(&self.tasks).spawn(async move { shared.remove(&uid).await });
        }
    }

    fn streams(&self) -> Vec<Uid> {
        let mut streams = lock(&self.shared.known).clone();
        streams.extend(self.memory.streams());
        streams.into_iter().collect()
    }

    fn readers(&self, stream: &Uid) -> Vec<String> {
        if self.in_memory(stream) {
            return self.memory.readers(stream);
        }
        self.known(stream).map(|stream| lock(&stream.state).names.keys().cloned().collect()).unwrap_or_default()
    }

    async fn close(&self) {
        self.shared.closed.store(true, Ordering::Release);
        let streams: Vec<Arc<Stream>> = lock(&self.shared.streams).values().cloned().collect();
        for stream in &streams {
            let mut state = lock(&stream.state);
            state.closed = true;
            state.writer = None;
            drop(state);
            stream.wake();
        }
        let mut writers = std::mem::take(&mut *lock(&self.writers));
        let last = async {
            while writers.join_next().await.is_some() {}
            // What is not saved now is read again.
            let _ = self.shared.savings.flush(&self.shared.jetstream).await;
            self.shared.leave().await;
        };
        tokio::time::timeout(LAST, last).await.ok();
        // What is not in by now is told to nobody as appended.
        drop(writers);
        let tasks = std::mem::take(&mut *lock(&self.tasks));
        drop(tasks);
    }
}
