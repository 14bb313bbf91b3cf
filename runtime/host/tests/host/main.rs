//! The sandbox against the naughty guests of `tests/guests`: one test for each thing that a guest may try.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails loudly")]

mod calls;
mod functions;
mod guests;
mod loading;
mod network;
mod observing;
mod surroundings;
mod tls;
