//! When a component has taken the place of another: until it is known to work, what counts against it, and when it gives the place
//! back.
//!
//! A new component is on trial from its opening until its first batch went well: a source gave records, a function brought one record
//! through or filtered it, a sink delivered one. Until then nothing that it gives up is given up.

use ferrule_host::CallError;

use crate::guest::{Remedy, remedy};
use crate::plan::GuestPlan;
use crate::snapshot::RolledBack;

/// Batches that a component which took the place of another may fail one after the other, from its opening on; with the last of
/// them the old one goes on. In force for sources, functions and sinks; documented in `docs/guarantees.md`.
pub const TRIAL: u32 = 3;

/// Whether the error counts against the component. That the world outside does not answer, or does not let us in, says nothing of it.
pub(crate) fn counts(error: &CallError) -> bool {
    matches!(error, CallError::Refused { .. }) || remedy(error) != Remedy::Reopen
}

/// What is held against a new component so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Trial {
    failures: u32,
}

impl Trial {
    /// A batch failed: how many that makes, if it was one too many.
    pub(crate) fn failed(&mut self) -> Option<u32> {
        self.failures += 1;
        (self.failures >= TRIAL).then_some(self.failures)
    }

    /// How many batches it failed, when it is not given another one.
    pub(crate) fn hopeless(&self) -> u32 {
        self.failures + 1
    }
}

/// Whether a session with `new` may be open while one with `old` is: only if both components say so.
pub(crate) fn may_overlap(old: &GuestPlan, new: &GuestPlan) -> bool {
    [old, new].iter().all(|plan| plan.component.artifact().description().flag("overlap"))
}

/// What is to be said when `new` gave its place back to `old` after it failed so many batches; none: it did not open.
pub(crate) fn rolled_back(old: &GuestPlan, new: &GuestPlan, failures: u32, why: &str) -> RolledBack {
    let what = match failures {
        0 => "does not open".to_owned(),
        1 => "failed its first batch".to_owned(),
        _ => format!("failed its first {failures} batches"),
    };
    RolledBack {
        refused: new.component.artifact().digest().to_owned(),
        running: old.component.artifact().digest().to_owned(),
        opened: failures > 0,
        message: format!("the component {} {what}, so {} goes on: {why}", named(new), named(old)),
    }
}

/// The version and the digest of a component.
fn named(plan: &GuestPlan) -> String {
    let artifact = plan.component.artifact();
    let description = artifact.description();
    match description.version.as_str() {
        "" => artifact.digest().to_owned(),
        version => format!("{} {version} ({})", description.name, artifact.digest()),
    }
}

#[cfg(test)]
mod tests {
    use ferrule_host::GuestErrorKind;

    use super::*;
    use crate::fakes::{guest_error, trap};

    #[test]
    fn what_the_world_outside_does_is_not_held_against_a_component() {
        assert!(counts(&trap()));
        for (kind, held) in [
            (GuestErrorKind::Failed, true),
            (GuestErrorKind::Invalid, true),
            (GuestErrorKind::Unavailable, false),
            (GuestErrorKind::Denied, false),
        ] {
            assert_eq!(counts(&guest_error(kind)), held, "{kind:?}");
        }
    }

    #[test]
    fn the_last_failure_of_so_many_is_one_too_many() {
        let mut trial = Trial::default();
        let failed: Vec<Option<u32>> = (0..TRIAL).map(|_| trial.failed()).collect();
        assert_eq!(failed, [None, None, Some(3)]);
    }
}
