//! What delivery may do, and what is said of records: the words of the decision core.

use std::ops::Range;
use std::time::Duration;

use crate::backoff::BackoffPolicy;
use crate::dead_letter::LetterCode;

/// How many records of one key may be in flight to one sink.
///
/// Whatever is chosen, once a record is postponed or lost no later record of its key is *written* before it is done. What the
/// choice changes is what may be in flight behind it at that moment, and may then arrive before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum KeyOrder {
    /// One: whatever the sink does, the order of a key is kept.
    OneRecord,
    /// Those of one write: the order is kept by a sink that, once it postpones a record, postpones what follows of the key in
    /// the same write.
    #[default]
    OneWrite,
    /// Any: the order is kept by a sink that postpones all of a key that is in flight behind a record that it postpones.
    Pipelined,
}

/// What delivery may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Records of one write at most.
    pub batch_records: usize,
    /// Bytes of one write at most, beyond the first record.
    pub batch_bytes: usize,
    /// How long a record may wait for others to fill a batch.
    pub linger: Duration,
    /// Records in flight to one sink at most.
    pub window: usize,
    /// Bytes in flight to one sink at most. A record that is larger goes when nothing else is in flight.
    pub window_bytes: usize,
    /// What of one key may be in flight together.
    pub key_order: KeyOrder,
    /// The wait between attempts.
    pub backoff: BackoffPolicy,
    /// Attempts that the sink answered, at most; none: without end.
    pub attempts: Option<u32>,
    /// Time since a record was offered, at most; none: without end.
    pub age: Option<Duration>,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            batch_records: 1_000,
            batch_bytes: 1 << 20,
            linger: Duration::ZERO,
            window: 2_000,
            window_bytes: 8 << 20,
            key_order: KeyOrder::default(),
            backoff: BackoffPolicy::default(),
            attempts: None,
            age: None,
        }
    }
}

/// Whether records may be why a session of a sink ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Blame {
    /// They are not.
    None,
    /// The guest broke while it had these in hand, and others.
    Shared,
    /// The guest broke while it had these in hand and nothing else.
    Sole,
}

/// What a sink said of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The outside system has it.
    Delivered,
    /// Not now.
    Retry {
        /// To wait at least; none: the policy's backoff.
        after: Option<Duration>,
        /// What stood in the way.
        reason: String,
    },
    /// Never.
    Rejected {
        /// Why.
        reason: String,
    },
}

/// What became of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The sink has it.
    Delivered,
    /// It is not offered again.
    GivenUp {
        /// Why, as a stable word.
        code: LetterCode,
        /// Why, in words.
        reason: String,
    },
}

/// A record that is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// The record.
    pub id: u64,
    /// The sink that it was for.
    pub sink: usize,
    /// What became of it.
    pub verdict: Verdict,
    /// How often it was written.
    pub attempts: u32,
}

/// Neighbouring records that were delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveredRun {
    /// The records.
    pub ids: Range<u64>,
    /// The sink that they were for.
    pub sink: usize,
    /// How often each was written.
    pub attempts: u32,
}

/// A record to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Write {
    /// The record.
    pub id: u64,
    /// Which attempt this is, from 1.
    pub attempt: u32,
}

/// Neighbouring records to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteRun {
    /// The records.
    pub ids: Range<u64>,
    /// Which attempt this is of each, from 1.
    pub attempt: u32,
}
