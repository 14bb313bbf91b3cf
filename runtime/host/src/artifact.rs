//! From bytes to a component that can be instantiated: checked, compiled, and asked what it is.

mod compiled;
mod describe;
mod inspect;

pub use compiled::is_kept;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ferrule_model::component::{Columns, Description, Problem};
use sha2::{Digest as _, Sha256};
use wasmtime::component::InstancePre;

use crate::convert;
use crate::engine::{Engine, EngineKind};
use crate::error::{CallError, LoadError};
use crate::guest::Guest;
use crate::instance::{Indices, Instance, InstanceOptions};
use crate::limits::{self, Limits};

/// The version of the contract that this host has.
pub const CONTRACT: &str = "0.1.0";

/// Artifacts larger than this hold an interpreter, and start on the roomy engine unless they say otherwise.
const LARGE: usize = 12 << 20;

/// How long a component may think about what it is, or about parameters. Threat: somebody waits for it.
const ANSWER: Duration = Duration::from_secs(2);

/// What kind of component it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum World {
    /// Takes records from the outside world.
    Source,
    /// Gives records to the outside world.
    Sink,
    /// Both.
    Connector,
    /// Turns records into records.
    Function,
}

impl World {
    /// Its name in the contract.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Sink => "sink",
            Self::Connector => "connector",
            Self::Function => "function",
        }
    }
}

impl std::fmt::Display for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

pub(crate) struct Parts {
    pub(crate) digest: String,
    pub(crate) world: World,
    pub(crate) kind: EngineKind,
    pub(crate) description: Description,
    pub(crate) pre: InstancePre<Guest>,
    pub(crate) indices: Indices,
    /// Keeps the engines' clock.
    engine: Engine,
}

/// A component ready to be instantiated. Cloning it is cheap.
#[derive(Clone)]
pub struct Component(Arc<Parts>);

impl std::fmt::Debug for Component {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Component")
            .field("name", &self.0.description.name)
            .field("version", &self.0.description.version)
            .field("world", &self.0.world)
            .field("digest", &self.0.digest)
            .finish_non_exhaustive()
    }
}

impl PartialEq for Component {
    fn eq(&self, other: &Self) -> bool {
        self.0.digest == other.0.digest
    }
}

impl Eq for Component {}

impl Component {
    pub(crate) async fn load(engine: &Engine, bytes: &[u8], cache: Option<&Path>) -> Result<Self, LoadError> {
        let world = inspect::inspect(bytes, engine.code_limits())?;
        let digest = digest(bytes);
        let begin = if bytes.len() > LARGE { EngineKind::Roomy } else { EngineKind::Dense };
        let component = Self::load_on(engine, bytes, begin, world, digest.clone(), cache).await?;
        match describe::engine(&component.0.description) {
            Some(wanted) if wanted != begin => Self::load_on(engine, bytes, wanted, world, digest, cache).await,
            _ => Ok(component),
        }
    }

    async fn load_on(
        engine: &Engine,
        bytes: &[u8],
        kind: EngineKind,
        world: World,
        digest: String,
        cache: Option<&Path>,
    ) -> Result<Self, LoadError> {
        let parts = engine.parts(kind);
        let limit = engine.code_limits().compile_time;
        let compiled = {
            let (engine, bytes, digest) = (parts.engine.clone(), bytes.to_vec(), digest.clone());
            let cache = cache.map(Path::to_owned);
            // What is given up goes on until it is done: nothing stops the compiler. But nobody waits for it.
            tokio::time::timeout(
                limit,
                tokio::task::spawn_blocking(move || {
                    compiled::component(&engine, kind, &bytes, &digest, cache.as_deref())
                }),
            )
            .await
            .map_err(|_| LoadError::TooSlow { limit })?
            .map_err(|error| LoadError::Compile(error.to_string()))?
            .map_err(|error| LoadError::Compile(format!("{error:#}")))?
        };
        let pre = parts.linker.instantiate_pre(&compiled).map_err(|error| unlinked(&compiled, &error))?;
        let indices = Indices::new(&pre, world).map_err(|error| LoadError::UnknownWorld {
            found: format!("the interfaces of a {world}, but not as the contract has them"),
            missing: format!("{error:#}"),
        })?;
        let mut component = Self(Arc::new(Parts {
            digest,
            world,
            kind,
            description: Description { reads: Columns::ALL, ..Description::default() },
            pre,
            indices,
            engine: engine.clone(),
        }));
        let description = component.ask().await?;
        describe::check(&description, world)?;
        // It is asked what it may reach by this, so it must be the same for whoever asks.
        if component.ask().await? != description {
            let problems = vec!["it says something else each time that it is asked".to_owned()];
            return Err(LoadError::InvalidDescribe { problems });
        }
        if let Some(parts) = Arc::get_mut(&mut component.0) {
            parts.description = description;
        }
        Ok(component)
    }

    /// What it says of itself, in an instance of its own that can reach nothing.
    async fn ask(&self) -> Result<Description, LoadError> {
        let mut instance = Instance::new(self, asked("describe")).await.map_err(LoadError::Describe)?;
        let answer = instance.describe().await.map_err(LoadError::Describe)?;
        Ok(convert::lift_description(answer))
    }

    /// `sha256:` and the digest of the artifact's bytes.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.0.digest
    }

    /// What kind of component it is.
    #[must_use]
    pub fn world(&self) -> World {
        self.0.world
    }

    /// What it says of itself.
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.0.description
    }

    /// Which engine runs it.
    #[must_use]
    pub fn engine_kind(&self) -> EngineKind {
        self.0.kind
    }

    /// The engine that it was loaded with.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.0.engine
    }

    /// Has the component check parameters beyond their schemas, in an instance of its own that can reach nothing.
    pub async fn validate(
        &self,
        static_parameters: &str,
        config: &str,
        stream: &str,
    ) -> Result<Vec<Problem>, CallError> {
        let mut instance = Instance::new(self, asked("validate")).await?;
        instance.validate(static_parameters, config, stream).await
    }

    /// Makes an instance for one session.
    pub async fn instantiate(&self, options: InstanceOptions) -> Result<Instance, CallError> {
        Instance::new(self, options).await
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.0
    }
}

/// For an instance that is only asked something: it can reach nothing, and somebody waits for it.
fn asked(what: &str) -> InstanceOptions {
    let limits = Limits { call_time: ANSWER, cpu_percent: Some(100), wait: ANSWER * 2, ..Limits::default() };
    InstanceOptions { limits, ..InstanceOptions::new(what) }
}

pub(crate) fn digest(bytes: &[u8]) -> String {
    let mut text = String::from("sha256:");
    for byte in Sha256::digest(bytes) {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

/// Which import it was that the linker did not have, or not in this form.
fn unlinked(component: &wasmtime::component::Component, error: &wasmtime::Error) -> LoadError {
    let text = format!("{error:#}");
    let ty = component.component_type();
    let name =
        ty.imports(component.engine()).map(|(name, _)| name.to_owned()).find(|name| text.contains(name.as_str()));
    let name = name.unwrap_or_else(|| "an import".to_owned());
    match inspect::newer(&name) {
        Some(wanted) => LoadError::NewerContract { name, wanted, contract: CONTRACT },
        None => LoadError::UnknownImport { name, detail: error.root_cause().to_string(), contract: CONTRACT },
    }
}

const _: () = assert!(LARGE < limits::ARTIFACT_BYTES);
