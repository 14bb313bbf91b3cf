//! What others hold of the running control part.

use std::sync::{Arc, Mutex, PoisonError};

use ferrule_store::Version;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The running control part. Clones are the same one; it ends by [`Control::stop`], not by being dropped.
#[derive(Debug, Clone)]
pub struct Control {
    pub(crate) reconciled: watch::Receiver<Version>,
    pub(crate) stop: CancellationToken,
    pub(crate) task: Arc<Mutex<Option<JoinHandle<()>>>>,
}

/// The control part has stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the control part has stopped")]
pub struct Stopped;

impl Control {
    /// Waits until everything up to `version` of the store was resolved, applied, and its conditions written.
    pub async fn reconciled(&self, version: Version) -> Result<(), Stopped> {
        let mut reconciled = self.reconciled.clone();
        reconciled.wait_for(|done| *done >= version).await.map(drop).map_err(|_| Stopped)
    }

    /// Up to which version of the store everything is done.
    pub fn version(&self) -> Version {
        *self.reconciled.borrow()
    }

    /// Stops following the store, and waits until that is so. What runs goes on running.
    pub async fn stop(&self) {
        self.stop.cancel();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the control part ended badly");
        }
    }
}
