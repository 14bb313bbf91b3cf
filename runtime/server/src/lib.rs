//! Wires the parts of the platform; owns start-up and shutdown.
//!
//! [`Server::start`] opens a data folder, starts what is stored in it and opens the doors. `ferrule serve` runs one until it
//! is asked to stop; `ferrule run` and tests run one in their own process and reach it by [`Server::platform`].

mod apply;
mod audit;
mod backup;
mod check;
mod dead_letters;
mod delete;
mod error;
mod folder;
mod get;
mod guard;
mod listen;
mod metrics;
mod notes;
mod options;
mod platform;
mod read;
mod register;
mod registry;
mod reports;
mod rewind;
mod secrets;
mod server;
pub mod shutdown;
mod steer;
pub mod telemetry;
mod world;

pub use backup::{RestoreError, Restored, check_backup, restore};
pub use error::StartError;
pub use options::{
    DEAD_LETTERS, Guarded, LOG_SEGMENT, Listen, METRICS_ADDRESS, Options, STOP_DEADLINE, Transport, socket_in,
};
pub use registry::Registry;
pub use server::Server;
