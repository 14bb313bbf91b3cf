//! The server as a caller sees it, over a Unix socket in a folder of its own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod components;
mod house;
mod letters;
mod objects;
mod running;
mod secrets;
mod start;
