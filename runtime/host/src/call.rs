//! One call into a guest: its time measured, its deadline kept, and whatever ends it told as what it is.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use ferrule_model::Code;
use wasmtime::{Store, StoreContextMut, UpdateDeadline};

use crate::engine::TICK;
use crate::error::{CallError, Spent};
use crate::guest::Guest;
use crate::limits::Limits;
use crate::wake::WakeHandle;

/// When the host last began to poll a guest. The engine's clock ticks while a guest waits, so a guest that comes back from
/// waiting finds its deadline passed; this tells that it has not computed yet and need not give way.
#[derive(Debug)]
pub(crate) struct CallClock {
    base: Instant,
    polled: AtomicU64,
}

impl CallClock {
    fn new() -> Self {
        Self { base: Instant::now(), polled: AtomicU64::new(0) }
    }

    fn begin(&self) -> Instant {
        let now = Instant::now();
        let nanoseconds = u64::try_from(now.duration_since(self.base).as_nanos()).unwrap_or(u64::MAX);
        self.polled.store(nanoseconds, Ordering::Relaxed);
        now
    }

    fn computing(&self) -> Duration {
        self.base.elapsed().saturating_sub(Duration::from_nanos(self.polled.load(Ordering::Relaxed)))
    }
}

/// Makes guests of this store give way once they have computed for a tick.
pub(crate) fn give_way(store: &mut Store<Guest>) -> Arc<CallClock> {
    let clock = Arc::new(CallClock::new());
    let watched = clock.clone();
    store.epoch_deadline_callback(move |_: StoreContextMut<'_, Guest>| {
        Ok(if watched.computing() < TICK { UpdateDeadline::Continue(1) } else { UpdateDeadline::Yield(1) })
    });
    clock
}

/// Whether a call may wait for the outside world.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// It waits until the wake-up, and then at most the limit.
    UntilWoken,
    /// It has nothing to wait for: the limit runs from its start.
    Prompt,
}

/// Why a call was ended from outside, or how the engine ended it.
pub(crate) enum Ended {
    TimedOut(Spent),
    Engine(wasmtime::Error),
}

/// What bounds a call.
pub(crate) struct Bounds {
    clock: Arc<CallClock>,
    wake: WakeHandle,
    call_time: Duration,
    wait: Duration,
}

impl Bounds {
    pub(crate) fn new(clock: Arc<CallClock>, wake: WakeHandle, limits: &Limits) -> Self {
        Self { clock, wake, call_time: limits.call_time, wait: limits.wait }
    }

    pub(crate) fn limit(&self, spent: Spent) -> Duration {
        match spent {
            Spent::Computing => self.call_time,
            Spent::Waiting => self.wait,
        }
    }

    /// Runs a call within its bounds. Only the time that it is polled counts as computing.
    pub(crate) async fn run<R>(
        &self,
        patience: Patience,
        call: impl Future<Output = wasmtime::Result<R>>,
    ) -> Result<R, Ended> {
        let mut call = pin!(call);
        let mut overdue = pin!(async {
            match patience {
                Patience::UntilWoken => self.wake.overdue(self.wait).await,
                Patience::Prompt => tokio::time::sleep(self.wait).await,
            }
        });
        let mut computed = Duration::ZERO;
        poll_fn(|context| {
            let begun = self.clock.begin();
            if let Poll::Ready(answer) = call.as_mut().poll(context) {
                return Poll::Ready(answer.map_err(Ended::Engine));
            }
            computed += begun.elapsed();
            if computed > self.call_time {
                return Poll::Ready(Err(Ended::TimedOut(Spent::Computing)));
            }
            overdue.as_mut().poll(context).map(|()| Err(Ended::TimedOut(Spent::Waiting)))
        })
        .await
    }
}

/// What a call's end means for whoever made it.
pub(crate) fn explain(call: &'static str, ended: Ended, bounds: &Bounds, guest: &mut Guest) -> CallError {
    let error = match ended {
        Ended::TimedOut(spent) => return CallError::TimedOut { call, spent, limit: bounds.limit(spent) },
        Ended::Engine(error) => error,
    };
    let last_words = guest.log.last_words();
    if let Some(limit) = guest.memory.take_refusal() {
        return limit;
    }
    if error.is::<wasmtime::PoolConcurrencyLimitError>() {
        let message = "no more instances fit into the dense engine; raise the server's number of instances".to_owned();
        return CallError::Host { code: Code::LimitReached, message };
    }
    let root = error.root_cause().to_string();
    if root.contains("hostcall fuel") || root.contains("fuel allocated for hostcalls") {
        return CallError::Malformed { call, problem: "the answer is larger than the host takes".to_owned() };
    }
    if root == "resource table has no free keys" || root.contains("table is full") {
        return CallError::Limit { which: "open handles", value: "see the limit".to_owned(), field: "limits.handles" };
    }
    let mut reason = match error.downcast_ref::<wasmtime::Trap>() {
        Some(wasmtime::Trap::UnreachableCodeReached) => "it ended itself (a panic or an abort)".to_owned(),
        Some(trap) => trap.to_string(),
        None => root,
    };
    if let Some(words) = last_words {
        reason.push_str("; its last words: ");
        reason.push_str(&words);
    }
    CallError::Trap { call, reason }
}
