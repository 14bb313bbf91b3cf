//! A queue that can be waited for without taking from it.

use std::collections::VecDeque;

use tokio::sync::mpsc::UnboundedReceiver;

/// The receiving end of a queue.
#[derive(Debug)]
pub(crate) struct Inbox<T> {
    receiver: UnboundedReceiver<T>,
    waiting: VecDeque<T>,
    closed: bool,
}

impl<T> Inbox<T> {
    pub(crate) fn new(receiver: UnboundedReceiver<T>) -> Self {
        Self { receiver, waiting: VecDeque::new(), closed: false }
    }

    /// Takes the first, if there is one.
    pub(crate) fn pop(&mut self) -> Option<T> {
        self.waiting.pop_front().or_else(|| self.receiver.try_recv().ok())
    }

    /// Waits until there is one. A dropped call has taken nothing.
    pub(crate) async fn arrived(&mut self) {
        if !self.waiting.is_empty() {
            return;
        }
        if self.closed {
            return std::future::pending().await;
        }
        match self.receiver.recv().await {
            Some(item) => self.waiting.push_back(item),
            None => {
                self.closed = true;
                std::future::pending().await
            }
        }
    }
}
