//! Another component takes over a source: what the old one gave is made safe first, so that the new one goes on at its position.

use tokio::time::Instant;

use super::Source;
use crate::plan::StreamPlan;
use crate::session::{Beside, Order, TURN, ready};

/// A new component is to take over: nothing more is taken from the old one, so that the position stays what the new one is given.
pub(super) struct Turn {
    /// When what the old one gave is not waited for any longer.
    limit: Instant,
    beside: Option<Beside>,
    /// How much had come when it began to open.
    taken: u64,
}

impl Source {
    /// Brings the session nearer to its end, because another one is to take its place; `true`: it is to be closed now.
    pub(super) async fn turn_over(&mut self, open: &StreamPlan, order: &Order) -> bool {
        if open.guest.component == order.plan.guest.component {
            return true;
        }
        let now = Instant::now();
        if self.turn_after.is_some_and(|after| now < after) {
            return false;
        }
        let limit = now + TURN;
        let turn = self.turn.get_or_insert_with(|| Turn { limit, beside: None, taken: 0 });
        let late = now >= turn.limit;
        if turn.beside.as_ref().is_some_and(|beside| beside.plan.guest != order.plan.guest || turn.taken != self.taken)
        {
            // It was opened for something else, or with a position that is none any more.
            turn.beside = None;
        }
        if let Some(beside) = turn.beside.take_if(|beside| beside.is_ready()) {
            return match self.keeper.take_over(beside) {
                Ok(next) => {
                    self.next = Some(next);
                    true
                }
                Err(again) => {
                    self.turn = None;
                    self.turn_after = again.map(|wait| now + wait);
                    false
                }
            };
        }
        if turn.beside.is_some() {
            return false;
        }
        let settled = *self.acks.pending().borrow() == 0;
        let Some(plan) = self.keeper.follows(open, order).filter(|_| self.is_idle()) else {
            // It is closed first, when what it gave is safe or after a while.
            return late || settled && self.is_idle();
        };
        if !late && !settled {
            return false;
        }
        let Some(position) = self.recall().await else { return false };
        let beside = self.keeper.beside(plan, position);
        if let Some(turn) = &mut self.turn {
            (turn.beside, turn.taken) = (Some(beside), self.taken);
        }
        false
    }
}

/// Waits until there is something to do about a component that is to take over.
pub(super) async fn turned(turn: &mut Option<Turn>, after: Option<Instant>) {
    let until = match turn {
        Some(Turn { beside: beside @ Some(_), .. }) => return ready(beside).await,
        Some(turn) => Some(turn.limit),
        None => after,
    };
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}
