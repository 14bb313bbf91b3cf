//! The phases in which the runtime is killed, as a table, and the seeded order in which a run visits them.

use crate::random::Random;
use anyhow::{Result, bail};
use std::collections::BTreeMap;
use std::time::Duration;

/// A phase of the runtime's life.
#[derive(Debug)]
pub(crate) struct Phase {
    /// What it is called on the command line and in the report.
    pub(crate) name: &'static str,
    /// What the oracle waits for and does before the time of the kill is drawn.
    pub(crate) reach: Reach,
    /// The kill falls at random within this time. Where the oracle learns how long the phase takes (a start, a drain, an order), it
    /// uses that.
    pub(crate) within: Duration,
}

/// How a phase is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// The process was started.
    Spawned,
    /// It said that it is ready.
    Ready,
    /// Records pass through it.
    Flowing,
    /// Records are on their way through it: accepted upstream, and not out yet.
    Busy,
    /// Records pass, and then it is told something.
    Told(Order),
    /// Records pass, and then it writes a line with these words to its log.
    Logged(&'static str),
    /// Records are on their way, and the server of the log is killed before the runtime is.
    Log,
}

/// What a running server is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// SIGTERM: it drains and ends.
    Stop,
    /// `ferrule apply` of changed documents.
    Apply,
    /// `ferrule register --replace` of another build of a component.
    Swap,
}

/// Every phase.
pub(crate) static PHASES: [Phase; 9] = [
    Phase { name: "start", reach: Reach::Spawned, within: Duration::from_secs(5) },
    Phase { name: "opening", reach: Reach::Ready, within: Duration::from_millis(500) },
    Phase { name: "running", reach: Reach::Flowing, within: Duration::from_millis(1500) },
    Phase { name: "busy", reach: Reach::Busy, within: Duration::from_millis(5) },
    Phase { name: "drain", reach: Reach::Told(Order::Stop), within: Duration::from_millis(30) },
    Phase { name: "apply", reach: Reach::Told(Order::Apply), within: Duration::from_millis(400) },
    Phase { name: "swap", reach: Reach::Told(Order::Swap), within: Duration::from_millis(700) },
    Phase { name: "nats", reach: Reach::Log, within: Duration::from_millis(200) },
    Phase { name: "compaction", reach: Reach::Logged("compaction began"), within: Duration::from_millis(20) },
];

/// The phase of this name.
pub(crate) fn named(name: &str) -> Result<&'static Phase> {
    let Some(phase) = PHASES.iter().find(|phase| phase.name == name) else {
        let names: Vec<&str> = PHASES.iter().map(|phase| phase.name).collect();
        bail!("there is no phase {name:?}; there are: {}", names.join(", "));
    };
    Ok(phase)
}

/// The kills of a run.
#[derive(Debug)]
pub(crate) struct Schedule {
    phases: Vec<&'static Phase>,
    random: Random,
    bag: Vec<&'static Phase>,
    /// How often in a row a kill missed its phase.
    missed: u32,
}

/// A phase that is missed so often in a row is left for its next turn.
const MISSES: u32 = 3;

impl Schedule {
    /// Visits these phases, each as often as the others, in an order that the seed gives.
    pub(crate) fn new(phases: &[&'static Phase], seed: u64) -> Schedule {
        Schedule { phases: phases.to_vec(), random: Random::new(seed, "kills"), bag: Vec::new(), missed: 0 }
    }

    /// The next kill.
    pub(crate) fn next(&mut self) -> Option<Kill> {
        if self.bag.is_empty() {
            self.bag.clone_from(&self.phases);
            for place in (1..self.bag.len()).rev() {
                let other = usize::try_from(self.random.below(place as u64 + 1)).unwrap_or(0);
                self.bag.swap(place, other);
            }
        }
        let phase = self.bag.pop()?;
        Some(self.next_in(phase))
    }

    /// Tells in which phase the kill fell; one that missed its phase is planned again.
    pub(crate) fn fell(&mut self, planned: &'static Phase, phase: Option<&'static str>) {
        if phase == Some(planned.name) || self.missed >= MISSES {
            self.missed = 0;
        } else {
            self.missed += 1;
            self.bag.push(planned);
        }
    }

    /// The next kill, in this phase.
    pub(crate) fn next_in(&mut self, phase: &'static Phase) -> Kill {
        Kill { phase, at: Fraction::of(&mut self.random), before: Fraction::of(&mut self.random) }
    }
}

/// One kill to come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kill {
    pub(crate) phase: &'static Phase,
    /// Where in the phase's time it falls.
    pub(crate) at: Fraction,
    /// How much of a short while passes before the server is told something.
    pub(crate) before: Fraction,
}

/// A random share of a time, in parts of 2^16.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fraction(u32);

impl Fraction {
    fn of(random: &mut Random) -> Fraction {
        Fraction(u32::try_from(random.below(1 << 16)).unwrap_or(0))
    }

    /// This share of a time.
    pub(crate) fn share(self, time: Duration) -> Duration {
        time.mul_f64(f64::from(self.0) / 65536.0)
    }

    /// One of so many ways.
    pub(crate) fn pick(self, ways: u32) -> u32 {
        self.0 % ways.max(1)
    }
}

/// Kills by the phase in which they really fell.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally(BTreeMap<&'static str, u64>);

impl Tally {
    /// One more.
    pub(crate) fn add(&mut self, phase: &'static str) {
        *self.0.entry(phase).or_default() += 1;
    }

    /// All of them.
    pub(crate) fn total(&self) -> u64 {
        self.0.values().sum()
    }

    /// By phase, in the order of the table.
    pub(crate) fn by_phase(&self) -> impl Iterator<Item = (&'static str, u64)> {
        PHASES.iter().filter_map(|phase| Some((phase.name, *self.0.get(phase.name)?)))
    }

    /// Whether there is to be another kill: so many, and at most as many again while a requested phase has none.
    pub(crate) fn wants(&self, kills: u64, requested: &[&'static Phase]) -> bool {
        let most = if self.missing(requested).is_empty() { kills } else { 2 * kills };
        self.total() < most
    }

    /// The requested phases without a kill.
    pub(crate) fn missing(&self, requested: &[&'static Phase]) -> Vec<&'static str> {
        requested.iter().map(|phase| phase.name).filter(|name| !self.0.contains_key(name)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::{PHASES, Schedule, Tally, named};

    #[test]
    fn a_seed_gives_its_order_again_and_every_phase_its_turn() {
        let phases: Vec<_> = PHASES.iter().collect();
        let order = |seed| {
            let mut schedule = Schedule::new(&phases, seed);
            (0..18).filter_map(|_| schedule.next()).map(|kill| (kill.phase.name, kill.at)).collect::<Vec<_>>()
        };
        assert_eq!(order(3), order(3));
        assert_ne!(order(3), order(4));
        let (first, second) = (order(3)[..9].to_vec(), order(3)[9..].to_vec());
        for half in [first, second] {
            let mut names: Vec<_> = half.iter().map(|(name, _)| *name).collect();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), PHASES.len());
        }
    }

    #[test]
    fn a_phase_without_a_kill_is_named() {
        let mut tally = Tally::default();
        tally.add("running");
        tally.add("running");
        let requested = [named("running").unwrap(), named("drain").unwrap()];
        assert_eq!(tally.missing(&requested), ["drain"]);
        assert_eq!(tally.total(), 2);
        assert!(tally.wants(2, &requested) && !tally.wants(1, &requested));
        tally.add("drain");
        assert!(tally.wants(4, &requested) && !tally.wants(3, &requested));
        assert!(named("lunch").unwrap_err().to_string().contains("start, opening, running"));
    }
}
