//! Opening sessions of one stream, and opening them again: backoff, staying down, and putting one component in the place of
//! another. What a new component must show is in `takeover`.

use std::sync::Arc;
use std::time::Duration;

use ferrule_host::{CallError, Configured, Observer, Session};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::backoff::{Backoff, BackoffPolicy, Jitter};
use crate::guest::{Guest, Remedy, Waker, interruptible, remedy};
use crate::plan::{ComponentRef, GuestPlan, StreamPlan};
use crate::shared::Shared;
use crate::snapshot::StreamState;
use crate::takeover::{Trial, counts, may_overlap, rolled_back};

/// How long a session lives before its end counts as a new failure and not as one more.
const SETTLED: Duration = Duration::from_secs(60);

/// How long a session that is to make place for another may take to finish what is under way.
pub(crate) const TURN: Duration = Duration::from_secs(2);

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

/// A session that is being opened while another one is open. Dropped, it is opened no further.
pub(crate) struct Beside {
    pub(crate) plan: Arc<StreamPlan>,
    task: JoinHandle<Result<Live, CallError>>,
    opened: Option<Result<Live, CallError>>,
}

impl Beside {
    /// Waits until it is open, or does not open. A dropped call has missed nothing.
    pub(crate) async fn ready(&mut self) {
        if self.opened.is_none() {
            let opened = (&mut self.task).await;
            self.opened = Some(opened.unwrap_or_else(|_| Err(CallError::Gone("open".into()))));
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.opened.is_some()
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Waits for a session that is being opened; for ever when there is none.
pub(crate) async fn ready(beside: &mut Option<Beside>) {
    match beside {
        Some(beside) => beside.ready().await,
        None => std::future::pending().await,
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
    /// The plan of the last session whose component is known to work, or that none was before.
    proven: Option<Arc<StreamPlan>>,
    /// A plan whose component does not open, or fails; the proven one runs in its place.
    refused: Option<Arc<StreamPlan>>,
    /// The component that took the place of the proven one, and is not known to work yet.
    trial: Option<(ComponentRef, Trial)>,
    /// The last session, or the last attempt at one, failed.
    broken: bool,
}

impl Keeper {
    pub(crate) fn new(shared: Arc<Shared>, orders: watch::Receiver<Order>, backoff: BackoffPolicy) -> Self {
        let backoff = Backoff::new(backoff, Jitter::for_name(shared.name()));
        Self { shared, orders, backoff, wait: None, proven: None, refused: None, trial: None, broken: false }
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
                self.shared.as_ordered();
            }
        }
        order
    }

    /// Whether this plan was tried and is not to run.
    pub(crate) fn refuses(&self, plan: &StreamPlan) -> bool {
        self.refused.as_ref().is_some_and(|refused| refused.guest == plan.guest)
    }

    /// Whether the component took the place of another one and has not shown yet that it works.
    pub(crate) fn on_trial(&self, plan: &StreamPlan) -> bool {
        self.trial.as_ref().is_some_and(|(component, _)| *component == plan.guest.component)
    }

    /// Records did what they should: the next failure is the first again.
    pub(crate) fn calm(&mut self) {
        if self.backoff.failures() > 0 {
            self.shared.calm();
        }
        self.backoff.reset();
    }

    /// An open session has taken over the config of this plan.
    pub(crate) fn configured(&mut self, plan: &Arc<StreamPlan>) {
        if let Some(proven) = self.proven.as_mut().filter(|proven| proven.guest.component == plan.guest.component) {
            *proven = plan.clone();
        }
    }

    /// A batch went well with this plan.
    pub(crate) fn worked(&mut self, plan: &Arc<StreamPlan>) {
        self.calm();
        self.proved(plan);
    }

    /// The component of this plan does what it should.
    pub(crate) fn proved(&mut self, plan: &Arc<StreamPlan>) {
        if self.on_trial(plan) {
            self.proven = Some(plan.clone());
            self.trial = None;
        }
    }

    /// A batch failed. If the component is on trial and that was one batch too many, the proven one is to go on: `true`.
    pub(crate) fn stumbled(&mut self, plan: &Arc<StreamPlan>, why: &str) -> bool {
        let Some((_, trial)) = self.trial.as_mut().filter(|(component, _)| *component == plan.guest.component) else {
            return false;
        };
        match trial.failed() {
            Some(failures) => self.roll_back(plan, failures, why),
            None => false,
        }
    }

    fn roll_back(&mut self, plan: &Arc<StreamPlan>, failures: u32, why: &str) -> bool {
        let Some(proven) = &self.proven else { return false };
        self.shared.rolled_back(rolled_back(&proven.guest, &plan.guest, failures, why));
        self.refused = Some(plan.clone());
        self.trial = None;
        self.wait = None;
        true
    }

    /// A session ended with an error.
    pub(crate) fn failed(&mut self, live: &Live, error: &CallError) {
        if counts(error) && self.on_trial(&live.plan) {
            let hopeless = self.trial.as_ref().filter(|_| remedy(error) == Remedy::StayDown);
            let rolled_back = match hopeless.map(|(_, trial)| trial.hopeless()) {
                Some(failures) => self.roll_back(&live.plan, failures, &error.told()),
                None => self.stumbled(&live.plan, &error.told()),
            };
            if rolled_back {
                self.broken = true;
                return;
            }
        }
        self.shared.failed(error);
        if live.opened.elapsed() > SETTLED {
            self.calm();
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
            self.trial = None;
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
                self.shared.backing_off(self.backoff.failures(), wait);
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
                    self.opened(&order.plan);
                    return Opening::Open(Box::new(live));
                }
                // Interrupted because something else is wanted: no failure of the guest's.
                Err(_) if self.orders.has_changed().unwrap_or(true) => {}
                Err(error) => self.not_opened(&order.plan, &error),
            }
        }
    }

    fn opened(&mut self, plan: &Arc<StreamPlan>) {
        let component = &plan.guest.component;
        match &self.proven {
            Some(proven) if proven.guest.component != *component => {
                if !self.on_trial(plan) {
                    self.trial = Some((component.clone(), Trial::default()));
                }
            }
            _ => {
                self.proven = Some(plan.clone());
                self.trial = None;
            }
        }
        self.shared.set_component(component.artifact().digest());
        if self.refused.is_none() {
            self.shared.as_ordered();
        }
    }

    fn not_opened(&mut self, plan: &Arc<StreamPlan>, error: &CallError) {
        if !self.turned_away(plan, error) {
            self.shared.failed(error);
            self.wait_for(error);
        }
    }

    /// Rolls back if the plan's component is new and cannot be opened.
    fn turned_away(&mut self, plan: &Arc<StreamPlan>, error: &CallError) -> bool {
        let new = self.proven.as_ref().is_some_and(|proven| proven.guest.component != plan.guest.component);
        new && counts(error) && self.roll_back(plan, 0, &error.told())
    }

    /// The plan of the component that is to take the place of that of an open session, if both may be open at once.
    pub(crate) fn follows(&self, open: &StreamPlan, order: &Order) -> Option<Arc<StreamPlan>> {
        let (old, new) = (&open.guest, &order.plan.guest);
        let follows = old.component != new.component && !self.refuses(open) && may_overlap(old, new);
        follows.then(|| order.plan.clone())
    }

    /// Begins to open a session with this plan while another one is open; after a failed attempt not at once.
    pub(crate) fn beside(&mut self, plan: Arc<StreamPlan>, position: Option<Vec<u8>>) -> Beside {
        let (shared, wait) = (self.shared.clone(), self.wait.take().unwrap_or_default());
        let task = tokio::spawn({
            let plan = plan.clone();
            async move {
                tokio::time::sleep(wait).await;
                attempt(&shared, &plan, position).run(std::future::pending()).await
            }
        });
        Beside { plan, task, opened: None }
    }

    /// What became of a session that was opened beside another one: it, or none, and then how long to wait before the next attempt
    /// unless the old one goes on for good.
    pub(crate) fn take_over(&mut self, mut beside: Beside) -> Result<Box<Live>, Option<Duration>> {
        match beside.opened.take() {
            Some(Ok(live)) => {
                self.opened(&live.plan);
                Ok(Box::new(live))
            }
            Some(Err(error)) if self.turned_away(&beside.plan, &error) => Err(None),
            Some(Err(error)) => {
                self.shared.failed(&error);
                self.wait = Some(self.backoff.fail());
                Err(self.wait)
            }
            None => Err(Some(Duration::ZERO)),
        }
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
        self.shared.set_limits(&plan.limits);
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
