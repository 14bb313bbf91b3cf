//! One call into a guest: its time measured, its deadline and its share of the processor kept, and whatever ends it told as what
//! it is.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use ferrule_model::Code;
use tokio::time::Sleep;
use wasmtime::{Store, StoreContextMut, UpdateDeadline};

use crate::engine::TICK;
use crate::error::{CallError, Spent};
use crate::guest::Guest;
use crate::limits::{self, Breach, Limit, Limits};
use crate::observer::Observer;
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

/// The computing time that a session has left before it is parked: it fills with time, and computing takes from it.
#[derive(Debug)]
struct Budget {
    percent: u32,
    /// Whether each call begins with all of it.
    anew: bool,
    /// In nanoseconds; below zero when more was taken than there was.
    left: i64,
    at: Instant,
}

impl Budget {
    fn new(limits: &Limits) -> Self {
        let percent = limits.cpu_percent.unwrap_or(limits::CPU_PERCENT).max(1);
        Self { percent, anew: limits.cpu_percent.is_none(), left: FULL, at: Instant::now() }
    }

    /// So much was computed, up to now.
    fn take(&mut self, spent: Duration, now: Instant) {
        let filled = nanoseconds(now.saturating_duration_since(self.at)) / 100 * i64::from(self.percent);
        self.left = self.left.saturating_add(filled).min(FULL).saturating_sub(nanoseconds(spent));
        self.at = now;
    }

    /// How long to park, if nothing is left.
    fn rest(&self) -> Option<Duration> {
        let missing = u64::try_from(self.left.checked_neg()?).ok().filter(|missing| *missing > 0)?;
        Some(Duration::from_nanos(missing.saturating_mul(100) / u64::from(self.percent)))
    }
}

/// A whole budget.
const FULL: i64 = limits::BURST.as_nanos() as i64;

fn nanoseconds(time: Duration) -> i64 {
    i64::try_from(time.as_nanos()).unwrap_or(i64::MAX)
}

/// What bounds a call.
pub(crate) struct Bounds {
    clock: Arc<CallClock>,
    wake: WakeHandle,
    observer: Arc<dyn Observer>,
    limits: Limits,
    budget: Budget,
}

/// A call that goes on only when the session has computing time left.
struct Parked<'a> {
    sleep: Option<Pin<Box<Sleep>>>,
    /// How long it was parked in all, in nanoseconds.
    time: &'a AtomicU64,
}

impl Parked<'_> {
    fn begin(&mut self, rest: Duration) {
        self.time.fetch_add(u64::try_from(rest.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.sleep = Some(Box::pin(tokio::time::sleep(rest)));
    }

    fn is_over(&mut self, context: &mut Context<'_>) -> bool {
        if let Some(sleep) = &mut self.sleep {
            if sleep.as_mut().poll(context).is_pending() {
                return false;
            }
            self.sleep = None;
        }
        true
    }
}

impl Bounds {
    pub(crate) fn new(clock: Arc<CallClock>, wake: WakeHandle, observer: Arc<dyn Observer>, limits: &Limits) -> Self {
        Self { clock, wake, observer, limits: limits.clone(), budget: Budget::new(limits) }
    }

    pub(crate) fn limit(&self, spent: Spent) -> Duration {
        match spent {
            Spent::Computing => self.limits.call_time,
            Spent::Waiting => self.limits.wait,
        }
    }

    /// Runs a call within its bounds. Only the time that it is polled counts as computing: two looks at the clock for each time.
    pub(crate) async fn run<R>(
        &mut self,
        patience: Patience,
        call: impl Future<Output = wasmtime::Result<R>>,
    ) -> Result<R, Ended> {
        let Self { clock, wake, observer, limits, budget } = self;
        let time_parked = AtomicU64::new(0);
        let mut parked = Parked { sleep: None, time: &time_parked };
        let mut call = pin!(call);
        let mut overdue = pin!(overdue(patience, wake, limits.wait, &time_parked));
        let (mut computed, mut slowed) = (Duration::ZERO, false);
        if budget.anew {
            budget.left = FULL;
        } else if let Some(rest) = budget.rest() {
            parked.begin(rest);
            slowed = true;
        }
        let answer = poll_fn(|context| {
            if parked.is_over(context) {
                let begun = clock.begin();
                let answer = call.as_mut().poll(context);
                let now = Instant::now();
                let spent = now.saturating_duration_since(begun);
                computed += spent;
                budget.take(spent, now);
                if let Poll::Ready(answer) = answer {
                    return Poll::Ready(answer.map_err(Ended::Engine));
                }
                if computed > limits.call_time {
                    return Poll::Ready(Err(Ended::TimedOut(Spent::Computing)));
                }
                if let Some(rest) = budget.rest() {
                    parked.begin(rest);
                    // Asks to be woken, or is over already.
                    if parked.is_over(context) {
                        context.waker().wake_by_ref();
                    }
                    slowed = true;
                }
            }
            overdue.as_mut().poll(context).map(|()| Err(Ended::TimedOut(Spent::Waiting)))
        })
        .await;
        if slowed {
            observer.limited(&limits.breach(Limit::Cpu), 1);
        }
        observer.called(computed);
        answer
    }
}

/// Ready when a call has waited for longer than it may. The time that it was parked is given on top.
async fn overdue(patience: Patience, wake: &WakeHandle, wait: Duration, parked: &AtomicU64) {
    if patience == Patience::UntilWoken {
        wake.asked().await;
    }
    let mut given = parked.load(Ordering::Relaxed);
    let mut until = tokio::time::Instant::now() + wait;
    loop {
        tokio::time::sleep_until(until).await;
        let now = parked.load(Ordering::Relaxed);
        if now == given {
            return;
        }
        until += Duration::from_nanos(now - given);
        given = now;
    }
}

/// What a call's end means for whoever made it.
pub(crate) fn explain(call: &'static str, ended: Ended, bounds: &Bounds, guest: &mut Guest) -> CallError {
    let error = match ended {
        Ended::TimedOut(spent) => return CallError::TimedOut { call, spent, limit: bounds.limit(spent) },
        Ended::Engine(error) => error,
    };
    let last_words = guest.log.last_words();
    if let Some(breach) = guest.growth.take_refusal() {
        return CallError::Limit(breach);
    }
    if error.is::<wasmtime::PoolConcurrencyLimitError>() {
        let message = "no more instances fit into the dense engine; raise the server's number of instances".to_owned();
        return CallError::Host { code: Code::LimitReached, message };
    }
    let root = error.root_cause().to_string();
    if let Some(limit) = reached(&root) {
        return CallError::Limit(bounds.limits.breach(limit));
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

/// The limit that the engine's words are about, where it has no type for it.
fn reached(words: &str) -> Option<Limit> {
    if words.contains("hostcall fuel") || words.contains("fuel allocated for hostcalls") {
        Some(Limit::AnswerBytes)
    } else if words == "resource table has no free keys" || words.contains("table is full") {
        Some(Limit::Handles)
    } else if words.contains("count too high at") || words.contains("core instances count of") {
        Some(Limit::Instances)
    } else {
        None
    }
}

impl From<Breach> for CallError {
    fn from(breach: Breach) -> Self {
        Self::Limit(breach)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_computes_without_end_gets_the_share_and_no_more() {
        let mut budget = Budget::new(&Limits { cpu_percent: Some(25), ..Limits::default() });
        let (begun, mut now, mut computed) = (budget.at, budget.at, Duration::ZERO);
        for _ in 0..1_000 {
            now += TICK;
            computed += TICK;
            budget.take(TICK, now);
            now += budget.rest().unwrap_or_default();
        }
        let share = (computed - limits::BURST).as_secs_f64() / now.duration_since(begun).as_secs_f64();
        assert!((0.24..0.26).contains(&share), "{share}");
    }

    #[test]
    fn whoever_rests_has_a_burst_again_and_not_more() {
        let mut budget = Budget::new(&Limits { cpu_percent: Some(10), ..Limits::default() });
        let hour = budget.at + Duration::from_secs(3_600);
        budget.take(Duration::ZERO, hour);
        assert_eq!((budget.left, budget.rest()), (FULL, None));
        budget.take(limits::BURST + TICK, hour);
        assert_eq!(budget.rest(), Some(TICK * 10));
    }
}
