//! Lives of the runtime: each is started, brought into a phase, and killed there.

use crate::phase::{Kill, Order, Reach, Tally, named};
use crate::runtime::Runtime;
use anyhow::{Result, bail};
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// How long records may take to pass through a server that is ready.
const PATIENCE: Duration = Duration::from_secs(60);

/// The reconciler carries out a change after the command was answered: for so long a kill still counts as one during the change.
const SETTLING: Duration = Duration::from_millis(100);

/// Before a server is told something it runs for a while of at most this.
const WHILE: Duration = Duration::from_millis(300);

/// A function that makes the next order of a kind: a command that really changes something.
type Orders = Box<dyn FnMut(&Runtime, Order) -> Result<Command> + Send>;

/// A count that the oracle can read at any time.
type Count = Box<dyn Fn() -> u64 + Send + Sync>;

/// So many records under way make a server busy.
const BUSY: u64 = 20;

/// Kills, and counts what it did.
pub(crate) struct Killer {
    pub(crate) runtime: Runtime,
    /// Records that left the runtime so far, seen from outside.
    passed: Count,
    /// Records on their way: accepted upstream and not out, seen from outside.
    under_way: Count,
    orders: Orders,
    /// What the last start took.
    start: Duration,
    /// How long it took then until a record passed.
    opening: Duration,
    /// About how long a drain takes.
    drain: Duration,
    /// What the last complete order of each kind took: apply, swap.
    took: [Option<Duration>; 2],
    pub(crate) tally: Tally,
    /// Kills of a server that was ready, through which records may have passed.
    ready_kills: u64,
    /// Orders that were begun, and those that were answered before the kill.
    pub(crate) begun: u64,
    pub(crate) answered: u64,
}

impl Killer {
    /// `passed` counts what left the runtime, `under_way` what has still to; `orders` makes commands.
    pub(crate) fn new(runtime: Runtime, passed: Count, under_way: Count, orders: Orders) -> Killer {
        let [start, opening, drain] = ["start", "opening", "drain"].map(named_time);
        let (took, tally, ready_kills, begun, answered) = ([None; 2], Tally::default(), 0, 0, 0);
        Killer { runtime, passed, under_way, orders, start, opening, drain, took, tally, ready_kills, begun, answered }
    }

    /// Starts the runtime and waits until it is ready.
    pub(crate) async fn start(&mut self) -> Result<()> {
        self.runtime.spawn().await?;
        self.start = self.runtime.ready().await?;
        Ok(())
    }

    /// Waits until records pass.
    pub(crate) async fn flowing(&mut self) -> Result<()> {
        let (before, begun) = ((self.passed)(), Instant::now());
        while (self.passed)() <= before {
            self.runtime.check()?;
            if begun.elapsed() > PATIENCE {
                bail!("the server is ready, and no record passed within {PATIENCE:?}");
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        self.opening = begun.elapsed().max(Duration::from_millis(1));
        Ok(())
    }

    /// Waits until many records are under way.
    pub(crate) async fn busy(&mut self) -> Result<()> {
        let begun = Instant::now();
        while (self.under_way)() < BUSY {
            self.runtime.check()?;
            if begun.elapsed() > PATIENCE {
                bail!("there were never {BUSY} records under way");
            }
            tokio::time::sleep(Duration::from_micros(500)).await;
        }
        Ok(())
    }

    /// One life, from the start to the kill, which is counted in the phase in which it really fell; no phase if it ended before.
    pub(crate) async fn life(&mut self, kill: Kill) -> Result<Option<&'static str>> {
        let before = (self.passed)();
        let mut order = None;
        let delay = match kill.phase.reach {
            Reach::Spawned => {
                self.runtime.spawn().await?;
                kill.at.share(self.start.min(kill.phase.within))
            }
            Reach::Ready => {
                self.start().await?;
                kill.at.share(self.opening)
            }
            Reach::Flowing => {
                self.start().await?;
                self.flowing().await?;
                kill.at.share(kill.phase.within)
            }
            Reach::Busy => {
                self.start().await?;
                self.flowing().await?;
                tokio::time::sleep(kill.before.share(WHILE)).await;
                self.busy().await?;
                kill.at.share(kill.phase.within)
            }
            Reach::Logged(words) => {
                self.start().await?;
                self.runtime.logged(words).await?;
                kill.at.share(kill.phase.within)
            }
            Reach::Log => bail!("only a scenario with a server for its log can kill that"),
            Reach::Told(what) => {
                self.start().await?;
                self.flowing().await?;
                tokio::time::sleep(kill.before.share(WHILE)).await;
                let within = self.expected(what).unwrap_or(kill.phase.within);
                order = Some(self.tell(what).await?);
                kill.at.share(within)
            }
        };
        self.pass(delay, order.as_mut()).await?;
        let (flowed, under_way) = ((self.passed)() > before, (self.under_way)());
        let stopping = order.as_ref().is_some_and(|told| told.what == Order::Stop);
        if !stopping {
            self.runtime.check()?;
        }
        let ended = self.runtime.kill().await?;
        if !ended.killed() {
            // It had drained and ended: no kill, and the next one comes sooner.
            self.drain /= 2;
            anyhow::ensure!(stopping && ended.status.success(), "the server ended by itself: {}", ended.status);
            return Ok(None);
        }
        let in_order = order.as_ref().is_some_and(|told| told.answered.is_none_or(|at| at.elapsed() < SETTLING));
        let phase = match order.as_ref().map(|told| told.what) {
            Some(Order::Stop) => {
                self.drain = self.drain.mul_f64(1.3);
                "drain"
            }
            Some(Order::Apply) if in_order => "apply",
            Some(Order::Swap) if in_order => "swap",
            _ if ended.seen.ready.is_none() => "start",
            _ if !flowed => "opening",
            _ => match kill.phase.reach {
                Reach::Logged(words) if ended.seen.marks.contains(&words) => kill.phase.name,
                _ if under_way >= BUSY => "busy",
                _ => "running",
            },
        };
        if kill.phase.reach == Reach::Spawned && phase != "start" {
            self.start /= 2;
        }
        if kill.phase.reach == Reach::Ready && phase != "opening" {
            self.opening /= 2;
        }
        self.ready_kills += u64::from(ended.seen.ready.is_some());
        self.tally.add(phase);
        Ok(Some(phase))
    }

    /// Kills a server through which records pass.
    pub(crate) async fn running(&mut self) -> Result<()> {
        self.runtime.check()?;
        let busy = (self.under_way)() >= BUSY;
        self.runtime.kill().await?;
        self.ready_kills += 1;
        self.tally.add(if busy { "busy" } else { "running" });
        Ok(())
    }

    /// How often a pipeline through which records may have passed was cut off, by a kill or by an order.
    pub(crate) fn cuts(&self) -> u64 {
        self.ready_kills + self.begun
    }

    /// Gives an order and waits for its answer, without a kill.
    pub(crate) async fn order(&mut self, what: Order) -> Result<()> {
        let mut told = self.tell(what).await?;
        let begun = Instant::now();
        while told.answered.is_none() {
            self.runtime.check()?;
            anyhow::ensure!(begun.elapsed() < PATIENCE, "an order was not answered within {PATIENCE:?}");
            self.pass(Duration::from_millis(20), Some(&mut told)).await?;
        }
        Ok(())
    }

    fn expected(&self, what: Order) -> Option<Duration> {
        match what {
            Order::Stop => Some(self.drain),
            Order::Apply => self.took[0].map(|took| took + SETTLING),
            Order::Swap => self.took[1].map(|took| took + SETTLING),
        }
    }

    async fn tell(&mut self, what: Order) -> Result<Told> {
        if what == Order::Stop {
            self.runtime.terminate().await?;
            return Ok(Told { what, begun: Instant::now(), command: None, answered: None });
        }
        self.begun += 1;
        let mut command = (self.orders)(&self.runtime, what)?;
        let command = Some(command.stdout(std::process::Stdio::null()).stderr(std::process::Stdio::piped()).spawn()?);
        Ok(Told { what, begun: Instant::now(), command, answered: None })
    }

    /// Lets time pass, and notes when the command is answered.
    async fn pass(&mut self, delay: Duration, order: Option<&mut Told>) -> Result<()> {
        let over = tokio::time::sleep(delay);
        let Some(Told { what, begun, command: Some(command), answered: answered @ None }) = order else {
            over.await;
            return Ok(());
        };
        tokio::pin!(over);
        tokio::select! {
            () = &mut over => return Ok(()),
            status = command.wait() => {
                let status = status?;
                if !status.success() {
                    let mut said = String::new();
                    if let Some(mut stderr) = command.stderr.take() {
                        tokio::io::AsyncReadExt::read_to_string(&mut stderr, &mut said).await.ok();
                    }
                    bail!("{what:?} was refused by a running server ({status}): {said}");
                }
                *answered = Some(Instant::now());
                self.answered += 1;
                self.took[usize::from(*what == Order::Swap)] = Some(begun.elapsed());
            }
        }
        over.await;
        Ok(())
    }
}

/// An order that was given.
struct Told {
    what: Order,
    begun: Instant,
    command: Option<Child>,
    answered: Option<Instant>,
}

fn named_time(phase: &str) -> Duration {
    named(phase).map(|phase| phase.within).unwrap_or_default()
}
