//! The platform itself: what the parts do together when somebody asks for something.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use ferrule_api::grpc::{Access, Peer, Right};
use ferrule_api::report::{
    Action, Applied, AppliedObject, AuditReport, ComponentFacts, DeadLetter, Differences, Dropped, LogLine, ReadFrom,
    Registered, ReplayProgress, StatusReport, StoredObject, Tailed, TrialStep, VersionReport,
};
use ferrule_api::request::{
    Application, AuditQuery, Control as Steering, DeadLetterQuery, Deletion, Inspection, LogQuery, Query, Registration,
    Rewind, StatusQuery, Tail, Trial,
};
use ferrule_api::{Error, Platform, Reports};
use ferrule_control::{Control, Site};
use ferrule_flow::Flow;
use ferrule_model::{Code, Diagnostic, Kind, Object};
use ferrule_store::{EmbeddedStore, Principal, Selector, Store, StoreError};
use ferrule_transport::EmbeddedLog;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use crate::dead_letters::{self, DeadLetterStore};
use crate::folder::DataFolder;
use crate::guard::Guard;
use crate::registry::Registry;
use crate::world::World;
use crate::{apply, backup, delete, get, register, reports, rewind, steer};

/// The parts, as the calls need them.
pub(crate) struct Inner {
    pub(crate) store: Arc<dyn Store>,
    /// The same store, for a copy of its file.
    pub(crate) store_file: Arc<EmbeddedStore>,
    /// The log, if it is on this machine's disk, for a copy of its files.
    pub(crate) journal: Option<EmbeddedLog>,
    /// What the log is called.
    pub(crate) log_name: &'static str,
    pub(crate) registry: Registry,
    pub(crate) flow: Flow,
    /// What streams and pipelines can ask of it.
    pub(crate) site: Site,
    /// Empty until the start is complete.
    pub(crate) control: OnceLock<Control>,
    pub(crate) dead_letters: Arc<DeadLetterStore>,
    /// The text of the key to the secrets, for a backup that is to have it.
    pub(crate) secret_key: Zeroizing<String>,
    pub(crate) folder: DataFolder,
    pub(crate) started: SystemTime,
    pub(crate) metrics_address: Option<std::net::SocketAddr>,
    /// Ends the streams of reports.
    pub(crate) stopping: CancellationToken,
    /// Held by calls that check against all objects and then write some: two of them at once could each be right and
    /// wrong together. Writers outside this server are seen by the store's compare-and-set.
    pub(crate) writing: tokio::sync::Mutex<()>,
}

impl Inner {
    /// All objects as they are now.
    pub(crate) async fn world(&self) -> Result<World, Error> {
        let listing = self.store.list(None, &Selector::all()).await.map_err(|error| store_error(&error))?;
        Ok(listing.objects.into_iter().collect())
    }
}

impl Inner {
    /// Writes `object` over `before`. Statuses are written all the time; as long as nobody else changed what is wanted, that is
    /// no conflict.
    pub(crate) async fn update(
        &self,
        principal: &Principal,
        mut before: Arc<Object>,
        mut object: Object,
    ) -> Result<Arc<Object>, StoreError> {
        for _ in 0..UPDATE_ATTEMPTS {
            object.metadata.resource_version.clone_from(&before.metadata.resource_version);
            match self.store.update(principal, object.clone()).await {
                Err(error @ StoreError::Conflict { .. }) => {
                    let now = self.store.get(object.kind, object.uid()).await?;
                    match now {
                        Some(now) if now.metadata.generation == before.metadata.generation => before = now,
                        _ => return Err(error),
                    }
                }
                outcome => return outcome,
            }
        }
        self.store.update(principal, object).await
    }

    /// Waits until what was written so far is seen to, so that whoever asks next sees what became of it. Not for ever:
    /// the conditions say what is still being done.
    pub(crate) async fn reconciled(&self) {
        let Some(control) = self.control.get() else { return };
        let Ok(listing) = self.store.list(Some(Kind::Project), &Selector::all()).await else { return };
        if tokio::time::timeout(RECONCILE_DEADLINE, control.reconciled(listing.version)).await.is_err() {
            tracing::debug!("the change is still being seen to");
        }
    }
}

/// Attempts to write one object against the writes of its status.
const UPDATE_ATTEMPTS: usize = 8;

/// How long a call waits for its changes to be seen to.
const RECONCILE_DEADLINE: Duration = Duration::from_secs(5);

/// What the store refused, as people see it.
pub(crate) fn store_problem(error: &StoreError) -> Diagnostic {
    let (code, help) = match error {
        StoreError::NotFound { .. } => (Code::NotFound, "somebody deleted it in the meantime"),
        StoreError::AlreadyExists { .. } => (Code::AlreadyExists, "somebody created it in the meantime; try again"),
        StoreError::Conflict { .. } => (Code::Conflict, "try again"),
        StoreError::Invalid { .. } => (Code::BadValue, "change the document"),
        _ => (Code::StoreUnusable, "see the server's log"),
    };
    Diagnostic::new(code, error.to_string()).help(help)
}

pub(crate) fn store_error(error: &StoreError) -> Error {
    Error::refused(store_problem(error))
}

/// One object, and what became of it.
pub(crate) fn applied(object: &Object, world: &World, action: Action) -> AppliedObject {
    AppliedObject {
        kind: object.kind,
        namespace: world.project(object),
        name: world.unique_name(object),
        uid: object.uid().to_string(),
        action,
        generation: object.metadata.generation,
        diagnostics: Vec::new(),
    }
}

/// Milliseconds since 1970.
pub(crate) fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// The platform, acting for one principal.
pub(crate) struct Acting {
    pub(crate) inner: Arc<Inner>,
    pub(crate) principal: Principal,
    /// Whether the caller has the same files as the server.
    pub(crate) local: bool,
}

/// Lets callers in, each as who they are.
pub(crate) struct Callers {
    pub(crate) inner: Arc<Inner>,
    /// For those who call over the network.
    pub(crate) guard: Guard,
}

impl Access for Callers {
    fn platform(&self, peer: Peer, right: Right) -> Result<Arc<dyn Platform>, Error> {
        let (principal, local) = match peer {
            Peer::Local { user: Some(user) } => (format!("user:{user}"), true),
            Peer::Local { user: None } => ("user".to_owned(), true),
            Peer::Network { address, token, certificate } => {
                self.guard.check(token.as_deref(), certificate.as_deref(), right)?;
                (format!("network:{address}"), false)
            }
        };
        Ok(Arc::new(Acting { inner: self.inner.clone(), principal: Principal::new(principal), local }))
    }
}

#[async_trait]
impl Platform for Acting {
    async fn version(&self) -> Result<VersionReport, Error> {
        Ok(VersionReport {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            contract: ferrule_host::CONTRACT.to_owned(),
            data_folder: self.inner.folder.root().display().to_string(),
            started_ms: millis(self.inner.started),
            metrics_address: self.inner.metrics_address.map(|address| address.to_string()),
        })
    }

    async fn apply(&self, application: Application) -> Result<Applied, Error> {
        apply::apply(&self.inner, &self.principal, self.local, application).await
    }

    async fn diff(&self, application: Application) -> Result<Differences, Error> {
        apply::diff(&self.inner, self.local, application).await
    }

    async fn get(&self, query: Query) -> Result<Vec<StoredObject>, Error> {
        get::get(&self.inner, query).await
    }

    async fn delete(&self, deletion: Deletion) -> Result<Vec<AppliedObject>, Error> {
        delete::delete(&self.inner, &self.principal, deletion).await
    }

    async fn register(&self, registration: Registration) -> Result<Registered, Error> {
        register::register(&self.inner, &self.principal, registration).await
    }

    async fn inspect(&self, inspection: Inspection) -> Result<(ComponentFacts, Vec<String>), Error> {
        get::inspect(&self.inner, inspection).await
    }

    async fn status(&self, query: StatusQuery) -> Result<StatusReport, Error> {
        reports::status(&self.inner, &query).await
    }

    async fn watch_status(&self, query: StatusQuery, interval: Duration) -> Result<Reports<StatusReport>, Error> {
        reports::watch(self.inner.clone(), query, interval).await
    }

    async fn tail(&self, tail: Tail) -> Result<Reports<Tailed>, Error> {
        reports::tail(&self.inner, tail).await
    }

    async fn logs(&self, query: LogQuery) -> Result<Reports<LogLine>, Error> {
        reports::logs(&self.inner, query).await
    }

    async fn trial(&self, trial: Trial) -> Result<Vec<TrialStep>, Error> {
        reports::trial(&self.inner, trial).await
    }

    async fn dead_letters(&self, query: DeadLetterQuery) -> Result<Reports<DeadLetter>, Error> {
        dead_letters::list(&self.inner, query).await
    }

    async fn replay_dead_letters(&self, query: DeadLetterQuery) -> Result<Reports<ReplayProgress>, Error> {
        dead_letters::replay(self.inner.clone(), query).await
    }

    async fn drop_dead_letters(&self, numbers: Vec<u64>) -> Result<Dropped, Error> {
        dead_letters::drop_letters(&self.inner.dead_letters, numbers).await
    }

    async fn rewind(&self, rewind: Rewind) -> Result<Vec<ReadFrom>, Error> {
        rewind::rewind(&self.inner, rewind).await
    }

    async fn audit(&self, query: AuditQuery) -> Result<AuditReport, Error> {
        Ok(crate::audit::report(&self.inner.flow.audit(), &query))
    }

    async fn backup(&self, secret_key: bool) -> Result<Reports<Vec<u8>>, Error> {
        if !self.local {
            let text = "a backup holds everything the server knows, and this connection comes over the network";
            let help = "make it on the server's machine, over its socket";
            return Err(Error::refused(Diagnostic::new(Code::Unsupported, text).help(help)));
        }
        Ok(backup::backup(self.inner.clone(), secret_key))
    }

    async fn control(&self, control: Steering) -> Result<Vec<AppliedObject>, Error> {
        steer::steer(&self.inner, &self.principal, control).await
    }
}
