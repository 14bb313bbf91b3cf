//! Records that were given up, with the reason.

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use ferrule_model::Code;
use ferrule_model::ids::Uid;
use ferrule_model::record::{RecordAddress, RecordId};

/// Why a record was given up, as a word that stays the same from release to release.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LetterCode {
    /// A function or sink said that it can never take it.
    Rejected,
    /// A guest broke, or did not come back in time, each time it was given this record alone.
    Poison,
    /// A guest's answer for this record alone broke the contract.
    Malformed,
    /// The sink asked to be given it again more often than the pipeline allows.
    Attempts,
    /// It was not delivered within the time that the pipeline allows.
    Age,
    /// The log does not take a record of its size.
    TooLarge,
    /// The letter was written before there were codes.
    #[default]
    Unknown,
}

impl LetterCode {
    /// All of them.
    pub const ALL: [Self; 7] =
        [Self::Rejected, Self::Poison, Self::Malformed, Self::Attempts, Self::Age, Self::TooLarge, Self::Unknown];

    /// The word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rejected => "rejected",
            Self::Poison => "poison",
            Self::Malformed => "malformed",
            Self::Attempts => "attempts",
            Self::Age => "age",
            Self::TooLarge => "too-large",
            Self::Unknown => "unknown",
        }
    }

    /// The error whose page explains it, where there is one.
    pub fn error(self) -> Option<Code> {
        Some(match self {
            Self::Rejected => Code::Rejected,
            Self::Poison => Code::Poisonous,
            Self::Malformed => Code::Malformed,
            Self::Attempts | Self::Age => Code::RetriesExhausted,
            Self::TooLarge => Code::RecordTooLarge,
            Self::Unknown => return None,
        })
    }
}

impl fmt::Display for LetterCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text is none of the words of [`LetterCode`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no reason for a dead letter")]
pub struct NotALetterCode(String);

impl FromStr for LetterCode {
    type Err = NotALetterCode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|code| code.as_str() == text).ok_or_else(|| NotALetterCode(text.to_owned()))
    }
}

/// A record that was given up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The record's id.
    pub id: RecordId,
    /// Where the record that it came of was taken in; none if it never came into the log.
    pub address: Option<RecordAddress>,
    /// The stream it came from.
    pub stream: Uid,
    /// The pipeline that gave it up; none if the stream itself did.
    pub pipeline: Option<Uid>,
    /// The pipeline's name, or the stream's.
    pub pipeline_name: String,
    /// The step or sink that it was given up at.
    pub step: String,
    /// The digest of the component there; empty if none was involved.
    pub component: String,
    /// Why, as a stable word.
    pub code: LetterCode,
    /// Why, in words.
    pub reason: String,
    /// How often it was offered.
    pub attempts: u32,
    /// When, in milliseconds since 1970.
    pub time_ms: i64,
    /// Event time in nanoseconds since 1970, where it has one.
    pub timestamp_ns: Option<i64>,
    /// Its content, as the step or sink was given it; cut to its head where `truncated` says so.
    pub payload: Bytes,
    /// Its key.
    pub key: Bytes,
    /// Its headers, encoded as in the contract.
    pub headers: Bytes,
    /// How many bytes of payload were cut off.
    pub truncated: u64,
}

/// Keeps dead letters durably.
#[async_trait]
pub trait DeadLetters: Send + Sync {
    /// Stores the letters; when it answers `Ok`, they survive the end of the machine. An error says why not, and the flow tries
    /// again: until then the records are not settled.
    async fn store(&self, letters: Vec<DeadLetter>) -> Result<(), String>;
}

/// Dead letters in memory, for tests and for `ferrule run` without a data folder.
#[derive(Debug, Default)]
pub struct MemoryDeadLetters(Mutex<Vec<DeadLetter>>);

impl MemoryDeadLetters {
    /// What was stored.
    pub fn letters(&self) -> Vec<DeadLetter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[async_trait]
impl DeadLetters for MemoryDeadLetters {
    async fn store(&self, letters: Vec<DeadLetter>) -> Result<(), String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(letters);
        Ok(())
    }
}
