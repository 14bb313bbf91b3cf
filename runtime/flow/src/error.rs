//! What the flow cannot do.

use std::time::Duration;

use ferrule_host::CallError;
use ferrule_model::ids::Uid;

/// Why the flow does not do what it is asked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FlowError {
    /// Nothing with this uid runs.
    #[error("nothing with uid `{0}` runs here")]
    Unknown(Uid),
    /// A step that the pipeline does not have.
    #[error("the pipeline `{pipeline}` has no step `{step}`; it has {steps}")]
    UnknownStep {
        /// The pipeline's name.
        pipeline: String,
        /// The step that was asked for.
        step: String,
        /// The steps that there are.
        steps: String,
    },
    /// A paused pipeline takes nothing, replays neither.
    #[error("the pipeline `{0}` is paused; resume it first")]
    Paused(String),
    /// What was asked for was not finished: the pipeline changed or stopped.
    #[error("the pipeline changed or stopped before this was done; ask again")]
    Interrupted,
    /// Nothing can be read again.
    #[error(
        "the log `{log}` keeps the records of stream `{stream}` only until they are read, so there is nothing to go back to"
    )]
    NotReplayable {
        /// The log's name.
        log: &'static str,
        /// The stream.
        stream: Uid,
    },
    /// One stream cannot feed more.
    #[error("a stream feeds at most {} pipelines", crate::PIPELINES_PER_STREAM)]
    TooManyPipelines,
    /// What was in flight did not end in time.
    #[error("not everything was delivered within {} s; what was not is not settled", .0.as_secs_f64())]
    NotDrained(Duration),
    /// A function cannot be tried.
    #[error("step `{step}` cannot be opened: {error}")]
    Trial {
        /// The step.
        step: String,
        /// Why.
        error: CallError,
    },
    /// The flow was stopped.
    #[error("the flow has stopped")]
    Stopped,
    /// The log does not work.
    #[error(transparent)]
    Log(#[from] ferrule_transport::LogError),
}
