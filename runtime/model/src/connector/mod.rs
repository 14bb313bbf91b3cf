//! The connector family: what the spec of each kind holds.

mod category;
mod class;
mod component;
mod config;
mod function;
mod grant;
mod instance;
mod pipeline;
mod project;
mod service_domain;
mod stream;

pub use self::{
    category::CategorySpec,
    class::{ClassSpec, ClassType, ComponentSource},
    component::ComponentSpec,
    config::ConfigSpec,
    function::{FunctionSpec, Language, Parameter},
    grant::GrantSpec,
    instance::InstanceSpec,
    pipeline::{
        Backoff, BatchLimits, External, Inline, OnError, PipelineSpec, Retry, StepSpec, StreamUse,
    },
    project::ProjectSpec,
    service_domain::ServiceDomainSpec,
    stream::{Label, Labels, Limits, StreamDirection, StreamSpec},
};

/// Values by name, in the order of the document.
pub type Values = serde_json::Map<String, serde_json::Value>;
