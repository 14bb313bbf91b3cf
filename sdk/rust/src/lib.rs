//! What a Ferrule connector or function written in Rust is built on.
//!
//! A component is one trait and one macro: [`Source`], [`Sink`] or [`Function`], and [`export!`]. Parameters are types with
//! `#[derive(Deserialize, JsonSchema)]`; what a component says of itself comes from its Cargo.toml and [`About`]. Waiting is
//! done with [`Wait`], on connections of [`net`], and always ends when the host wants the call back.
//!
//! ```
//! use ferrule_sdk::prelude::*;
//!
//! /// Passes on what is long enough.
//! struct LongEnough {
//!     least: usize,
//! }
//!
//! #[derive(Deserialize, JsonSchema)]
//! struct Arguments {
//!     /// The least number of bytes.
//!     least: usize,
//! }
//!
//! impl Function for LongEnough {
//!     type Arguments = Arguments;
//!
//!     fn open(session: Session<NoParameters, NoParameters, Arguments>) -> Result<Self, Error> {
//!         Ok(Self { least: session.parameters.least })
//!     }
//!
//!     fn apply(&mut self, records: &Records, out: &mut Output) -> Result<(), Error> {
//!         records.iter().filter(|record| record.payload().len() >= self.least).for_each(|record| out.keep(record));
//!         Ok(())
//!     }
//! }
//!
//! ferrule_sdk::export!(function: LongEnough);
//! # fn main() {}
//! ```

#![cfg_attr(not(test), warn(clippy::unwrap_used, clippy::expect_used, clippy::panic))]
#![warn(missing_docs, unreachable_pub)]

mod function;
mod sink;
mod source;

mod about;
mod error;
mod session;

mod ack;
mod column;
mod headers;
mod lines;
mod record;

mod logging;
pub mod metrics;
pub mod net;
pub mod status;
mod wait;

#[doc(hidden)]
pub mod bindings;
mod component;
mod export;

pub use about::{About, Columns};
pub use ack::AckQueue;
pub use error::Error;
pub use function::{Change, Function, Output};
pub use headers::{Headers, HeadersIter, HeadersView};
pub use lines::LineBuffer;
pub use record::{IntoBytes, Record, RecordRef, Records, RecordsIter, Row};
pub use session::{Configured, Direction, NoParameters, Parameters, Problem, Session};
pub use sink::{Outcomes, Sink, Token, Undelivered};
pub use source::{Pull, Source};
pub use wait::{Ended, Wait, is_woken};

pub use {log, schemars, serde, serde_json, wasip2};

/// Everything that most guests use: `use ferrule_sdk::prelude::*;`
pub mod prelude {
    pub use schemars::JsonSchema;
    pub use serde::Deserialize;

    pub use crate::net::{NetError, TcpStream};
    pub use crate::{
        About, AckQueue, Change, Columns, Configured, Ended, Error, Function, Headers, NoParameters, Outcomes, Output,
        Problem, Pull, Record, RecordRef, Records, Row, Session, Sink, Source, Undelivered, Wait,
    };
}

/// For [`export!`].
#[doc(hidden)]
pub mod __private {
    pub use crate::about::Package;
    pub use crate::bindings::world;
    pub use crate::component::{
        Cell, ConnectorComponent, FunctionComponent, FunctionHome, Home, SinkComponent, SinkHome, SourceComponent,
        SourceHome,
    };

    pub mod source {
        pub use crate::source::Running;
    }
    pub mod sink {
        pub use crate::sink::Running;
    }
    pub mod function {
        pub use crate::function::Running;
    }
}
