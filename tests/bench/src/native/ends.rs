//! Native ends of a pipeline: a generator, a sink that counts, and a sink that looks at every record.

use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use ferrule_flow::guest::{Guest, Waker};
use ferrule_host::{CallError, Configured, Observer, Opened, PullLimits, Pulled, Session};
use ferrule_model::record::{Batch, BatchError, ColumnBuilder, Outcomes};
use tokio::sync::Notify;

use super::Native;
use super::made::{Contents, Format};

/// Makes the records that the guest `generator` makes, without end.
#[derive(Clone)]
pub(crate) struct Generator {
    pub(crate) size: usize,
    pub(crate) json: bool,
}

impl Native for Generator {
    const NAME: &'static str = "native-generator";

    fn guest(&self, _: Arc<dyn Observer>) -> Box<dyn Guest> {
        let format = if self.json { Format::Json } else { Format::Text };
        let contents = Contents::new(format, self.size, 0);
        Box::new(Generating { contents, size: self.size, next: 0, wake: Arc::default() })
    }
}

struct Generating {
    contents: Contents,
    size: usize,
    next: u64,
    wake: Arc<Notify>,
}

#[async_trait]
impl Guest for Generating {
    fn waker(&self) -> Waker {
        let wake = self.wake.clone();
        Waker::new(move || wake.notify_one())
    }

    async fn open(&mut self, _: Session) -> Result<Opened, CallError> {
        Ok(Opened { replayable: true, properties: Vec::new() })
    }

    async fn configure(&mut self, _: &str) -> Result<Configured, CallError> {
        Ok(Configured::Applied)
    }

    async fn close(&mut self) -> Result<(), CallError> {
        Ok(())
    }

    async fn next(&mut self, limits: PullLimits) -> Result<Pulled, CallError> {
        if limits.max_records == 0 {
            self.wake.notified().await;
            return Ok(Pulled { records: Batch::default(), position: None });
        }
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as i64);
        let (first, most) = (self.next, limits.max_records as usize);
        let mut payload = ColumnBuilder::with_capacity(most, (limits.max_bytes as usize).min(most * self.size));
        let mut upstream_ids = ColumnBuilder::with_capacity(most, most * 8);
        let failed = |error: BatchError| CallError::Trap { call: "next", reason: error.to_string() };
        while payload.len() < most {
            let (id, content) = self.contents.record(self.next);
            if payload.bytes() + content.len() > limits.max_bytes as usize {
                break;
            }
            payload.push(content).map_err(failed)?;
            upstream_ids.push(id).map_err(failed)?;
            self.next += 1;
        }
        let (payload, upstream_ids) = (payload.finish(), upstream_ids.finish());
        let (tokens, timestamps) = ((first..self.next).collect(), vec![time; payload.len()].into());
        let count = payload.len() as u32;
        let records = Batch { count, payload, upstream_ids, tokens, timestamps, ..Batch::default() };
        Ok(Pulled { records, position: Some(self.next.to_le_bytes().to_vec()) })
    }

    async fn settle(&mut self, tokens: &[u64]) -> Result<(), CallError> {
        std::hint::black_box(tokens);
        Ok(())
    }
}

/// Counts and forgets, as the guest `blackhole` does, with the same counters.
#[derive(Clone)]
pub(crate) struct Blackhole;

impl Native for Blackhole {
    const NAME: &'static str = "native-blackhole";

    fn guest(&self, observer: Arc<dyn Observer>) -> Box<dyn Guest> {
        Box::new(Swallowing { observer, look: None })
    }
}

/// Looks at one record: what is wrong with it, if anything is. The number is its place, from 0.
pub(crate) type Look = Arc<dyn Fn(u64, &[u8]) -> Result<(), String> + Send + Sync>;

/// A sink that looks at every record, for the trial before anything is measured.
#[derive(Clone)]
pub(crate) struct Checker {
    look: Look,
    seen: Arc<AtomicU64>,
    wrong: Arc<Mutex<Option<String>>>,
}

impl Checker {
    pub(crate) fn new(look: Look) -> Self {
        Self { look, seen: Arc::default(), wrong: Arc::default() }
    }

    /// How many records came, and what was wrong with the first that was wrong.
    pub(crate) fn seen(&self) -> (u64, Option<String>) {
        let wrong = self.wrong.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (self.seen.load(SeqCst), wrong)
    }
}

impl Native for Checker {
    const NAME: &'static str = "native-checker";

    fn guest(&self, observer: Arc<dyn Observer>) -> Box<dyn Guest> {
        Box::new(Swallowing { observer, look: Some(self.clone()) })
    }
}

struct Swallowing {
    observer: Arc<dyn Observer>,
    look: Option<Checker>,
}

#[async_trait]
impl Guest for Swallowing {
    fn waker(&self) -> Waker {
        Waker::new(|| {})
    }

    async fn open(&mut self, _: Session) -> Result<Opened, CallError> {
        Ok(Opened { replayable: false, properties: Vec::new() })
    }

    async fn configure(&mut self, _: &str) -> Result<Configured, CallError> {
        Ok(Configured::Applied)
    }

    async fn close(&mut self) -> Result<(), CallError> {
        Ok(())
    }

    async fn write(&mut self, records: &Batch) -> Result<Outcomes, CallError> {
        for record in self.look.iter().flat_map(|_| records.iter()) {
            let Some(checker) = &self.look else { break };
            let number = checker.seen.fetch_add(1, SeqCst);
            if let Err(error) = (checker.look)(number, record.payload) {
                let mut wrong = checker.wrong.lock().unwrap_or_else(PoisonError::into_inner);
                wrong.get_or_insert(format!("record {number}: {error}"));
            }
        }
        self.observer.count("records_swallowed", &[], records.len() as u64);
        self.observer.count("bytes_swallowed", &[], records.payload.bytes.len() as u64);
        Ok(Outcomes { delivered: records.tokens.to_vec(), ..Outcomes::default() })
    }
}
