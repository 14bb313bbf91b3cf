//! What the platform can be asked.

use std::pin::Pin;

use async_trait::async_trait;
use futures_util::Stream;

use crate::error::Error;
use crate::report::{
    Applied, AppliedObject, AuditReport, ComponentFacts, DeadLetter, Differences, Dropped, LogLine, ReadFrom,
    Registered, ReplayProgress, StatusReport, StoredObject, Tailed, TrialStep, VersionReport,
};
use crate::request::{
    Application, AuditQuery, Control, DeadLetterQuery, Deletion, Inspection, LogQuery, Query, Registration, Rewind,
    StatusQuery, Tail, Trial,
};

/// Reports one after another, until the platform has no more or the receiver is dropped.
pub type Reports<T> = Pin<Box<dyn Stream<Item = Result<T, Error>> + Send>>;

/// The platform, acting for one principal. Implemented by the server and by [`crate::Client`].
///
/// A call that is refused answers every problem that was found, and has changed nothing.
#[async_trait]
pub trait Platform: Send + Sync + 'static {
    /// What runs here.
    async fn version(&self) -> Result<VersionReport, Error>;

    /// Makes the stored objects as the documents say; all or nothing as far as checks go.
    async fn apply(&self, application: Application) -> Result<Applied, Error>;

    /// What [`Platform::apply`] would change.
    async fn diff(&self, application: Application) -> Result<Differences, Error>;

    /// Stored objects, ordered by kind, namespace and name. Names that nothing answers to are an error.
    async fn get(&self, query: Query) -> Result<Vec<StoredObject>, Error>;

    /// Removes objects; refused while others need them.
    async fn delete(&self, deletion: Deletion) -> Result<Vec<AppliedObject>, Error>;

    /// Keeps a component and makes its class or function.
    async fn register(&self, registration: Registration) -> Result<Registered, Error>;

    /// What a component says of itself, and which objects use it (`kind/name`).
    async fn inspect(&self, inspection: Inspection) -> Result<(ComponentFacts, Vec<String>), Error>;

    /// How streams and pipelines are doing.
    async fn status(&self, query: StatusQuery) -> Result<StatusReport, Error>;

    /// The same again at every interval.
    async fn watch_status(
        &self,
        query: StatusQuery,
        interval: std::time::Duration,
    ) -> Result<Reports<StatusReport>, Error>;

    /// Records as they pass. A slow receiver misses records and is told how many.
    async fn tail(&self, tail: Tail) -> Result<Reports<Tailed>, Error>;

    /// What guests write to their logs.
    async fn logs(&self, query: LogQuery) -> Result<Reports<LogLine>, Error>;

    /// Sends one record through a pipeline's functions; nothing reaches a sink or a log.
    async fn trial(&self, trial: Trial) -> Result<Vec<TrialStep>, Error>;

    /// Dead letters, oldest first.
    async fn dead_letters(&self, query: DeadLetterQuery) -> Result<Reports<DeadLetter>, Error>;

    /// Offers dead letters to their pipelines again, and removes those that are delivered, filtered or given up anew. Goes on to
    /// the end of its batch when the receiver is dropped. Safe to repeat.
    async fn replay_dead_letters(&self, query: DeadLetterQuery) -> Result<Reports<ReplayProgress>, Error>;

    /// Removes the dead letters with these numbers for good. Those that are not there are passed over.
    async fn drop_dead_letters(&self, numbers: Vec<u64>) -> Result<Dropped, Error>;

    /// Has a pipeline read its streams again from somewhere else; from where it reads each now.
    async fn rewind(&self, rewind: Rewind) -> Result<Vec<ReadFrom>, Error>;

    /// What guests reached for, and what was decided.
    async fn audit(&self, query: AuditQuery) -> Result<AuditReport, Error>;

    /// The data folder as it is at one moment, as a tar file in pieces; with the key to its secrets only if `secret_key` is true.
    /// Only for callers on the server's own machine.
    async fn backup(&self, secret_key: bool) -> Result<Reports<Vec<u8>>, Error>;

    /// Pauses, resumes or drains streams and pipelines.
    async fn control(&self, control: Control) -> Result<Vec<AppliedObject>, Error>;
}
