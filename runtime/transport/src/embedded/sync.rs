//! The thread that makes what is written survive the end of the machine: one sync answers every batch that was written by then.

use super::state::Shared;

/// Syncs until the log ends.
pub(super) fn run(shared: &Shared) {
    loop {
        {
            let mut core = shared.lock();
            while core.wanted <= core.synced || core.sync_failed.is_some() {
                if core.ending {
                    return;
                }
                core = shared.unsynced.wait(core).unwrap_or_else(std::sync::PoisonError::into_inner);
            }
        }
        step(shared);
    }
}

/// One sync, if somebody wants one.
pub(super) fn step(shared: &Shared) -> bool {
    let _turn = shared.sync_turn();
    let (file, spot) = {
        let core = shared.lock();
        if core.wanted <= core.synced || core.sync_failed.is_some() {
            return false;
        }
        let Some(segment) = core.segments.get(&core.written.segment) else { return false };
        (segment.file.clone(), core.written)
    };
    let result = file.sync();
    let now = shared.now();
    let mut core = shared.lock();
    match result {
        Ok(()) => core.synced_to(spot, now),
        Err(error) => core.sync_failed = Some(error.to_string()),
    }
    drop(core);
    shared.work.notify_one();
    true
}
