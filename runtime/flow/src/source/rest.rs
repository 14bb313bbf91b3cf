//! What a session gave and is not in the log when it ends: what of it is given up, and that the rest is appended before the next
//! session opens.

use std::fmt::Display;

use ferrule_host::CallError;
use ferrule_model::Code;

use super::{Source, append};
use crate::snapshot::StreamState;

impl Source {
    /// The log does not take records, and waiting would not change it: the session is to end. Its records are not settled, and no
    /// position behind them is saved, so that an outside system that can gives them again.
    pub(super) fn refuse(&mut self, error: &dyn Display) {
        let message = format!("records were not taken in: {error}");
        if self.again {
            // A later position would pass them.
            self.gathered.clear();
        }
        self.refused = Some(CallError::Host { code: Code::Internal, message });
    }

    /// The session is over. What comes again is given up, because taking it in too would make two of each. What was given before a
    /// position is kept: an append under way may be done whoever waits for it, and the next session goes on behind it.
    pub(super) fn forget(&mut self) {
        if !self.again {
            return;
        }
        match self.gathered.iter().rposition(|intake| intake.position.is_some()) {
            Some(last) => self.gathered.truncate(last + 1),
            None => {
                self.gathered.clear();
                self.pending = self.pending.take().filter(|pending| pending.positioned);
            }
        }
    }

    /// Appends what an earlier session gave before its last position, so that the log knows where the next one goes on; `false` when
    /// the order, or who reads the stream, changed first.
    pub(super) async fn append_rest(&mut self) -> bool {
        let mut attached = self.acks.attached();
        while self.again && self.pending.is_some() {
            self.keeper.shared.set_state(StreamState::Opening, self.held_back_by());
            tokio::select! {
                receipt = append(&mut self.pending) => {
                    self.appended(receipt);
                    self.send();
                }
                _ = self.keeper.orders.changed() => return false,
                _ = attached.changed() => return false,
            }
        }
        true
    }
}
