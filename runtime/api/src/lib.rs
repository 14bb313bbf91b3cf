//! The gRPC surface `ferrule.v1` and its client.
//!
//! [`Platform`] is what the platform can be asked, in plain types ([`request`], [`report`]); the server implements it.
//! [`grpc::service`] puts it on the wire, [`Client`] is the same trait at the other end, so that a caller need not know
//! whether the platform runs in its own process.

pub mod address;
pub mod client;
pub mod error;
pub mod grpc;
pub mod platform;
pub mod report;
pub mod request;
mod wire;

pub use address::Address;
pub use client::{Client, Credentials};
pub use error::Error;
pub use platform::{Platform, Reports};

/// The protocol as generated from `proto/ferrule/v1/ferrule.proto`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated from the protocol, whose comments are the documentation"
)]
pub mod proto {
    tonic::include_proto!("ferrule.v1");
}
