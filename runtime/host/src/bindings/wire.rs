//! The values of the WIT interface `types`, holding shared memory, so that a batch of the model crosses as it is.
//!
//! The names here are the ones that [`crate::bindings`] expects of the interface.

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::component::{ComponentType, HasData, Lift, Linker, Lower};

/// A JSON text.
pub type Json = String;

#[derive(ComponentType, Lift, Lower, Clone, Debug)]
#[component(record)]
pub struct Column {
    pub bytes: Bytes,
    pub ends: Arc<[u32]>,
}

#[derive(ComponentType, Lift, Lower, Clone, Debug)]
#[component(record)]
pub struct Batch {
    pub count: u32,
    pub payload: Column,
    pub key: Column,
    pub headers: Column,
    pub timestamps: Arc<[i64]>,
    pub tokens: Arc<[u64]>,
    #[component(name = "upstream-ids")]
    pub upstream_ids: Column,
    #[component(name = "record-ids")]
    pub record_ids: Column,
    pub attempts: Arc<[u32]>,
    pub extra: Vec<(u16, Column)>,
}

#[derive(ComponentType, Lift, Lower, Clone, Debug)]
#[component(record)]
pub struct Rejection {
    #[component(name = "record-ref")]
    pub record_ref: u64,
    pub reason: String,
}

#[derive(ComponentType, Lift, Lower, Clone, Debug)]
#[component(record)]
pub struct Postponement {
    pub token: u64,
    #[component(name = "after-ms")]
    pub after_ms: Option<u64>,
    pub reason: String,
}

#[derive(ComponentType, Lift, Lower, Clone, Debug)]
#[component(record)]
pub struct Outcomes {
    pub delivered: Vec<u64>,
    pub retry: Vec<Postponement>,
    pub rejected: Vec<Rejection>,
}

#[derive(ComponentType, Lift, Lower, Clone, Debug)]
#[component(record)]
pub struct Transformed {
    pub origins: Vec<u32>,
    pub also: Vec<(u32, u32)>,
    pub changes: Vec<u8>,
    pub payload: Column,
    pub key: Column,
    pub headers: Column,
    pub timestamps: Arc<[i64]>,
    pub routes: Vec<u16>,
    pub rejected: Vec<Rejection>,
    pub extra: Vec<(u16, Column)>,
}

#[derive(ComponentType, Lift, Lower, Clone, Debug)]
#[component(variant)]
pub enum Error {
    #[component(name = "unavailable")]
    Unavailable(String),
    #[component(name = "invalid")]
    Invalid(String),
    #[component(name = "denied")]
    Denied(String),
    #[component(name = "failed")]
    Failed(String),
}

/// The interface has no functions, so there is nothing to implement and nothing to link; the code that is generated for a
/// whole world names these all the same.
pub trait Host {}
impl<T: ?Sized> Host for &mut T {}

/// See [`Host`].
pub trait HostWithStore<T>: HasData {}
impl<T, D: HasData> HostWithStore<T> for D {}

/// See [`Host`].
pub fn add_to_linker<T, D: HasData>(_: &mut Linker<T>, _: fn(&mut T) -> D::Data<'_>) -> wasmtime::Result<()> {
    Ok(())
}
