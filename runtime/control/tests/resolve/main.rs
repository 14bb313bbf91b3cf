//! The pure part: documents in, what should run and what is said of each object out.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a failed step is a failed test")]

mod changes;
mod pipelines;
mod references;
mod rules;
mod secrets;
mod setup;
