//! The network of a guest: one gate that decides, and what passes it.

#![allow(unreachable_pub, reason = "the generated bindings re-export the resources, and they are public there")]

mod connection;
mod credentials;
mod gate;
pub(crate) mod http;
mod listener;
mod quota;
mod sigv4;
pub(crate) mod sockets;
mod tls;
mod wire;

pub use connection::{Connecting, Connection};
pub(crate) use gate::{Failure, Gate};
pub(crate) use http::HttpSender;
pub use listener::Listener;
pub(crate) use sockets::{Lookup, LookupView, Lookups, Sockets, open_sockets};
pub use tls::{AttachError, Attached, Attachment, Attachments, Authorization, Keys};
pub(crate) use tls::{Tls, TlsOptions};
