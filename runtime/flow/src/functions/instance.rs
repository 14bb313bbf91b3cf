//! One instance of a function: opened however long it takes, and called until each record went through or is known to break it.

use std::ops::Range;
use std::sync::Arc;

use ferrule_host::{CallError, Observer, Session};
use ferrule_model::component::Direction;
use ferrule_model::record::{Batch, Rejection, Transformed};
use tokio_util::sync::CancellationToken;

use super::{Cancelled, Halt};
use crate::backoff::Backoff;
use crate::dead_letter::LetterCode;
use crate::guest::{Guest, Remedy, interruptible, remedy};
use crate::plan::StepPlan;
use crate::shared::Shared;
use crate::snapshot::StreamState;
use crate::takeover::counts;

/// Rows, what became of them, and why those were given up that are rejected.
pub(super) type Part = (Range<usize>, Transformed, LetterCode);

/// One instance of a function.
pub(super) struct Instance {
    pub(super) plan: Arc<StepPlan>,
    pub(super) name: String,
    pub(super) shared: Arc<Shared>,
    pub(super) guest: Option<Box<dyn Guest>>,
    pub(super) backoff: Backoff,
}

impl Instance {
    /// The guest, opened if need be, however long it takes. One on `trial` may fail at that.
    pub(super) async fn ready(&mut self, cancel: &CancellationToken, trial: bool) -> Result<(), Halt> {
        while self.guest.is_none() {
            self.shared.set_state(StreamState::Opening, "");
            match open(&self.plan, &self.name, &self.shared, cancel).await {
                Ok(guest) => {
                    self.shared.set_component(self.plan.guest.component.artifact().digest());
                    self.shared.set_memory(guest.memory_bytes());
                    self.guest = Some(guest);
                    self.shared.set_state(StreamState::Running, "");
                }
                Err(_) if cancel.is_cancelled() => return Err(Halt::Cancelled),
                Err(error) if trial && counts(&error) => return Err(Halt::Failed(error)),
                Err(error) => self.wait(&error, cancel).await?,
            }
        }
        if cancel.is_cancelled() { Err(Halt::Cancelled) } else { Ok(()) }
    }

    /// Waits before the next attempt; for ever if there is none to be made with this plan.
    async fn wait(&mut self, error: &CallError, cancel: &CancellationToken) -> Result<(), Cancelled> {
        self.shared.failed(error);
        self.shared.end_session();
        if remedy(error) == Remedy::StayDown {
            self.shared.set_state(StreamState::Failed, error.told());
            cancel.cancelled().await;
            return Err(Cancelled);
        }
        let wait = self.backoff.fail();
        self.shared.backing_off(self.backoff.failures(), wait);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = cancel.cancelled() => return Err(Cancelled),
        }
        self.shared.restarted();
        Ok(())
    }

    /// Takes a batch through the function. A call that fails for the records' sake is repeated with smaller parts, until the
    /// record that fails alone is found; that one is rejected. A component on `trial` is suspected itself, and not the records.
    pub(super) async fn apply(
        &mut self,
        records: &Batch,
        cancel: &CancellationToken,
        trial: bool,
    ) -> Result<Vec<Part>, Halt> {
        let mut parts = Vec::new();
        let mut open: Vec<(Range<usize>, u32)> = vec![(0..records.len(), 0)];
        while let Some((range, failures)) = open.pop() {
            self.ready(cancel, trial).await?;
            let Some(guest) = &mut self.guest else { continue };
            let slice = records.slice(range.clone());
            let waker = guest.waker();
            let answer = interruptible(guest.apply(&slice), &waker, cancel.cancelled()).await;
            let error = match answer {
                Ok(transformed) => {
                    if self.backoff.failures() > 0 {
                        self.shared.calm();
                    }
                    self.backoff.reset();
                    self.shared.set_memory(guest.memory_bytes());
                    self.shared.meter.add(slice.len() as u64, slice.size() as u64);
                    parts.push((range, transformed, LetterCode::Rejected));
                    continue;
                }
                Err(_) if cancel.is_cancelled() => return Err(Halt::Cancelled),
                Err(error) => error,
            };
            let about_records = remedy(&error) == Remedy::Suspect;
            if matches!(error, CallError::Guest(_) | CallError::Refused { .. }) {
                self.close().await;
            }
            self.guest = None;
            if trial && counts(&error) {
                self.shared.end_session();
                self.shared.restarted();
                return Err(Halt::Failed(error));
            }
            self.wait(&error, cancel).await?;
            match range.len() {
                _ if !about_records => open.push((range, failures)),
                1 if failures == 0 => open.push((range, 1)),
                1 => parts.push(poisonous(range, &error)),
                length => {
                    let middle = range.start + length / 2;
                    open.push((middle..range.end, failures + 1));
                    open.push((range.start..middle, failures + 1));
                }
            }
        }
        Ok(parts)
    }

    pub(super) async fn close(&mut self) {
        if let Some(mut guest) = self.guest.take() {
            if let Err(error) = guest.close().await {
                tracing::debug!(step = self.name, "the session did not close in an orderly way: {error}");
            }
            self.shared.end_session();
        }
    }
}

fn poisonous(row: Range<usize>, error: &CallError) -> Part {
    let code = match error {
        CallError::Malformed { .. } => LetterCode::Malformed,
        _ => LetterCode::Poison,
    };
    let reason = format!("poisonous: the function fails each time it is given this record alone: {error}");
    let rejected = Transformed { rejected: vec![Rejection { record_ref: 0, reason }], ..Transformed::default() };
    (row, rejected, code)
}

/// Opens a session of a function.
pub(crate) async fn open(
    plan: &StepPlan,
    name: &str,
    shared: &Arc<Shared>,
    cancel: &CancellationToken,
) -> Result<Box<dyn Guest>, CallError> {
    let observer: Arc<dyn Observer> = shared.clone();
    shared.set_limits(&plan.guest.limits);
    let mut guest = plan.guest.component.artifact().instantiate(name, &plan.guest, observer).await?;
    let session = Session {
        name: name.to_owned(),
        direction: Direction::Transform,
        static_parameters: plan.guest.static_parameters.clone(),
        config: plan.guest.config.clone(),
        parameters: plan.guest.parameters.clone(),
        position: None,
        properties: Vec::new(),
    };
    let waker = guest.waker();
    interruptible(guest.open(session), &waker, cancel.cancelled()).await?;
    Ok(guest)
}
