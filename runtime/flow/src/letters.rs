//! Dead letters of one pipeline on their way to where they last.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use ferrule_model::record::{Batch, NO_TIMESTAMP, RecordAddress, RecordId};
use tokio::time::Instant;

use crate::backoff::{Backoff, BackoffPolicy, Jitter};
use crate::dead_letter::{DeadLetter, DeadLetters, LetterCode};
use crate::pipeline::From;
use crate::pipeline_shared::PipelineShared;
use crate::shared::now_ms;

/// Inputs that are done once a letter is stored.
#[derive(Debug)]
pub(crate) struct Burden {
    pub(crate) from: From,
    pub(crate) offsets: Vec<u64>,
}

type Storing = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Stores letters in batches, one batch at a time, and again until it works.
pub(crate) struct Letters {
    store: Arc<dyn DeadLetters>,
    shared: Arc<PipelineShared>,
    backoff: Backoff,
    again: Option<Instant>,
    waiting: Vec<(DeadLetter, Burden)>,
    storing: Option<(Storing, Vec<(DeadLetter, Burden)>)>,
    stored: Vec<Burden>,
}

impl Letters {
    pub(crate) fn new(store: Arc<dyn DeadLetters>, backoff: BackoffPolicy, shared: Arc<PipelineShared>) -> Self {
        let backoff = Backoff::new(backoff, Jitter::for_name(shared.name()));
        Self { store, shared, backoff, again: None, waiting: Vec::new(), storing: None, stored: Vec::new() }
    }

    /// A letter about row `row` of `records`; `fill` says the rest.
    pub(crate) fn add(&mut self, records: &Batch, row: usize, burden: Burden, fill: impl FnOnce(&mut DeadLetter)) {
        let timestamp = records.timestamp(row);
        let mut letter = DeadLetter {
            id: RecordId::of_address(&RecordAddress { stream: Default::default(), partition: 0, offset: 0 }),
            address: None,
            stream: Default::default(),
            pipeline: None,
            pipeline_name: String::new(),
            step: String::new(),
            component: String::new(),
            code: LetterCode::default(),
            reason: String::new(),
            attempts: 0,
            time_ms: now_ms(),
            timestamp_ns: (timestamp != NO_TIMESTAMP).then_some(timestamp),
            // Copies, so that a letter does not hold its batch.
            payload: Bytes::copy_from_slice(records.payload.get(row)),
            key: Bytes::copy_from_slice(records.key.get(row)),
            headers: Bytes::copy_from_slice(records.headers.get(row)),
            truncated: 0,
        };
        fill(&mut letter);
        self.waiting.push((letter, burden));
    }

    /// Begins to store what waits, unless that is under way or was tried just now.
    pub(crate) fn send(&mut self) {
        if self.storing.is_some() || self.waiting.is_empty() || self.again.is_some() {
            return;
        }
        let batch = std::mem::take(&mut self.waiting);
        let letters: Vec<DeadLetter> = batch.iter().map(|(letter, _)| letter.clone()).collect();
        let store = self.store.clone();
        self.storing = Some((Box::pin(async move { store.store(letters).await }), batch));
    }

    /// Waits until something was stored or is to be tried again; for ever when nothing waits.
    pub(crate) async fn stored(&mut self) {
        if let Some((storing, _)) = &mut self.storing {
            let result = storing.as_mut().await;
            let batch = self.storing.take().map(|(_, batch)| batch).unwrap_or_default();
            match result {
                Ok(()) => {
                    self.backoff.reset();
                    self.shared.dead(batch.len() as u64);
                    self.stored.extend(batch.into_iter().map(|(_, burden)| burden));
                }
                Err(error) => {
                    self.shared.error(format!("dead letters cannot be stored: {error}"));
                    self.again = Some(Instant::now() + self.backoff.fail());
                    self.waiting.splice(0..0, batch);
                }
            }
            return;
        }
        match self.again {
            Some(again) => {
                tokio::time::sleep_until(again).await;
                self.again = None;
            }
            None => std::future::pending().await,
        }
    }

    /// What is done because its letter is stored.
    pub(crate) fn take_stored(&mut self) -> Vec<Burden> {
        std::mem::take(&mut self.stored)
    }

    /// The pipeline starts over: what is not stored is taken again.
    pub(crate) fn forget(&mut self) {
        self.waiting.clear();
        self.storing = None;
        self.stored.clear();
    }
}
