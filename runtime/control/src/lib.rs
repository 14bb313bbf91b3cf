//! From desired to observed: follows the store, resolves what its objects ask for, has it run, and writes back what is seen.
//!
//! Start with [`resolve()`], the pure part: objects in, what should run and what to say of each object out. [`Control`] is the
//! loop around it; it is level-triggered, so a missed or doubled event changes nothing. [`Runner`] is the seam to what runs, and
//! [`FlowRunner`] the runner on the flow.

mod component;
mod connector;
mod finding;
mod flow_runner;
mod handle;
mod log;
mod observe;
mod options;
mod plan;
mod resolve;
mod revision;
mod runner;
pub mod secrets;
mod service;
mod site;
mod snapshot;
mod version;
mod wanted;

pub use connector::grant::COMPONENT_BEFORE;
pub use finding::{Finding, Problem, Report};
pub use flow_runner::{ComponentSource, FlowRunner};
pub use handle::{Control, Stopped};
pub use log::{LogOffer, word as durability_word};
pub use options::ControlOptions;
pub use resolve::{Resolution, resolve};
pub use runner::{Applied, Observation, Observed, Runner};
pub use site::{SERVICE_DOMAIN_VERSION, Site};
pub use snapshot::{LATER, Snapshot};
pub use wanted::{Chosen, Wanted, WantedPipeline, WantedStep, WantedStream};
