//! The wake-up: how the host asks a guest to come back from the call it is in.

use tokio::sync::watch;
use tokio::time::Instant;
use wasmtime_wasi::p2::Pollable;

/// Asks the guest to return. Level-triggered: it stays asked until a call returns, also when it is asked between calls.
#[derive(Clone, Debug)]
pub struct WakeHandle(watch::Sender<Option<Instant>>);

impl WakeHandle {
    pub(crate) fn new() -> Self {
        Self(watch::Sender::new(None))
    }

    /// Asks the guest to return from the call it is in, or from its next one.
    pub fn wake(&self) {
        self.0.send_if_modified(|asked| {
            let first = asked.is_none();
            asked.get_or_insert_with(Instant::now);
            first
        });
    }

    /// Whether the guest was asked and has not returned yet.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// The call returned.
    pub(crate) fn clear(&self) {
        self.0.send_if_modified(|asked| asked.take().is_some());
    }

    /// Ready when the guest is asked to return.
    pub(crate) async fn asked(&self) {
        let mut receiver = self.0.subscribe();
        // It cannot fail: this handle keeps the sending half.
        let _ = receiver.wait_for(Option::is_some).await;
    }
}

/// The wake-up as a guest waits for it.
pub(crate) struct Wakeup(pub(crate) WakeHandle);

#[async_trait::async_trait]
impl Pollable for Wakeup {
    async fn ready(&mut self) {
        self.0.asked().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_stays_asked_until_it_is_cleared() {
        let wake = WakeHandle::new();
        wake.wake();
        wake.asked().await;
        wake.asked().await;
        assert!(wake.is_asked());
        wake.clear();
        assert!(!wake.is_asked());
    }
}
