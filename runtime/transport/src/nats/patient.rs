//! A log at NATS that is there at once and connects when NATS can be reached: until then it takes nothing, and says why.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use ferrule_model::ids::Uid;
use ferrule_model::record::Batch;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::connect::{NatsOptions, shown};
use super::writer::Backoff;
use super::{NatsLog, lock};
use crate::log::{
    AppendReceipt, Durability, Guarantees, Health, Log, LogError, LogReader, ReaderId, Retention, StartAt,
    StreamOptions, Usage,
};

/// A [`NatsLog`] that need not be reachable yet.
pub struct PatientNatsLog {
    waiting: Arc<Waiting>,
    durable: Durability,
    largest_record: usize,
    connecting: JoinHandle<()>,
}

struct Waiting {
    log: OnceLock<NatsLog>,
    early: Mutex<Early>,
    /// How often it was tried to connect.
    tries: watch::Sender<u64>,
}

/// What the log was told before it was connected.
#[derive(Default)]
struct Early {
    options: HashMap<Uid, StreamOptions>,
    forgotten: Vec<(Uid, String)>,
    removed: Vec<Uid>,
    trouble: Option<String>,
    closed: bool,
}

impl PatientNatsLog {
    /// Begins to connect, and goes on until it is done. To be called in a tokio runtime.
    pub fn start(options: NatsOptions) -> Self {
        let servers = options.servers.iter().map(|server| shown(server)).collect::<Vec<_>>().join(", ");
        let early = Early { trouble: Some(format!("NATS at {servers} was not asked yet")), ..Early::default() };
        let waiting = Waiting { log: OnceLock::new(), early: Mutex::new(early), tries: watch::Sender::new(0) };
        let waiting = Arc::new(waiting);
        let (durable, largest_record) = (options.durable, options.largest_record);
        let connecting = tokio::spawn(waiting.clone().connect(options));
        Self { waiting, durable, largest_record, connecting }
    }

    /// Waits until NATS was asked once, at most for so long; why it is not connected then, if it is not.
    pub async fn asked(&self, within: Duration) -> Result<(), String> {
        let mut tries = self.waiting.tries.subscribe();
        // Whether in time or not: what counts is what is known then.
        let _ = tokio::time::timeout(within, tries.wait_for(|tries| *tries > 0)).await;
        match &lock(&self.waiting.early).trouble {
            None => Ok(()),
            Some(trouble) => Err(trouble.clone()),
        }
    }

    fn log(&self) -> Option<&NatsLog> {
        self.waiting.log.get()
    }

    fn connected(&self) -> Result<&NatsLog, LogError> {
        if let Some(log) = self.log() {
            return Ok(log);
        }
        let early = lock(&self.waiting.early);
        match &early.trouble {
            Some(trouble) if !early.closed => Err(LogError::Unavailable(trouble.clone())),
            _ => Err(LogError::Closed),
        }
    }
}

impl Waiting {
    async fn connect(self: Arc<Self>, options: NatsOptions) {
        let mut backoff = Backoff::new();
        loop {
            let failed = match NatsLog::connect(options.clone()).await {
                Ok(log) => {
                    self.came(log);
                    None
                }
                Err(error) => Some(error.to_string()),
            };
            let connected = failed.is_none();
            if let Some(why) = failed {
                let mut early = lock(&self.early);
                if early.trouble.as_ref() != Some(&why) {
                    tracing::warn!(
                        "{why}; it is tried again until it can be used, and streams are held back until then"
                    );
                }
                early.trouble = Some(why);
            }
            self.tries.send_modify(|tries| *tries += 1);
            if connected {
                return;
            }
            backoff.wait().await;
        }
    }

    /// Tells the log what was said before it was there, and gives it to everybody.
    fn came(&self, log: NatsLog) {
        let mut early = lock(&self.early);
        for (uid, options) in early.options.drain() {
            log.configure(&uid, options);
        }
        for uid in early.removed.drain(..) {
            log.remove(&uid);
        }
        for (uid, name) in early.forgotten.drain(..) {
            log.forget_reader(&uid, &name);
        }
        early.trouble = None;
        // Set once, here.
        let _ = self.log.set(log);
    }

    /// Does one thing at the log if it is there, or notes it for later.
    fn tell<T>(&self, now: impl FnOnce(&NatsLog) -> T, later: impl FnOnce(&mut Early) -> T) -> T {
        let mut early = lock(&self.early);
        match self.log.get() {
            Some(log) => {
                drop(early);
                now(log)
            }
            None => later(&mut early),
        }
    }
}

#[async_trait]
impl Log for PatientNatsLog {
    fn name(&self) -> &'static str {
        "nats"
    }

    fn guarantees(&self, durability: Durability) -> Guarantees {
        if let Some(log) = self.log() {
            return log.guarantees(durability);
        }
        let lasts = durability > Durability::Process;
        Guarantees {
            ordered: true,
            replayable: lasts,
            durable: if lasts { self.durable } else { Durability::Process },
            shared: lasts,
            largest_record: self.largest_record,
            retention: if lasts { Retention::Kept } else { Retention::UntilRead },
        }
    }

    fn configure(&self, stream: &Uid, options: StreamOptions) {
        let note = |early: &mut Early| {
            early.options.insert(stream.clone(), options);
        };
        self.waiting.tell(|log| log.configure(stream, options), note);
    }

    async fn append(&self, stream: &Uid, records: Batch, position: Option<Vec<u8>>) -> Result<AppendReceipt, LogError> {
        self.connected()?.append(stream, records, position).await
    }

    async fn position(&self, stream: &Uid) -> Result<Option<Vec<u8>>, LogError> {
        self.connected()?.position(stream).await
    }

    async fn reader(&self, stream: &Uid, id: ReaderId, start: StartAt) -> Result<Box<dyn LogReader>, LogError> {
        self.connected()?.reader(stream, id, start).await
    }

    fn forget_reader(&self, stream: &Uid, name: &str) {
        let note = |early: &mut Early| early.forgotten.push((stream.clone(), name.to_owned()));
        self.waiting.tell(|log| log.forget_reader(stream, name), note);
    }

    fn usage(&self, stream: &Uid) -> Usage {
        self.log().map(|log| log.usage(stream)).unwrap_or_default()
    }

    fn health(&self) -> Health {
        match self.log() {
            Some(log) => log.health(),
            None => Health { trouble: lock(&self.waiting.early).trouble.clone(), ..Health::default() },
        }
    }

    fn remove(&self, stream: &Uid) {
        let note = |early: &mut Early| {
            early.options.remove(stream);
            early.removed.push(stream.clone());
        };
        self.waiting.tell(|log| log.remove(stream), note);
    }

    fn streams(&self) -> Vec<Uid> {
        self.log().map(NatsLog::streams).unwrap_or_default()
    }

    fn readers(&self, stream: &Uid) -> Vec<String> {
        self.log().map(|log| log.readers(stream)).unwrap_or_default()
    }

    async fn close(&self) {
        lock(&self.waiting.early).closed = true;
        self.connecting.abort();
        if let Some(log) = self.log() {
            log.close().await;
        }
    }
}

impl Drop for PatientNatsLog {
    fn drop(&mut self) {
        self.connecting.abort();
    }
}
