//! Runs one component against scripted input, for authors and for our own suites.
//!
//! [`script`] reads the files that stand in a guest's crate (`tests/*.test.yaml`), [`scenario`] runs one of their tests,
//! [`peer`] plays the outside system, [`conformance`] is the kit that every component must pass, [`runner`] runs what
//! `cargo test` built for WebAssembly, and [`report`] prints all of them the way libtest does.

pub mod base64;
pub mod conformance;
pub mod live;
pub mod observed;
pub mod peer;
pub mod record;
pub mod report;
pub mod runner;
pub mod scenario;
pub mod script;
pub mod setup;

use std::path::Path;

use ferrule_host::{Engine, EngineOptions};

pub use ferrule_host::{Component, is_kept};
pub use report::{Report, Summary};
pub use setup::Setup;

/// Why a test kit cannot do its work; what a component does wrong is a failed test instead.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A script or a component cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A script makes no sense.
    #[error("{path}: {problem}")]
    Script {
        /// The file.
        path: String,
        /// What is wrong, where, and what was expected.
        problem: String,
    },
    /// The file is no component of ours.
    #[error(transparent)]
    Load(#[from] ferrule_host::LoadError),
    /// The host cannot run anything.
    #[error(transparent)]
    Host(#[from] ferrule_host::HostError),
    /// A test binary does not answer as libtest does.
    #[error("{0}")]
    Runner(String),
}

/// The engine for tests: a few instances at a time are enough, and each slot costs address space.
pub fn engine() -> Result<Engine, Error> {
    Ok(Engine::new(EngineOptions { instances: 16, ..EngineOptions::default() })?)
}

/// Loads a component in an engine of its own. Its compiled form is kept in `cache`, which belongs to this process' user alone, and
/// taken from there the next time.
pub async fn load(bytes: &[u8], cache: Option<&Path>) -> Result<Component, Error> {
    let engine = engine()?;
    Ok(match cache {
        Some(folder) => engine.load_with_cache(bytes, folder).await?,
        None => engine.load(bytes).await?,
    })
}
