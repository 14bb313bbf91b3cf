//! What became of records.

/// A record that can never be accepted, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// From a sink: the record's token. From a function: the index of the input.
    pub record_ref: u64,
    /// What is wrong with the record.
    pub reason: String,
}

/// A record that could not be delivered now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Postponement {
    /// The record.
    pub token: u64,
    /// Milliseconds to wait at least; none: the host's own backoff.
    pub after_ms: Option<u64>,
    /// What stood in the way.
    pub reason: String,
}

/// What became of records given to a sink.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcomes {
    /// Tokens of records that the outside system has.
    pub delivered: Vec<u64>,
    /// Records to offer again.
    pub retry: Vec<Postponement>,
    /// Records never to be offered again.
    pub rejected: Vec<Rejection>,
}

impl Outcomes {
    /// Whether nothing is said of any record.
    pub fn is_empty(&self) -> bool {
        self.delivered.is_empty() && self.retry.is_empty() && self.rejected.is_empty()
    }
}
