//! Records from ingress to egress: sources, functions, sinks, delivery, retry and dead letters.
//!
//! Start with [`plan`], what should run, and [`Flow`], which runs it. A stream has one task (`source`, `sink`), a pipeline has
//! one (`pipeline`) and one more for its functions; what is written when, and what becomes of a record, is decided in
//! [`delivery`], which knows no clock and does no I/O. `acks` says when a source is settled. Guests are reached through
//! [`guest`], so that all of it is tested without WebAssembly.

mod acks;
mod alerts;
mod audit;
pub mod backoff;
mod dead_letter;
pub mod delivery;
mod error;
mod flights;
mod flow;
mod functions;
pub mod guest;
mod inbox;
mod letters;
mod linger;
mod logs;
mod lot;
mod meter;
mod pipeline;
mod pipeline_shared;
pub mod plan;
mod progress;
mod replay;
mod seen;
mod session;
mod shared;
mod sink;
mod snapshot;
mod source;
mod tail;
mod takeover;
mod trial;

pub use acks::PIPELINES_PER_STREAM;
pub use alerts::{DROPPING, RETRYING};
pub use audit::{Audit, AuditReport, Audited};
pub use dead_letter::{DeadLetter, DeadLetters, LetterCode, MemoryDeadLetters, NotALetterCode};
pub use error::FlowError;
pub use ferrule_transport::{Health as LogHealth, LogError, Usage};
pub use flow::{Flow, FlowOptions};
pub use logs::{LogFeed, LogLine};
pub use plan::Plan;
pub use replay::{Replayed, RewindTo};
pub use shared::CRASH_LOOP;
pub use snapshot::{
    Alert, CrashLoop, Distribution, FlowSnapshot, GuestMetric, GuestSnapshot, LimitUse, PipelineSnapshot, RolledBack,
    StreamSnapshot, StreamState, Transferred,
};
pub use tail::{TailRecord, TailTarget};
pub use takeover::TRIAL;
pub use trial::{TrialOutput, TrialStep};

#[cfg(test)]
mod fakes;
#[cfg(test)]
mod lasting_tests;
#[cfg(test)]
mod takeover_tests;
#[cfg(test)]
mod tests;
