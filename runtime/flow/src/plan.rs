//! What should run, as inert data that can be compared. A plan is made by the control plane and never stored.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use ferrule_host::{Attachments, Limits};
use ferrule_model::capability::Rules;
use ferrule_model::component::Direction;
use ferrule_model::ids::Uid;
use ferrule_model::redact::Redactor;
pub use ferrule_transport::{Bounds, Durability, Guarantees, Keep, Retention, StreamOptions, WhenFull};

use crate::backoff::BackoffPolicy;
use crate::guest::Artifact;

/// A component as a plan names it; equal when the digest is.
#[derive(Clone)]
pub struct ComponentRef(Arc<dyn Artifact>);

impl ComponentRef {
    /// A reference to this artifact.
    pub fn new(artifact: Arc<dyn Artifact>) -> Self {
        Self(artifact)
    }

    /// The artifact.
    pub fn artifact(&self) -> &Arc<dyn Artifact> {
        &self.0
    }
}

impl From<ferrule_host::Component> for ComponentRef {
    fn from(component: ferrule_host::Component) -> Self {
        Self(Arc::new(component))
    }
}

impl PartialEq for ComponentRef {
    fn eq(&self, other: &Self) -> bool {
        self.0.digest() == other.0.digest()
    }
}

impl fmt::Debug for ComponentRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.digest())
    }
}

/// One session of a component: what it is given and what it may do.
#[derive(Clone, Debug, PartialEq)]
pub struct GuestPlan {
    /// The component.
    pub component: ComponentRef,
    /// The class or function, as refusals name it (`name@version`).
    pub class: String,
    /// Static parameters, JSON.
    pub static_parameters: String,
    /// Config, JSON.
    pub config: String,
    /// Parameters of the stream or arguments of the function, JSON.
    pub parameters: String,
    /// Masks what of all these came from secrets, wherever the guest shows it.
    pub redactor: Redactor,
    /// What it may reach.
    pub rules: Rules,
    /// What it may use.
    pub limits: Limits,
    /// What the host adds to its connections and requests.
    pub attached: Attachments,
}

impl GuestPlan {
    /// A session without parameters, abilities and special limits.
    pub fn new(component: ComponentRef) -> Self {
        let class = component.artifact().description().name.clone();
        Self {
            component,
            class,
            static_parameters: "{}".into(),
            config: "{}".into(),
            parameters: "{}".into(),
            redactor: Redactor::default(),
            rules: Rules::default(),
            limits: Limits::default(),
            attached: Attachments::default(),
        }
    }

    /// Whether a session with `other` in place of this needs nothing but a new config.
    pub(crate) fn differs_in_config_only(&self, other: &Self) -> bool {
        self.config != other.config && *self == Self { config: self.config.clone(), ..other.clone() }
    }
}

/// A stream that should run.
#[derive(Clone, Debug, PartialEq)]
pub struct StreamPlan {
    /// Its uid.
    pub uid: Uid,
    /// Its name, unique within the server.
    pub name: String,
    /// `Ingress` or `Egress`.
    pub direction: Direction,
    /// Its session.
    pub guest: GuestPlan,
    /// Whether it is paused: an ingress stream takes nothing, an egress stream gives nothing; the connection stays.
    pub held: bool,
    /// An ingress stream: how the log keeps its records.
    pub log: StreamOptions,
    /// The revision of the documents that it was made from, for status; equal plans are the same whatever it says.
    pub revision: Revision,
}

impl StreamPlan {
    /// A stream with nothing special.
    pub fn new(uid: impl Into<Uid>, name: impl Into<String>, direction: Direction, guest: GuestPlan) -> Self {
        Self {
            uid: uid.into(),
            name: name.into(),
            direction,
            guest,
            held: false,
            log: StreamOptions::new(Durability::Process),
            revision: Revision::default(),
        }
    }
}

/// Which documents a plan was made from. It is shown, and it does not count when plans are compared.
#[derive(Clone, Copy, Debug, Default)]
pub struct Revision(pub u64);

impl PartialEq for Revision {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// A function in a pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct StepPlan {
    /// Its name within the pipeline.
    pub name: String,
    /// Its session.
    pub guest: GuestPlan,
    /// How many instances of it run side by side, at least 1: the records of one key always go through the same one.
    pub parallelism: u32,
}

impl StepPlan {
    /// A step with one instance.
    pub fn new(name: impl Into<String>, guest: GuestPlan) -> Self {
        Self { name: name.into(), guest, parallelism: 1 }
    }
}

/// Where a pipeline begins in a stream that it has never read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// After what is there.
    #[default]
    Latest,
    /// At the oldest record that the log holds.
    Beginning,
}

/// What becomes of records that are rejected, poisonous or past a limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// They are stored with the reason.
    #[default]
    DeadLetter,
    /// They are dropped and counted.
    Drop,
}

/// How records are offered again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RetryPlan {
    /// Attempts at most; none: without end.
    pub attempts: Option<u32>,
    /// Time at most; none: without end.
    pub age: Option<Duration>,
    /// The wait between attempts.
    pub backoff: BackoffPolicy,
}

/// How records are gathered for a write: until one of these is reached.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchPlan {
    /// So many records.
    pub records: u32,
    /// So many bytes.
    pub bytes: u64,
    /// So long after the first.
    pub linger: Duration,
    /// Records in flight to one sink at most.
    pub window: u32,
    /// Bytes of records that the pipeline has in hand at most, beyond one batch; the log holds the rest.
    pub window_bytes: u64,
}

impl Default for BatchPlan {
    /// 1,000 records or 1 MiB, without waiting for more than there is.
    fn default() -> Self {
        Self { records: 1_000, bytes: 1 << 20, linger: Duration::ZERO, window: 4_000, window_bytes: 8 << 20 }
    }
}

/// A pipeline that should run.
#[derive(Clone, Debug, PartialEq)]
pub struct PipelinePlan {
    /// Its uid.
    pub uid: Uid,
    /// Its name, unique within the server.
    pub name: String,
    /// The ingress streams that it reads.
    pub sources: Vec<Uid>,
    /// Its functions, in order.
    pub steps: Vec<StepPlan>,
    /// The egress stream that it writes.
    pub sink: Uid,
    /// Egress streams by the name of a route; routes that are not here go on to the next step or the sink.
    pub routes: BTreeMap<String, Uid>,
    /// How records are gathered.
    pub batch: BatchPlan,
    /// How records are offered again.
    pub retry: RetryPlan,
    /// What becomes of records that cannot be delivered.
    pub on_error: OnError,
    /// At most one record in this time goes through, the others are filtered; zero: all go.
    pub sampling: Duration,
    /// Where it begins in a stream that it has never read.
    pub start: Start,
    /// Records whose id was seen within this time are filtered and counted; none: no id is looked at.
    pub deduplicate: Option<Duration>,
    /// Whether it is paused: it takes no records.
    pub held: bool,
    /// The revision of the documents that it was made from.
    pub revision: Revision,
}

impl PipelinePlan {
    /// A pipeline without functions and with nothing special.
    pub fn new(uid: impl Into<Uid>, name: impl Into<String>, source: impl Into<Uid>, sink: impl Into<Uid>) -> Self {
        Self {
            uid: uid.into(),
            name: name.into(),
            sources: vec![source.into()],
            steps: Vec::new(),
            sink: sink.into(),
            routes: BTreeMap::new(),
            batch: BatchPlan::default(),
            retry: RetryPlan::default(),
            on_error: OnError::default(),
            sampling: Duration::ZERO,
            start: Start::default(),
            deduplicate: None,
            held: false,
            revision: Revision::default(),
        }
    }

    /// Its sinks, each once, the default one first.
    pub(crate) fn sinks(&self) -> Vec<Uid> {
        let mut sinks = vec![self.sink.clone()];
        for sink in self.routes.values() {
            if !sinks.contains(sink) {
                sinks.push(sink.clone());
            }
        }
        sinks
    }

    /// Whether records under way can go on when this plan takes the place of `other`.
    pub(crate) fn same_way(&self, other: &Self) -> bool {
        self.sources == other.sources
            && self.steps == other.steps
            && self.sink == other.sink
            && self.routes == other.routes
            && self.sampling == other.sampling
            && self.deduplicate == other.deduplicate
    }
}

/// What exists, whether it can run now or not: the log keeps its records and remembers how far it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Retained {
    /// The streams.
    pub streams: BTreeSet<Uid>,
    /// The pipelines.
    pub pipelines: BTreeSet<Uid>,
}

/// Everything that should run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The streams.
    pub streams: Vec<StreamPlan>,
    /// The pipelines.
    pub pipelines: Vec<PipelinePlan>,
    /// What exists beside these. Streams and pipelines that are in none of the three are forgotten, their records too.
    pub retained: Retained,
}

impl Plan {
    pub(crate) fn knows_stream(&self, uid: &Uid) -> bool {
        self.retained.streams.contains(uid) || self.streams.iter().any(|stream| stream.uid == *uid)
    }

    /// Whether a pipeline reads a stream, now or as soon as it can run.
    pub(crate) fn reads(&self, pipeline: &Uid, stream: &Uid) -> bool {
        match self.pipelines.iter().find(|planned| planned.uid == *pipeline) {
            Some(planned) => planned.sources.contains(stream),
            None => self.retained.pipelines.contains(pipeline),
        }
    }
}
