//! The record log: where records are between the source that took them in and the pipelines that deliver them.
//!
//! Start with [`Log`], the contract; [`MemoryLog`] keeps it within one process, [`EmbeddedLog`] on the machine's
//! disk, and [`conformance`] is what every backend
//! has to pass.

pub mod conformance;
mod embedded;
mod log;
mod memory;
pub mod nats;

pub use embedded::{Clock, EmbeddedLog, FrozenFile, OpenError, Options as EmbeddedOptions};
pub use log::{
    AppendReceipt, Arrivals, Bounds, Cursor, Durability, Entries, Guarantees, Health, Keep, Lag, Log, LogError,
    LogReader, ReaderId, Retention, StartAt, StreamOptions, Usage, WhenFull,
};
pub use memory::MemoryLog;
pub use nats::NatsLog;
