//! The connector family: what each kind means, and what stands in its way.

pub(crate) mod attach;
pub(crate) mod class;
pub(crate) mod config;
pub(crate) mod function;
pub(crate) mod grant;
pub(crate) mod instance;
pub(crate) mod parameters;
pub(crate) mod pipeline;
pub(crate) mod stream;
