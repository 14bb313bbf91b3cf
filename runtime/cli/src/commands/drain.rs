//! `ferrule drain`: stops intake and waits for what is in flight.

use std::time::Duration;

use clap::Args;
use ferrule_api::request::{ControlAction, DRAIN_DEADLINE};

use super::pause::Targets;
use crate::context::Context;
use crate::exit::Outcome;

/// Stops intake, waits until everything that was in flight has its outcome, and leaves the target paused.
#[derive(Debug, Args)]
pub(crate) struct Drain {
    #[command(flatten)]
    targets: Targets,
    /// Seconds to wait at most.
    #[arg(long, default_value_t = DRAIN_DEADLINE.as_secs(), value_name = "SECONDS")]
    deadline: u64,
}

impl Drain {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        let deadline = Duration::from_secs(self.deadline);
        self.targets.control(context, ControlAction::Drain { deadline }).await
    }
}
