//! The network of a guest: one gate that decides, and what passes it.

#![allow(unreachable_pub, reason = "the generated bindings re-export the resources, and they are public there")]

mod connection;
mod gate;
pub(crate) mod http;
mod listener;
mod policy;

pub use connection::{Connecting, Connection};
pub(crate) use gate::{Failure, Gate};
pub(crate) use http::HttpSender;
pub use listener::Listener;
