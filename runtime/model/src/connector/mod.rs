//! The connector family: what the spec of each kind holds.

pub(crate) mod attach;
mod category;
mod class;
mod component;
mod config;
mod function;
mod grant;
mod instance;
pub(crate) mod log;
mod pipeline;
mod project;
mod service_domain;
mod stream;

pub use self::{
    attach::{Attach, Basic, Header, SigV4, Text, check_place},
    category::CategorySpec,
    class::{ClassSpec, ClassType, ComponentSource},
    component::ComponentSpec,
    config::ConfigSpec,
    function::{FunctionSpec, Language, Parameter},
    grant::GrantSpec,
    instance::InstanceSpec,
    log::{KeepSpec, LogDurability, LogSpec, WhenFull},
    pipeline::{
        Backoff, BatchLimits, External, Inline, OnError, PipelineSpec, Retry, StartAt, StepSpec, StreamUse, Unique,
    },
    project::ProjectSpec,
    service_domain::ServiceDomainSpec,
    stream::{Label, Labels, Limits, StreamDirection, StreamSpec},
};

use crate::{
    Kind, Object,
    document::kps::KpsField,
    secret::{self, SecretSpec},
    shape::{Check, Field},
};

/// Values by name, in the order of the document.
pub type Values = serde_json::Map<String, serde_json::Value>;

/// The fields of the spec of a native document.
pub(crate) fn native_fields(kind: Kind) -> &'static [Field] {
    match kind {
        Kind::Project => project::NATIVE,
        Kind::ServiceDomain => service_domain::NATIVE,
        Kind::Category => category::NATIVE,
        Kind::Secret => secret::NATIVE,
        Kind::Component => component::NATIVE,
        Kind::Grant => grant::NATIVE,
        Kind::Class => class::NATIVE,
        Kind::Function => function::NATIVE,
        Kind::Instance => instance::NATIVE,
        Kind::Config => config::NATIVE,
        Kind::Stream => stream::NATIVE,
        Kind::Pipeline => pipeline::NATIVE,
    }
}

/// The fields of a KPS document, if KPS has documents of the kind.
pub(crate) fn kps_fields(kind: Kind) -> Option<&'static [KpsField]> {
    Some(match kind {
        Kind::Project => project::KPS,
        Kind::Category => category::KPS,
        Kind::Class => class::KPS,
        Kind::Function => function::KPS,
        Kind::Instance => instance::KPS,
        Kind::Config => config::KPS,
        Kind::Stream => stream::KPS,
        Kind::Pipeline => pipeline::KPS,
        Kind::ServiceDomain | Kind::Secret | Kind::Component | Kind::Grant => return None,
    })
}

/// Checks what a table of fields cannot say. The fields are checked already.
pub(crate) fn validate(object: &Object, check: &mut Check) {
    let done = match object.kind {
        Kind::Project => object.typed::<ProjectSpec>().map(drop),
        Kind::ServiceDomain => object.typed::<ServiceDomainSpec>().map(drop),
        Kind::Category => object.typed::<CategorySpec>().map(drop),
        Kind::Secret => object.typed::<SecretSpec>().map(drop),
        Kind::Component => object.typed::<ComponentSpec>().map(drop),
        Kind::Grant => object.typed::<GrantSpec>().map(|spec| spec.validate(check)),
        Kind::Class => object.typed::<ClassSpec>().map(|spec| spec.validate(object, check)),
        Kind::Function => object.typed::<FunctionSpec>().map(|spec| spec.validate(object, check)),
        Kind::Instance => object.typed::<InstanceSpec>().map(drop),
        Kind::Config => object.typed::<ConfigSpec>().map(drop),
        Kind::Stream => object.typed::<StreamSpec>().map(|spec| spec.validate(object, check)),
        Kind::Pipeline => object.typed::<PipelineSpec>().map(|spec| spec.validate(object, check)),
    };
    if let Err(error) = done {
        check.add(crate::Diagnostic::new(crate::Code::WrongType, error.to_string()).at("spec"));
    }
}
