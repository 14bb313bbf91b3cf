//! The seam between the flow and whoever runs guests, so that the flow is tested without WebAssembly.

use std::fmt;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use async_trait::async_trait;
use ferrule_host::{
    CallError, Component, Configured, GrantHint, GuestErrorKind, Instance, InstanceOptions, Observer, Opened,
    PullLimits, Pulled, Session,
};
use ferrule_model::component::Description;
use ferrule_model::record::{Batch, Outcomes, Transformed};

use crate::plan::GuestPlan;

/// A component that sessions can be made of.
#[async_trait]
pub trait Artifact: Send + Sync {
    /// Its digest, `sha256:...`.
    fn digest(&self) -> &str;

    /// What it says of itself.
    fn description(&self) -> &Description;

    /// A fresh instance for the session called `name`.
    async fn instantiate(
        &self,
        name: &str,
        plan: &GuestPlan,
        observer: Arc<dyn Observer>,
    ) -> Result<Box<dyn Guest>, CallError>;
}

/// One instance; calls come one at a time. After an error other than the guest's own answer it is dead.
#[async_trait]
pub trait Guest: Send {
    /// What makes the guest return from its call.
    fn waker(&self) -> Waker;

    /// Bytes of memory that it holds.
    fn memory_bytes(&self) -> u64 {
        0
    }

    /// Opens the session; first and once.
    async fn open(&mut self, session: Session) -> Result<Opened, CallError>;

    /// Gives it a new config.
    async fn configure(&mut self, config: &str) -> Result<Configured, CallError>;

    /// Ends the session in an orderly way.
    async fn close(&mut self) -> Result<(), CallError>;

    /// Takes records from a source.
    async fn next(&mut self, limits: PullLimits) -> Result<Pulled, CallError> {
        let _ = limits;
        Err(not_exported("next"))
    }

    /// Tells a source that records are safe.
    async fn settle(&mut self, tokens: &[u64]) -> Result<(), CallError> {
        let _ = tokens;
        Err(not_exported("settle"))
    }

    /// Gives records to a sink.
    async fn write(&mut self, records: &Batch) -> Result<Outcomes, CallError> {
        let _ = records;
        Err(not_exported("write"))
    }

    /// Lets a sink service its connection.
    async fn idle(&mut self, max_wait_ms: u32) -> Result<Outcomes, CallError> {
        let _ = max_wait_ms;
        Err(not_exported("idle"))
    }

    /// Has a function turn records into records; the answer fits its input.
    async fn apply(&mut self, records: &Batch) -> Result<Transformed, CallError> {
        let _ = records;
        Err(not_exported("apply"))
    }
}

fn not_exported(call: &'static str) -> CallError {
    CallError::NotExported { call, world: "guest" }
}

/// Asks a guest to return from its call.
#[derive(Clone)]
pub struct Waker(Arc<dyn Fn() + Send + Sync>);

impl Waker {
    /// A waker that calls `wake`.
    pub fn new(wake: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(wake))
    }

    /// Asks the guest to return.
    pub fn wake(&self) {
        (self.0)();
    }
}

impl fmt::Debug for Waker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waker")
    }
}

/// Awaits a call, and asks the guest to return once `interrupt` is ready.
pub(crate) async fn interruptible<T>(
    call: impl Future<Output = T>,
    waker: &Waker,
    interrupt: impl Future<Output = ()>,
) -> T {
    let (mut call, interrupt) = (pin!(call), pin!(interrupt));
    tokio::select! {
        biased;
        answer = &mut call => return answer,
        () = interrupt => waker.wake(),
    }
    call.await
}

/// What an error of a call leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Remedy {
    /// Open again with backoff; nothing is wrong with the records.
    Reopen,
    /// Stay down until the documents change.
    StayDown,
    /// Open again with backoff; one of the records in hand may be the cause.
    Suspect,
}

pub(crate) fn remedy(error: &CallError) -> Remedy {
    match error {
        CallError::Guest(error) => match error.kind {
            GuestErrorKind::Unavailable | GuestErrorKind::Denied => Remedy::Reopen,
            GuestErrorKind::Invalid => Remedy::StayDown,
            GuestErrorKind::Failed => Remedy::Suspect,
        },
        CallError::Refused { .. } | CallError::Host { .. } | CallError::Gone(_) => Remedy::Reopen,
        CallError::NotExported { .. } => Remedy::StayDown,
        CallError::Trap { .. } | CallError::TimedOut { .. } | CallError::Limit(_) | CallError::Malformed { .. } => {
            Remedy::Suspect
        }
    }
}

#[async_trait]
impl Artifact for Component {
    fn digest(&self) -> &str {
        Component::digest(self)
    }

    fn description(&self) -> &Description {
        Component::description(self)
    }

    async fn instantiate(
        &self,
        name: &str,
        plan: &GuestPlan,
        observer: Arc<dyn Observer>,
    ) -> Result<Box<dyn Guest>, CallError> {
        let options = InstanceOptions {
            name: name.to_owned(),
            rules: plan.rules.clone(),
            limits: plan.limits.clone(),
            redactor: plan.redactor.clone(),
            observer,
            hint: GrantHint { class: plan.class.clone() },
            attached: plan.attached.clone(),
            ..InstanceOptions::new("")
        };
        Ok(Box::new(Component::instantiate(self, options).await?))
    }
}

#[async_trait]
impl Guest for Instance {
    fn waker(&self) -> Waker {
        let handle = Instance::waker(self);
        Waker::new(move || handle.wake())
    }

    fn memory_bytes(&self) -> u64 {
        Instance::memory_bytes(self) as u64
    }

    async fn open(&mut self, session: Session) -> Result<Opened, CallError> {
        Instance::open(self, session).await
    }

    async fn configure(&mut self, config: &str) -> Result<Configured, CallError> {
        Instance::configure(self, config).await
    }

    async fn close(&mut self) -> Result<(), CallError> {
        Instance::close(self).await
    }

    async fn next(&mut self, limits: PullLimits) -> Result<Pulled, CallError> {
        Instance::next(self, limits).await
    }

    async fn settle(&mut self, tokens: &[u64]) -> Result<(), CallError> {
        Instance::settle(self, tokens).await
    }

    async fn write(&mut self, records: &Batch) -> Result<Outcomes, CallError> {
        Instance::write(self, records).await
    }

    async fn idle(&mut self, max_wait_ms: u32) -> Result<Outcomes, CallError> {
        Instance::idle(self, max_wait_ms).await
    }

    async fn apply(&mut self, records: &Batch) -> Result<Transformed, CallError> {
        Instance::apply(self, records).await
    }
}
