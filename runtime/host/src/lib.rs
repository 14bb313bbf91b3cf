//! The WebAssembly host: engine, capabilities, limits, and calls into guests. The only crate that names wasmtime.
//!
//! Begin with [`Engine`]: it loads a [`Component`] (checked, compiled, asked what it is), which makes an [`Instance`] for
//! each session. A guest starts with no ability; what it may do stands in [`InstanceOptions`], and what it did is told to
//! an [`Observer`].

mod artifact;
mod bindings;
mod call;
mod capabilities;
mod command;
mod convert;
mod engine;
mod error;
mod guards;
mod guest;
mod instance;
pub mod limits;
mod linker;
mod log_gate;
mod masked;
mod network;
mod observer;
mod rate;
mod stdio;
mod wake;

pub use artifact::{CONTRACT, Component, World, is_kept};
pub use command::{Command, CommandError, CommandOutcome};
pub use engine::{Around, Engine, EngineKind, EngineOptions};
pub use error::{CallError, GuestError, GuestErrorKind, HostError, LoadError, Refusal, Spent};
#[doc(hidden)]
pub use guards::Guards;
pub use guest::GrantHint;
pub use instance::{Configured, Instance, InstanceOptions, Opened, PullLimits, Pulled, Session};
pub use limits::{Breach, CodeLimits, Limit, Limits};
pub use network::{AttachError, Attached, Attachment, Attachments, Authorization, Keys};
pub use observer::{Decision, Health, Level, Observer, Severity, Traffic, Unobserved};
pub use wake::WakeHandle;
