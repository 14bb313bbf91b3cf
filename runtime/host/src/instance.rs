//! One instance of a component: one session, its calls made one at a time.

use std::sync::Arc;

use ferrule_model::capability::Rules;
use ferrule_model::component::{Columns, Direction, Problem};
use ferrule_model::record::{Batch, Outcomes, Transformed};
use ferrule_model::redact::Redactor;
use wasmtime::Store;

use crate::artifact::{Component, World};
use crate::bindings::exports::ferrule::connector::{component, consume, lifecycle, produce, transform};
use crate::bindings::wire;
use crate::call::{self, Bounds, CallClock, Ended, Patience};
use crate::convert;
use crate::error::{CallError, GuestError, GuestErrorKind, Refusal};
use crate::guards::Guards;
use crate::guest::{GrantHint, Guest, Identity};
use crate::limits::{Breach, Limit, Limits};
use crate::masked;
use crate::network::Attachments;
use crate::observer::Observer;
use crate::wake::WakeHandle;

/// Bytes of a position. Threat: it is stored with every batch. Those of our own guests have some dozens.
const POSITION_BYTES: usize = 64 << 10;

/// Who an instance is for and what it may do.
#[derive(Clone)]
pub struct InstanceOptions {
    /// The stream or step, for logs, refusals and the guest itself.
    pub name: String,
    /// What it may reach.
    pub rules: Rules,
    /// What it may use.
    pub limits: Limits,
    /// Masks what the guest was given of secrets in all that it shows.
    pub redactor: Redactor,
    /// Who hears of it.
    pub observer: Arc<dyn Observer>,
    /// What a refusal tells to write where.
    pub hint: GrantHint,
    /// What the host adds to its connections and requests, and the guest never sees.
    pub attached: Attachments,
    /// For tests alone.
    #[doc(hidden)]
    pub guards: Guards,
}

impl InstanceOptions {
    /// No ability, the usual limits, and nobody who hears.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            rules: Rules::default(),
            limits: Limits::default(),
            redactor: Redactor::default(),
            observer: Arc::new(crate::observer::Unobserved),
            hint: GrantHint::default(),
            attached: Attachments::default(),
            guards: Guards::default(),
        }
    }
}

impl std::fmt::Debug for InstanceOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("InstanceOptions")
            .field("name", &self.name)
            .field("rules", &self.rules)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// What a session begins with; the texts are JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Unique within the server.
    pub name: String,
    /// Which way it goes.
    pub direction: Direction,
    /// The instance's static parameters.
    pub static_parameters: String,
    /// The config in force now.
    pub config: String,
    /// The stream's parameters, or the function's arguments.
    pub parameters: String,
    /// For a source: the position saved last.
    pub position: Option<Vec<u8>>,
    /// Further facts by name.
    pub properties: Vec<(String, String)>,
}

/// What the guest says of the session it opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opened {
    /// Whether the outside system gives unsettled records again.
    pub replayable: bool,
    /// Further facts by name.
    pub properties: Vec<(String, String)>,
}

/// How much the host takes from one call of `next`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PullLimits {
    /// At most so many records; 0 while the stream is held back.
    pub max_records: u32,
    /// At most so many bytes; the first record is exempt.
    pub max_bytes: u32,
    /// Once there is a record, how long to wait for more.
    pub linger_ms: u32,
    /// With no record, how long to wait.
    pub max_wait_ms: u32,
}

/// What a source gave.
#[derive(Clone, Debug)]
pub struct Pulled {
    /// The records.
    pub records: Batch,
    /// Where to go on after them.
    pub position: Option<Vec<u8>>,
}

/// What a guest did with a new config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Configured {
    /// It is in force.
    Applied,
    /// The session must be closed and opened again.
    Reopen,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Life {
    Ready,
    /// In a call. Found so at the next call, the earlier one was given up halfway.
    Busy(&'static str),
    Gone(String),
}

pub(crate) struct Exports {
    component: component::Guest,
    lifecycle: Option<lifecycle::Guest>,
    consume: Option<consume::Guest>,
    produce: Option<produce::Guest>,
    transform: Option<transform::Guest>,
}

/// One running guest. Dropping it ends the guest at once.
pub struct Instance {
    store: Store<Guest>,
    exports: Exports,
    bounds: Bounds,
    wake: WakeHandle,
    reads: Columns,
    routes: usize,
    world: World,
    redactor: Redactor,
    refusals_before: u64,
    limits: Limits,
    guards: Guards,
    life: Life,
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").field("world", &self.world).field("life", &self.life).finish_non_exhaustive()
    }
}

/// Makes one call: checks that the instance lives, runs the call within its bounds, and gives its answer.
macro_rules! call {
    ($self:ident, $name:literal, $patience:expr, $interface:ident, |$guest:ident, $store:ident| $call:expr) => {{
        $self.begin($name)?;
        let Some($guest) = &$self.exports.$interface else {
            $self.life = Life::Ready;
            return Err(CallError::NotExported { call: $name, world: $self.world.name() });
        };
        let $store = &mut $self.store;
        let answer = $self.bounds.run($patience, $call).await;
        $self.end($name, answer)?
    }};
}

/// The same, for a function whose answer may be an error of the guest's.
macro_rules! fallible {
    ($self:ident, $($call:tt)*) => {{
        let answer = call!($self, $($call)*);
        match answer {
            Ok(answer) => answer,
            Err(error) => return Err($self.guest_error(error)),
        }
    }};
}

impl Instance {
    pub(crate) async fn new(component: &Component, options: InstanceOptions) -> Result<Self, CallError> {
        let parts = component.parts();
        let identity = Identity {
            name: options.name,
            hint: options.hint,
            rules: options.rules,
            asked: parts.description.capabilities.clone(),
            observer: masked::observer(options.observer, &options.redactor),
            redactor: options.redactor.clone(),
            around: component.engine().around(),
            tls: component.engine().tls(),
            attached: options.attached,
            component: parts.digest.clone(),
            guards: options.guards,
        };
        let (observer, redactor) = (identity.observer.clone(), options.redactor);
        let guest = Guest::new(identity, &options.limits).map_err(|error| error.masked(&redactor))?;
        let (mut store, clock) = store(parts.pre.engine(), guest, &options.limits);
        let wake = store.data().wake.clone();
        let mut bounds = Bounds::new(clock, wake.clone(), observer, &options.limits);
        let begun = bounds.run(Patience::Prompt, parts.pre.instantiate_async(&mut store)).await;
        let exports = match begun {
            Ok(instance) => parts.indices.load(&mut store, &instance).map_err(Ended::Engine),
            Err(ended) => Err(ended),
        };
        let exports = exports
            .map_err(|ended| call::explain("instantiate", ended, &bounds, store.data_mut()).masked(&redactor))?;
        Ok(Self {
            store,
            exports,
            bounds,
            wake,
            reads: parts.description.reads,
            routes: parts.description.routes.len().max(1),
            world: parts.world,
            redactor,
            refusals_before: 0,
            limits: options.limits,
            guards: options.guards,
            life: Life::Ready,
        })
    }

    /// Opens the session. First and once.
    pub async fn open(&mut self, session: Session) -> Result<Opened, CallError> {
        let session = lifecycle::Session {
            name: session.name,
            direction: convert::lower_direction(session.direction),
            static_parameters: session.static_parameters,
            config: session.config,
            parameters: session.parameters,
            position: session.position,
            properties: session.properties,
        };
        let opened =
            fallible!(self, "open", Patience::UntilWoken, lifecycle, |guest, store| guest.call_open(store, &session));
        Ok(Opened { replayable: opened.replayable, properties: opened.properties })
    }

    /// Gives the guest a new config.
    pub async fn configure(&mut self, config: &str) -> Result<Configured, CallError> {
        let config: wire::Json = config.to_owned();
        let configured = fallible!(self, "configure", Patience::Prompt, lifecycle, |guest, store| guest
            .call_configure(store, &config));
        Ok(match configured {
            lifecycle::Configured::Applied => Configured::Applied,
            lifecycle::Configured::Reopen => Configured::Reopen,
        })
    }

    /// Ends the session in an orderly way.
    pub async fn close(&mut self) -> Result<(), CallError> {
        fallible!(self, "close", Patience::Prompt, lifecycle, |guest, store| guest.call_close(store));
        Ok(())
    }

    /// Takes records from a source.
    pub async fn next(&mut self, limits: PullLimits) -> Result<Pulled, CallError> {
        let limits = consume::Limits {
            max_records: limits.max_records,
            max_bytes: limits.max_bytes,
            linger_ms: limits.linger_ms,
            max_wait_ms: limits.max_wait_ms,
        };
        let pulled =
            fallible!(self, "next", Patience::UntilWoken, consume, |guest, store| guest.call_next(store, limits));
        let records = convert::lift_batch(pulled.records);
        if self.guards.answers {
            self.check_pulled(&records, limits.max_records)?;
            if let Some(position) = pulled.position.as_ref().filter(|position| position.len() > POSITION_BYTES) {
                let problem = format!("a position of {} bytes, and at most {POSITION_BYTES} are kept", position.len());
                return Err(self.malformed("next", &problem));
            }
            self.bound(records.len(), records.size())?;
        }
        Ok(Pulled { records, position: pulled.position })
    }

    /// Tells a source that records are safe.
    pub async fn settle(&mut self, tokens: &[u64]) -> Result<(), CallError> {
        fallible!(self, "settle", Patience::Prompt, consume, |guest, store| guest.call_settle(store, tokens));
        Ok(())
    }

    /// Gives records to a sink. Columns that it does not read stay here.
    pub async fn write(&mut self, records: &Batch) -> Result<Outcomes, CallError> {
        let records = convert::lower_batch(records, self.reads);
        let outcomes =
            fallible!(self, "write", Patience::UntilWoken, produce, |guest, store| guest.call_write(store, &records));
        Ok(masked::outcomes(convert::lift_outcomes(outcomes), &self.redactor))
    }

    /// Lets a sink service its connection and answer for records in flight.
    pub async fn idle(&mut self, max_wait_ms: u32) -> Result<Outcomes, CallError> {
        let outcomes =
            fallible!(self, "idle", Patience::UntilWoken, produce, |guest, store| guest.call_idle(store, max_wait_ms));
        Ok(masked::outcomes(convert::lift_outcomes(outcomes), &self.redactor))
    }

    /// Has a function turn records into records. The answer was checked against its input.
    pub async fn apply(&mut self, records: &Batch) -> Result<Transformed, CallError> {
        let lowered: wire::Batch = convert::lower_input(records, self.reads);
        let transformed =
            fallible!(self, "apply", Patience::Prompt, transform, |guest, store| guest.call_apply(store, &lowered));
        let mut transformed = convert::lift_transformed(transformed);
        masked::rejections(&mut transformed.rejected, &self.redactor);
        if !self.guards.answers {
            return Ok(transformed);
        }
        transformed.check(records).map_err(|problem| self.malformed("apply", &problem))?;
        self.bound(transformed.len(), convert::size_of_output(&transformed, records))?;
        if let Some(route) = transformed.routes.iter().find(|route| usize::from(**route) >= self.routes) {
            let problem = format!("route {route} of an output, where the component describes {}", self.routes);
            return Err(self.malformed("apply", &problem));
        }
        Ok(transformed)
    }

    fn check_pulled(&mut self, records: &Batch, most: u32) -> Result<(), CallError> {
        records.check().map_err(|problem| self.malformed("next", &problem))?;
        if records.count > most {
            let problem = format!("{} records where at most {most} were asked for", records.count);
            return Err(self.malformed("next", &problem));
        }
        if records.count > 0 && records.tokens.is_empty() {
            return Err(self.malformed("next", &"the records have no tokens"));
        }
        if records.count > 0 && records.payload.is_absent() {
            return Err(self.malformed("next", &"the records have no payload column"));
        }
        Ok(())
    }

    /// Bounds what one call returns.
    fn bound(&mut self, records: usize, bytes: usize) -> Result<(), CallError> {
        let reached = if records > self.limits.batch_records {
            Some(self.limits.breach_by(Limit::BatchRecords, records as u64))
        } else if bytes > self.limits.batch_bytes {
            Some(self.limits.breach_by(Limit::BatchBytes, bytes as u64))
        } else {
            None
        };
        reached.map_or(Ok(()), |breach: Breach| {
            let error = CallError::Limit(breach);
            self.life = Life::Gone(error.to_string());
            Err(error)
        })
    }

    pub(crate) async fn validate(
        &mut self,
        static_parameters: &str,
        config: &str,
        stream: &str,
    ) -> Result<Vec<Problem>, CallError> {
        self.begin("validate")?;
        let [static_parameters, config, stream] = [static_parameters, config, stream].map(wire::Json::from);
        let call = self.exports.component.call_validate(&mut self.store, &static_parameters, &config, &stream);
        let answer = self.bounds.run(Patience::Prompt, call).await;
        let problems = self.end("validate", answer)?;
        Ok(problems.into_iter().map(convert::lift_problem).collect())
    }

    pub(crate) async fn describe(&mut self) -> Result<component::Description, CallError> {
        self.begin("describe")?;
        let call = self.exports.component.call_describe(&mut self.store);
        let answer = self.bounds.run(Patience::Prompt, call).await;
        self.end("describe", answer)
    }

    /// Asks the guest to return from its call.
    #[must_use]
    pub fn waker(&self) -> WakeHandle {
        self.wake.clone()
    }

    /// Bytes of linear memory that it holds.
    #[must_use]
    pub fn memory_bytes(&self) -> usize {
        self.store.data().growth.memory()
    }

    /// How often it was refused something.
    #[must_use]
    pub fn refusals(&self) -> u64 {
        self.store.data().gate.refusals()
    }

    /// What it was refused last.
    #[must_use]
    pub fn last_refusal(&self) -> Option<Refusal> {
        self.store.data().gate.last_refusal()
    }

    /// Whether calls can still be made.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.life == Life::Ready
    }

    fn begin(&mut self, call: &'static str) -> Result<(), CallError> {
        match &self.life {
            Life::Ready => {}
            Life::Busy(earlier) => {
                let reason = format!("an earlier call of `{earlier}` was given up halfway");
                self.life = Life::Gone(reason.clone());
                return Err(CallError::Gone(reason));
            }
            Life::Gone(reason) => return Err(CallError::Gone(reason.clone())),
        }
        self.life = Life::Busy(call);
        self.refusals_before = self.refusals();
        // Two ticks, so that at least one whole tick passes before the guest is asked to give way.
        self.store.set_epoch_deadline(2);
        Ok(())
    }

    fn end<R>(&mut self, call: &'static str, answer: Result<R, Ended>) -> Result<R, CallError> {
        self.wake.clear();
        self.store.data_mut().catch_up();
        match answer {
            Ok(answer) => {
                self.life = Life::Ready;
                Ok(answer)
            }
            Err(ended) => {
                let error = call::explain(call, ended, &self.bounds, self.store.data_mut()).masked(&self.redactor);
                self.life = Life::Gone(error.to_string());
                Err(error)
            }
        }
    }

    /// An error of the guest's. It counts as a refusal when the guest says so, or when something was refused during the call.
    fn guest_error(&self, error: wire::Error) -> CallError {
        let error: GuestError = convert::lift_error(error);
        let refused_now = self.refusals() > self.refusals_before;
        let refused = match error.kind {
            GuestErrorKind::Denied => true,
            GuestErrorKind::Unavailable | GuestErrorKind::Failed => refused_now,
            GuestErrorKind::Invalid => false,
        };
        let error = match self.last_refusal() {
            Some(refusal) if refused => CallError::Refused { refusal: Box::new(refusal), guest: error.message },
            _ => CallError::Guest(error),
        };
        error.masked(&self.redactor)
    }

    /// The guest broke the contract: nothing it says can be relied on from here.
    fn malformed(&mut self, call: &'static str, problem: &dyn std::fmt::Display) -> CallError {
        let error = CallError::Malformed { call, problem: problem.to_string() }.masked(&self.redactor);
        self.life = Life::Gone(error.to_string());
        error
    }
}

/// A store with the limits and the clock of one guest.
pub(crate) fn store(engine: &wasmtime::Engine, guest: Guest, limits: &Limits) -> (Store<Guest>, Arc<CallClock>) {
    let mut store = Store::new(engine, guest);
    store.limiter(|guest| &mut guest.growth);
    store.set_hostcall_fuel(limits.answer_bytes);
    store.set_epoch_deadline(2);
    let clock = call::give_way(&mut store);
    (store, clock)
}

/// Where a component's exports are, looked up once.
#[derive(Clone)]
pub(crate) struct Indices {
    component: component::GuestIndices,
    lifecycle: Option<lifecycle::GuestIndices>,
    consume: Option<consume::GuestIndices>,
    produce: Option<produce::GuestIndices>,
    transform: Option<transform::GuestIndices>,
}

impl Indices {
    /// Looks up and checks the exports that the world has.
    pub(crate) fn new(pre: &wasmtime::component::InstancePre<Guest>, world: World) -> wasmtime::Result<Self> {
        let source = matches!(world, World::Source | World::Connector);
        let sink = matches!(world, World::Sink | World::Connector);
        Ok(Self {
            component: component::GuestIndices::new(pre)?,
            lifecycle: Some(lifecycle::GuestIndices::new(pre)?),
            consume: source.then(|| consume::GuestIndices::new(pre)).transpose()?,
            produce: sink.then(|| produce::GuestIndices::new(pre)).transpose()?,
            transform: (world == World::Function).then(|| transform::GuestIndices::new(pre)).transpose()?,
        })
    }

    fn load(&self, store: &mut Store<Guest>, instance: &wasmtime::component::Instance) -> wasmtime::Result<Exports> {
        Ok(Exports {
            component: self.component.load(&mut *store, instance)?,
            lifecycle: self.lifecycle.as_ref().map(|indices| indices.load(&mut *store, instance)).transpose()?,
            consume: self.consume.as_ref().map(|indices| indices.load(&mut *store, instance)).transpose()?,
            produce: self.produce.as_ref().map(|indices| indices.load(&mut *store, instance)).transpose()?,
            transform: self.transform.as_ref().map(|indices| indices.load(&mut *store, instance)).transpose()?,
        })
    }
}
