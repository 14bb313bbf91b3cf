//! How the log keeps the records of an ingress stream, as documents say it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{
    quantity::{Size, Span},
    shape::{Field, Shape, field},
};

/// What the records of a stream survive once they were taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogDurability {
    /// The end of the machine: they are on the disk.
    Fsync,
    /// The end of the process: the operating system has them.
    Os,
    /// Nothing: they are gone with the process, and their source is not settled before they are delivered.
    Memory,
}

/// What becomes of records that come while the log of their stream is full.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenFull {
    /// They wait, and the source is held back.
    #[default]
    Block,
    /// The oldest go, unread and counted.
    DropOldest,
    /// The new ones go, counted.
    DropNewest,
}

impl WhenFull {
    fn is_default(&self) -> bool {
        *self == WhenFull::default()
    }
}

/// How long records stay that every pipeline is done with: until one of these is reached.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct KeepSpec {
    /// Bytes of such records.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<Size>,
    /// Their age.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub age: Option<Span>,
    /// Whether the age removes records too that a pipeline has not read; each is counted as dropped.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub even_unread: bool,
}

/// How the log keeps a stream. What is not given is the log's default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct LogSpec {
    /// What the records survive; none: the most that the log of the server gives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub durability: Option<LogDurability>,
    /// Bytes that it may hold unread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<Size>,
    /// Records that it may hold unread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_records: Option<u64>,
    /// What becomes of records over these bounds.
    #[serde(skip_serializing_if = "WhenFull::is_default")]
    pub when_full: WhenFull,
    /// How long records stay that were read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<KeepSpec>,
}

/// The fields of [`LogSpec`].
pub(crate) const LOG: Shape = Shape::Record(FIELDS);

const FIELDS: &[Field] = &[
    field("durability", Shape::Word(&["fsync", "os", "memory"])),
    field("maxBytes", Shape::Size),
    field("maxRecords", Shape::Count(1, u64::MAX)),
    field("whenFull", Shape::Word(&["block", "drop-oldest", "drop-newest"])),
    field(
        "keep",
        Shape::Record(&[field("bytes", Shape::Size), field("age", Shape::Span), field("evenUnread", Shape::Bool)]),
    ),
];

/// Whether the records of a stream with this spec are in memory only: they are elsewhere than those that last.
pub(crate) fn in_memory(spec: &Value) -> bool {
    spec.pointer("/log/durability").and_then(Value::as_str) == Some("memory")
}
