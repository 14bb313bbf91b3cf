//! Opening sessions of one stream, and opening them again: backoff, staying down, and swapping one component for another.

use std::sync::Arc;
use std::time::Duration;

use ferrule_host::{CallError, Configured, Observer, Session};
use tokio::sync::watch;

use crate::backoff::{Backoff, BackoffPolicy, Jitter};
use crate::guest::{Guest, Remedy, Waker, interruptible, remedy};
use crate::plan::{GuestPlan, StreamPlan};
use crate::shared::Shared;
use crate::snapshot::StreamState;

/// How long a session lives before its end counts as a new failure and not as one more.
const SETTLED: Duration = Duration::from_secs(60);

/// What a stream is to do now. Level-based: only the last order counts.
#[derive(Clone, Debug)]
pub(crate) struct Order {
    pub(crate) plan: Arc<StreamPlan>,
    /// Take nothing more in; what was taken is finished.
    pub(crate) draining: bool,
    /// How often draining was asked for: an answer to an earlier time is none.
    pub(crate) asked: u64,
    /// Close and end.
    pub(crate) stop: bool,
}

impl Order {
    pub(crate) fn held(&self) -> bool {
        self.plan.held || self.draining
    }
}

/// An open session.
pub(crate) struct Live {
    pub(crate) guest: Box<dyn Guest>,
    pub(crate) waker: Waker,
    pub(crate) replayable: bool,
    /// The plan that it was opened with.
    pub(crate) plan: Arc<StreamPlan>,
    opened: tokio::time::Instant,
}

/// What an order means for an open session.
pub(crate) enum Change {
    None,
    Configure,
    Reopen,
    Stop,
}

impl Live {
    pub(crate) fn change(&self, order: &Order) -> Change {
        if order.stop {
            Change::Stop
        } else if self.plan.guest == order.plan.guest {
            Change::None
        } else if self.plan.guest.differs_in_config_only(&order.plan.guest) {
            Change::Configure
        } else {
            Change::Reopen
        }
    }

    /// Gives the guest its new config; `true` if the session must be opened again for it.
    pub(crate) async fn configure(&mut self, plan: &Arc<StreamPlan>) -> Result<bool, CallError> {
        let configured = self.guest.configure(&plan.guest.config).await?;
        self.plan = plan.clone();
        Ok(configured == Configured::Reopen)
    }
}

/// How the wait for a session ended.
pub(crate) enum Opening {
    Open(Box<Live>),
    /// The order says stop, or whoever asked does not want the session any more.
    Unwanted,
}

/// Opens the sessions of one stream.
pub(crate) struct Keeper {
    pub(crate) shared: Arc<Shared>,
    pub(crate) orders: watch::Receiver<Order>,
    backoff: Backoff,
    wait: Option<Duration>,
    /// The plan of the last session that opened.
    proven: Option<Arc<StreamPlan>>,
    /// A plan whose component does not open; the proven one runs in its place.
    refused: Option<Arc<StreamPlan>>,
    /// The last session, or the last attempt at one, failed.
    broken: bool,
}

impl Keeper {
    pub(crate) fn new(shared: Arc<Shared>, orders: watch::Receiver<Order>, backoff: BackoffPolicy) -> Self {
        let backoff = Backoff::new(backoff, Jitter::for_name(shared.name()));
        Self { shared, orders, backoff, wait: None, proven: None, refused: None, broken: false }
    }

    pub(crate) fn order(&mut self) -> Order {
        self.orders.borrow_and_update().clone()
    }

    /// The plan to compare an open session with: the ordered one, unless that was tried and does not open.
    pub(crate) fn effective(&mut self) -> Order {
        let mut order = self.order();
        if let (Some(refused), Some(proven)) = (&self.refused, &self.proven) {
            if refused.guest == order.plan.guest {
                order.plan = Arc::new(StreamPlan { guest: proven.guest.clone(), ..(*order.plan).clone() });
            } else {
                self.refused = None;
            }
        }
        order
    }

    /// Records did what they should: the next failure is the first again.
    pub(crate) fn worked(&mut self) {
        self.backoff.reset();
    }

    /// A session ended with an error.
    pub(crate) fn failed(&mut self, live: &Live, error: &CallError) {
        self.shared.failed(error);
        if live.opened.elapsed() > SETTLED {
            self.backoff.reset();
        }
        self.wait_for(error);
    }

    fn wait_for(&mut self, error: &CallError) {
        self.broken = true;
        if remedy(error) == Remedy::StayDown {
            self.wait = None;
            self.shared.set_state(StreamState::Failed, error.told());
            // The stream stays down until another plan comes.
            self.refused = Some(self.orders.borrow().plan.clone());
            self.proven = None;
        } else {
            self.wait = Some(self.backoff.fail());
        }
    }

    /// Opens a session, however long it takes, while `wanted` stays pending.
    pub(crate) async fn open(&mut self, position: Option<Vec<u8>>, wanted: impl Future<Output = ()>) -> Opening {
        let mut unwanted = std::pin::pin!(wanted);
        loop {
            let order = self.effective();
            if order.stop {
                return Opening::Unwanted;
            }
            if self.proven.is_none() && self.refused.as_ref().is_some_and(|refused| refused.guest == order.plan.guest) {
                tokio::select! {
                    changed = self.orders.changed() => if changed.is_err() { return Opening::Unwanted },
                    () = &mut unwanted => return Opening::Unwanted,
                }
                continue;
            }
            self.refused = self.refused.take().filter(|_| self.proven.is_some());
            if let Some(wait) = self.wait.take() {
                let detail = format!("next attempt in {:.1} s", wait.as_secs_f64());
                self.shared.set_state(StreamState::BackingOff, detail);
                let sleep = tokio::time::sleep(wait);
                tokio::select! {
                    () = sleep => {}
                    // A new order deserves an attempt at once.
                    changed = self.orders.changed() => if changed.is_err() { return Opening::Unwanted },
                    () = &mut unwanted => return Opening::Unwanted,
                }
                continue;
            }
            if std::mem::take(&mut self.broken) {
                self.shared.restarted();
            }
            self.shared.set_state(StreamState::Opening, "");
            let attempt = attempt(&self.shared, &order.plan, position.clone());
            let mut orders = self.orders.clone();
            let interrupt = async {
                tokio::select! {
                    _ = orders.changed() => {}
                    () = &mut unwanted => {}
                }
            };
            match attempt.run(interrupt).await {
                Ok(live) => {
                    self.proven = Some(order.plan.clone());
                    self.shared.set_component(order.plan.guest.component.artifact().digest());
                    return Opening::Open(Box::new(live));
                }
                // Interrupted because something else is wanted: no failure of the guest's.
                Err(_) if self.orders.has_changed().unwrap_or(true) => {}
                Err(error) => self.not_opened(&order.plan, &error),
            }
        }
    }

    fn not_opened(&mut self, plan: &Arc<StreamPlan>, error: &CallError) {
        let swapped = self.proven.as_ref().filter(|proven| proven.guest.component != plan.guest.component);
        if let Some(proven) = swapped
            && remedy(error) != Remedy::Reopen
        {
            let (new, old) = (plan.guest.component.artifact().digest(), proven.guest.component.artifact().digest());
            self.shared.error(format!("the component {new} does not open, so {old} goes on: {}", error.told()));
            self.refused = Some(plan.clone());
            self.wait = None;
            return;
        }
        self.shared.failed(error);
        self.wait_for(error);
    }
}

struct Attempt<'a> {
    shared: &'a Arc<Shared>,
    plan: &'a Arc<StreamPlan>,
    position: Option<Vec<u8>>,
}

fn attempt<'a>(shared: &'a Arc<Shared>, plan: &'a Arc<StreamPlan>, position: Option<Vec<u8>>) -> Attempt<'a> {
    Attempt { shared, plan, position }
}

impl Attempt<'_> {
    async fn run(self, interrupt: impl Future<Output = ()>) -> Result<Live, CallError> {
        let observer: Arc<dyn Observer> = self.shared.clone();
        let plan: &GuestPlan = &self.plan.guest;
        let mut guest = plan.component.artifact().instantiate(&self.plan.name, plan, observer).await?;
        let session = Session {
            name: self.plan.name.clone(),
            direction: self.plan.direction,
            static_parameters: plan.static_parameters.clone(),
            config: plan.config.clone(),
            parameters: plan.parameters.clone(),
            position: self.position,
            properties: Vec::new(),
        };
        let waker = guest.waker();
        let opened = interruptible(guest.open(session), &waker, interrupt).await?;
        self.shared.set_memory(guest.memory_bytes());
        Ok(Live {
            guest,
            waker,
            replayable: opened.replayable,
            plan: self.plan.clone(),
            opened: tokio::time::Instant::now(),
        })
    }
}

/// Closes a session in an orderly way; how that ends makes no difference any more.
pub(crate) async fn close(shared: &Shared, mut live: Box<Live>) {
    if let Err(error) = live.guest.close().await {
        tracing::debug!(stream = shared.name(), "the session did not close in an orderly way: {error}");
    }
    shared.end_session();
}
