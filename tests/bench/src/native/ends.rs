//! Native ends of a pipeline: a generator, a sink that counts, and a sink that looks at every record.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use ferrule_flow::guest::{Guest, Waker};
use ferrule_host::{CallError, Configured, Observer, Opened, PullLimits, Pulled, Session};
use ferrule_model::record::{Batch, BatchBuilder, Outcomes, RecordRef};
use tokio::sync::Notify;

use super::Native;

/// Makes the records that the guest `generator` makes, without end.
#[derive(Clone)]
pub(crate) struct Generator {
    pub(crate) size: usize,
    pub(crate) json: bool,
}

impl Native for Generator {
    const NAME: &'static str = "native-generator";

    fn guest(&self, _: Arc<dyn Observer>) -> Box<dyn Guest> {
        let filling = (0..self.size as u64).map(|at| b'a' + (mix(at) % 26) as u8).collect();
        Box::new(Generating { made: self.clone(), filling, next: 0, record: Vec::new(), wake: Arc::default() })
    }
}

struct Generating {
    made: Generator,
    filling: Vec<u8>,
    next: u64,
    record: Vec<u8>,
    wake: Arc<Notify>,
}

impl Generating {
    fn make(&mut self) {
        let (number, record) = (self.next, &mut self.record);
        record.clear();
        // Writing to a `Vec` cannot fail.
        let tail: &[u8] = if self.made.json {
            let value = mix(number) % 10_000;
            let (whole, part) = (value / 100, value % 100);
            let _ = write!(record, r#"{{"sequence":{number},"value":{whole}.{part:02},"filling":""#);
            br#""}"#
        } else {
            let _ = write!(record, "{number:020} ");
            b""
        };
        let room = self.made.size.saturating_sub(record.len() + tail.len());
        record.extend_from_slice(self.filling.get(..room).unwrap_or_default());
        record.extend_from_slice(tail);
        self.next += 1;
    }
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
        let mut builder = BatchBuilder::new();
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as i64);
        while builder.len() < limits.max_records as usize
            && builder.size() + self.made.size <= limits.max_bytes as usize
        {
            let token = self.next;
            self.make();
            let id = token.to_string();
            let record = RecordRef {
                timestamp: time,
                token: Some(token),
                upstream_id: id.as_bytes(),
                ..RecordRef::of(&self.record)
            };
            builder.push(&record).map_err(|error| CallError::Trap { call: "next", reason: error.to_string() })?;
        }
        let position = Some(self.next.to_le_bytes().to_vec());
        Ok(Pulled { records: builder.finish(), position })
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

/// SplitMix64, as the guest `generator` uses it.
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
