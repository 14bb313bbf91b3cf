//! A component takes the place of another in a step of a pipeline, and gives it back when it fails.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use super::step::Step;
use super::{Cancelled, Halt, close_all};
use crate::plan::StepPlan;
use crate::snapshot::StreamState;
use crate::takeover::{may_overlap, rolled_back};

impl Step {
    /// Takes the place of a step of the same name.
    pub(super) fn follow(&mut self, old: &mut Step) {
        let component = |plan: &StepPlan| plan.guest.component.clone();
        // What is known to work: with that the step goes on if it must.
        let proven = old.trial.as_ref().map_or(&old.plan, |(proven, _)| proven);
        if let Some(refused) = old.refused.take().filter(|refused| refused.guest == self.plan.guest) {
            self.run_with(&StepPlan { parallelism: self.plan.parallelism, ..(**proven).clone() });
            self.refused = Some(refused);
            return;
        }
        if component(proven) == component(&self.plan) {
            return;
        }
        let trial = old.trial.as_ref().filter(|_| component(&old.plan) == component(&self.plan));
        self.trial = Some((proven.clone(), trial.map(|(_, trial)| *trial).unwrap_or_default()));
        if may_overlap(&old.plan.guest, &self.plan.guest) {
            self.leaving = old.instances.iter_mut().filter_map(|instance| instance.guest.take()).collect();
        }
    }

    /// From now on this component runs.
    fn run_with(&mut self, plan: &StepPlan) {
        self.plan = Arc::new(plan.clone());
        self.routes = self.sinks.of(plan);
        for instance in &mut self.instances {
            instance.plan = self.plan.clone();
        }
    }

    /// Opens all instances.
    pub(super) async fn open(&mut self, cancel: &CancellationToken) -> Result<(), Cancelled> {
        self.shared.end_session();
        let mut place = 0;
        while let Some(instance) = self.instances.get_mut(place) {
            match instance.ready(cancel, self.trial.is_some()).await {
                Ok(()) => place += 1,
                Err(Halt::Cancelled) => return Err(Cancelled),
                Err(Halt::Failed(error)) => {
                    self.roll_back(0, &error.told()).await;
                    place = 0;
                }
            }
        }
        if self.refused.is_none() {
            self.shared.as_ordered();
        }
        close_all(&mut self.leaving).await;
        Ok(())
    }

    /// The component before goes on, in its open guests if they are still there.
    pub(super) async fn roll_back(&mut self, failures: u32, why: &str) {
        let Some((proven, _)) = self.trial.take() else { return };
        self.shared.rolled_back(rolled_back(&proven.guest, &self.plan.guest, failures, why));
        self.refused = Some(self.plan.clone());
        for instance in &mut self.instances {
            instance.close().await;
        }
        self.run_with(&StepPlan { parallelism: self.plan.parallelism, ..(*proven).clone() });
        for instance in &mut self.instances {
            instance.guest = self.leaving.pop();
        }
        if self.instances.iter().any(|instance| instance.guest.is_some()) {
            self.shared.set_component(self.plan.guest.component.artifact().digest());
            self.shared.set_state(StreamState::Running, "");
        }
    }
}
