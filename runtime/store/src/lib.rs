//! Where desired and observed state is kept and watched; it knows nothing of what the objects mean.
//!
//! Start with [`Store`], the promise; then [`MemoryStore`] and [`EmbeddedStore`], the two that keep it. The promise is what
//! Kubernetes and a key-value store such as NATS's can also keep: compare-and-set per object on an opaque resource version,
//! lists by label and field, a watch from a version with tombstones, and no transaction over several objects.

mod embedded;
mod error;
mod memory;
mod principal;
mod rules;
mod selector;
mod store;
mod table;
mod version;
mod watch;

#[cfg(any(test, feature = "conformance"))]
pub mod conformance;

pub use embedded::{EmbeddedOptions, EmbeddedStore, FORMAT};
pub use error::StoreError;
pub use memory::MemoryStore;
pub use principal::Principal;
pub use selector::Selector;
pub use store::{Listing, Precondition, Store};
pub use version::Version;
pub use watch::{Event, Watch, WatchError};
