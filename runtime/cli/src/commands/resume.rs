//! `ferrule resume`: ends a pause.

use clap::Args;
use ferrule_api::request::ControlAction;

use super::pause::Targets;
use crate::context::Context;
use crate::exit::Outcome;

/// Lets paused or drained streams or pipelines go on.
#[derive(Debug, Args)]
pub(crate) struct Resume {
    #[command(flatten)]
    targets: Targets,
}

impl Resume {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        self.targets.control(context, ControlAction::Resume).await
    }
}
