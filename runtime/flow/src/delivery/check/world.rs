//! A small world around the real core: sources, sinks and time, and a plain account of what is promised, which every step is
//! held against.

use std::collections::BTreeSet;
use std::hash::{Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use super::super::{Blame, Delivery, Done, KeyOrder, Outcome, Policy, Verdict, WriteRun};
use super::fingerprint;
use crate::backoff::Jitter;
use crate::progress::Progress;

/// The unit of time in a world.
pub(super) const TICK: Duration = Duration::from_secs(1);

/// An output of an input: its sink, its key (0: none), its size.
pub(super) type Output = (usize, u8, usize);

/// What there is in a world, and what may happen in it.
#[derive(Clone, Debug)]
pub(super) struct Setup {
    pub(super) name: &'static str,
    pub(super) sinks: usize,
    /// For each input what comes of it.
    pub(super) inputs: Vec<Vec<Output>>,
    /// The policy at first, and others that may take its place.
    pub(super) policies: Vec<Policy>,
    /// Ids that break the sink that is given them. With any, nothing else breaks a sink.
    pub(super) poison: BTreeSet<u64>,
    /// Whether sinks postpone, and for how long; none: as the policy's backoff says.
    pub(super) retries: Vec<Option<u32>>,
    pub(super) rejects: bool,
    /// Whether sessions are lost.
    pub(super) losses: bool,
    /// Whether they break without poison.
    pub(super) crashes: bool,
    /// Whether time goes by unasked; else it does when nothing else can happen.
    pub(super) ticks: bool,
    pub(super) flushes: bool,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            name: "",
            sinks: 1,
            inputs: Vec::new(),
            policies: Vec::new(),
            poison: BTreeSet::new(),
            retries: Vec::new(),
            rejects: false,
            losses: false,
            crashes: false,
            ticks: true,
            flushes: false,
        }
    }
}

/// Something that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The next input is taken, and what comes of it is offered.
    Offer,
    Write(usize),
    Deliver(u64),
    /// All that is in flight to a sink, by range.
    DeliverAll(usize),
    Retry(u64, Option<u32>),
    Reject(u64),
    Lost {
        sink: usize,
        ids: Vec<u64>,
        blame: Blame,
    },
    Expire,
    Tick,
    Policy(usize),
    Flush(bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Place {
    Waiting,
    Flying,
    Done,
}

/// What is promised of one record.
#[derive(Clone, Debug)]
struct Account {
    sink: usize,
    key: u8,
    size: usize,
    input: usize,
    offered: Duration,
    place: Place,
    /// A sink asked not to see it before.
    until: Duration,
    retries: u32,
    /// When the sink first put it off.
    postponed: Option<Duration>,
}

/// The core, and what it is held against.
#[derive(Clone)]
pub(super) struct World {
    pub(super) setup: Arc<Setup>,
    pub(super) now: Duration,
    pub(super) delivery: Delivery,
    progress: Progress,
    policy: usize,
    flushing: bool,
    taken: usize,
    accounts: Vec<Account>,
    completed: Vec<bool>,
}

/// What is broken.
pub(super) type Breach = String;

macro_rules! hold {
    ($condition:expr, $($said:tt)*) => {
        if !$condition {
            return Err(format!($($said)*));
        }
    };
}

impl World {
    pub(super) fn new(setup: &Arc<Setup>) -> Self {
        Self {
            setup: setup.clone(),
            now: TICK * 1_000,
            delivery: Delivery::new(setup.policies[0].clone(), setup.sinks, 0, Jitter::new(1)),
            progress: Progress::starting_at(0),
            policy: 0,
            flushing: false,
            taken: 0,
            accounts: Vec::new(),
            completed: vec![false; setup.inputs.len()],
        }
    }

    fn policy(&self) -> &Policy {
        &self.setup.policies[self.policy]
    }

    pub(super) fn is_done(&self) -> bool {
        self.taken == self.setup.inputs.len() && self.accounts.iter().all(|account| account.place == Place::Done)
    }

    pub(super) fn may_offer(&self) -> bool {
        self.taken < self.setup.inputs.len()
    }

    pub(super) fn flying(&self, sink: usize) -> Vec<u64> {
        let flies = |account: &Account| account.sink == sink && account.place == Place::Flying;
        (0..).zip(&self.accounts).filter(|(_, account)| flies(account)).map(|(id, _)| id).collect()
    }

    /// What tells this state from others.
    pub(super) fn fingerprint(&self) -> u128 {
        let oldest = (self.setup.policies.iter())
            .map(|policy| policy.linger.max(policy.age.unwrap_or_default()))
            .max()
            .unwrap_or_default();
        let half = |seed: u64| {
            let mut hasher = std::hash::DefaultHasher::new();
            seed.hash(&mut hasher);
            fingerprint::hash(&self.delivery, self.now, oldest, &mut hasher);
            self.progress.hash_state(&mut hasher);
            (self.policy, self.flushing, self.taken).hash(&mut hasher);
            for account in &self.accounts {
                (account.place, account.until.saturating_sub(self.now)).hash(&mut hasher);
            }
            hasher.finish()
        };
        u128::from(half(1)) << 64 | u128::from(half(2))
    }

    /// What can happen now.
    pub(super) fn events(&self) -> Vec<Event> {
        let setup = &self.setup;
        let mut events = Vec::new();
        if self.may_offer() {
            events.push(Event::Offer);
        }
        for sink in 0..setup.sinks {
            events.push(Event::Write(sink));
            let flying = self.flying(sink);
            let (poison, sound): (Vec<u64>, Vec<u64>) = flying.iter().partition(|id| setup.poison.contains(id));
            for &id in &sound {
                events.push(Event::Deliver(id));
                events.extend(setup.retries.iter().map(|after| Event::Retry(id, *after)));
                if setup.rejects {
                    events.push(Event::Reject(id));
                }
            }
            if sound.len() > 1 && poison.is_empty() {
                events.push(Event::DeliverAll(sink));
            }
            if !poison.is_empty() {
                events.push(Event::Lost { sink, ids: flying.clone(), blame: Blame::Sole });
                events.push(Event::Lost { sink, ids: flying.clone(), blame: Blame::Shared });
            }
            // A session ends in pieces: what was being written, and the rest. Any part may come first.
            let parts = if setup.losses || setup.crashes { 1_u32 << flying.len().min(6) } else { 0 };
            for part in 1..parts {
                let ids: Vec<u64> =
                    (0..).zip(&flying).filter(|(bit, _)| part >> bit & 1 == 1).map(|(_, id)| *id).collect();
                if setup.crashes && setup.poison.is_empty() {
                    let blame = if ids == flying { Blame::Sole } else { Blame::Shared };
                    events.push(Event::Lost { sink, ids: ids.clone(), blame });
                }
                if setup.losses {
                    events.push(Event::Lost { sink, ids, blame: Blame::None });
                }
            }
        }
        if self.policy().age.is_some() {
            events.push(Event::Expire);
        }
        if setup.ticks {
            events.push(Event::Tick);
        }
        events.extend((0..setup.policies.len()).filter(|index| *index != self.policy).map(Event::Policy));
        if setup.flushes {
            events.push(Event::Flush(!self.flushing));
        }
        events
    }

    /// Lets something happen, and holds what the core does against the account.
    pub(super) fn step(&mut self, event: &Event) -> Result<(), Breach> {
        match event {
            Event::Offer => self.offer()?,
            Event::Write(sink) => self.write(*sink).map(drop)?,
            Event::Deliver(id) => self.answer(*id, Outcome::Delivered)?,
            Event::DeliverAll(sink) => self.deliver_all(*sink)?,
            Event::Retry(id, after) => {
                let after = after.map(|ticks| TICK * ticks);
                self.answer(*id, Outcome::Retry { after, reason: "busy".into() })?;
            }
            Event::Reject(id) => self.answer(*id, Outcome::Rejected { reason: "no".into() })?,
            Event::Lost { sink, ids, blame } => self.lose(*sink, ids, *blame)?,
            Event::Expire => self.expire()?,
            Event::Tick => self.now += TICK,
            Event::Policy(index) => {
                self.policy = *index;
                self.delivery.set_policy(self.policy().clone());
            }
            Event::Flush(flushing) => {
                self.flushing = *flushing;
                self.delivery.set_flushing(*flushing);
            }
        }
        self.audit()
    }

    fn offer(&mut self) -> Result<(), Breach> {
        let input = self.taken;
        let outputs = self.setup.inputs[input].clone();
        self.taken += 1;
        self.progress.take(input as u64, 1);
        // Neighbours for one sink in bulk, like the pipeline does.
        for outputs in outputs.chunk_by(|one, other| one.0 == other.0) {
            let keys: Vec<Vec<u8>> =
                outputs.iter().map(|(_, key, _)| if *key == 0 { Vec::new() } else { vec![*key] }).collect();
            let first = self.accounts.len() as u64;
            let count = outputs.len();
            let ids = if count == 1 {
                let id = self.delivery.offer(self.now, outputs[0].0, &keys[0], outputs[0].2);
                id..id + 1
            } else {
                self.delivery.offer_all(self.now, outputs[0].0, count, |index| &keys[index], |index| outputs[index].2)
            };
            hold!(ids == (first..first + count as u64), "ids {ids:?} were given instead of {first} and so on");
            for &(sink, key, size) in outputs {
                let (offered, place, until) = (self.now, Place::Waiting, Duration::ZERO);
                let (retries, postponed) = (0, None);
                self.accounts.push(Account { sink, key, size, input, offered, place, until, retries, postponed });
                self.progress.add(input as u64);
            }
        }
        self.progress.done(input as u64);
        Ok(())
    }

    pub(super) fn write(&mut self, sink: usize) -> Result<Vec<u64>, Breach> {
        let before = self.flying(sink);
        let runs = self.delivery.next_runs(self.now, sink);
        let ids: Vec<u64> = runs.iter().flat_map(|WriteRun { ids, .. }| ids.clone()).collect();
        let policy = self.policy().clone();
        let sizes = |ids: &[u64]| -> Vec<usize> {
            ids.iter().map(|id| self.accounts[*id as usize].size).filter(|size| *size > 0).collect()
        };
        let (behind, written) = (sizes(&before), sizes(&ids));
        hold!(ids.len() <= policy.batch_records, "{ids:?} are more than a batch");
        hold!(
            ids.is_empty() || before.len() + ids.len() <= policy.window,
            "{ids:?} behind {before:?} exceed the window"
        );
        // One record is never too large, however small the bounds. Those without bytes add none to a window that became smaller.
        let bytes: usize = behind.iter().chain(&written).sum();
        let lone = behind.len() + written.len() == 1;
        let room = written.is_empty() || lone || bytes <= policy.window_bytes;
        hold!(room, "{ids:?} behind {before:?} are {bytes} bytes in flight");
        let bytes: usize = written.iter().sum();
        hold!(written.len() < 2 || bytes <= policy.batch_bytes, "{ids:?} are {bytes} bytes in a batch");
        for (position, id) in ids.iter().enumerate() {
            let account = &self.accounts[*id as usize];
            hold!(account.sink == sink, "{id} is written to sink {sink}");
            hold!(account.place == Place::Waiting, "{id} is written while it is {:?}", account.place);
            hold!(account.until <= self.now, "{id} is written {:?} too early", account.until - self.now);
            for (earlier, other) in (0..*id).zip(&self.accounts) {
                if account.key == 0 || other.key != account.key || other.sink != sink {
                    continue;
                }
                let together = ids[..position].contains(&earlier);
                let settled = match (other.place, policy.key_order) {
                    (Place::Done, _) => true,
                    (Place::Waiting, KeyOrder::OneWrite | KeyOrder::Pipelined) => together,
                    (Place::Flying, KeyOrder::Pipelined) => true,
                    _ => false,
                };
                hold!(settled, "{id} is written while {earlier} of the same key is {:?}", other.place);
            }
            if policy.key_order == KeyOrder::OneRecord && account.key != 0 {
                let same = |other: &&u64| {
                    let other = &self.accounts[**other as usize];
                    other.key == account.key && other.place != Place::Done
                };
                let alone = !before.iter().chain(&ids[..position]).any(|other| same(&other));
                hold!(alone, "{id} is written with others of its key in flight");
            }
        }
        for id in &ids {
            self.accounts[*id as usize].place = Place::Flying;
        }
        Ok(ids)
    }

    fn answer(&mut self, id: u64, outcome: Outcome) -> Result<(), Breach> {
        let done = self.delivery.outcome(self.now, id, outcome.clone());
        let policy = self.policy().clone();
        let now = self.now;
        let account = &mut self.accounts[id as usize];
        if let Outcome::Retry { after, .. } = &outcome {
            account.retries += 1;
            account.postponed.get_or_insert(now);
            let least = after.unwrap_or(policy.backoff.first.min(policy.backoff.longest) / 16);
            let spent = policy.attempts.is_some_and(|limit| account.retries >= limit)
                || policy.age.is_some_and(|age| now >= account.offered + age);
            hold!(spent == done.is_some(), "{id} after {} retries: {done:?}", account.retries);
            if !spent {
                account.place = Place::Waiting;
                account.until = now + least;
            }
        } else {
            hold!(done.is_some(), "{id} is answered for and not done");
        }
        let delivered = outcome == Outcome::Delivered;
        if let Some(done) = done {
            hold!(done.id == id, "{id} is answered for, and {} is done", done.id);
            hold!((done.verdict == Verdict::Delivered) == delivered, "{id}: {outcome:?} became {:?}", done.verdict);
            self.finish(&done)?;
        }
        let again = self.delivery.outcome(self.now, id, Outcome::Delivered);
        hold!(again.is_none(), "{id} is answered for twice, and it counts");
        Ok(())
    }

    fn deliver_all(&mut self, sink: usize) -> Result<(), Breach> {
        for neighbours in self.flying(sink).chunk_by(|one, next| one + 1 == *next) {
            let ids = neighbours[0]..neighbours[0] + neighbours.len() as u64;
            let runs = self.delivery.delivered(ids);
            let done: Vec<u64> = runs.iter().flat_map(|run| run.ids.clone()).collect();
            hold!(done == neighbours, "{neighbours:?} are delivered, and {done:?} are done");
            for run in runs {
                for id in run.ids {
                    let verdict = Verdict::Delivered;
                    self.finish(&Done { id, sink: run.sink, verdict, attempts: run.attempts })?;
                }
            }
        }
        Ok(())
    }

    pub(super) fn lose(&mut self, sink: usize, ids: &[u64], blame: Blame) -> Result<(), Breach> {
        let done = self.delivery.lost(self.now, sink, ids, blame);
        for id in ids {
            self.accounts[*id as usize].place = Place::Waiting;
        }
        for done in done {
            hold!(blame == Blame::Sole && ids == [done.id], "{} is given up for a loss of {ids:?}", done.id);
            let guilty = self.setup.poison.is_empty() || self.setup.poison.contains(&done.id);
            hold!(guilty, "{} is given up for poison", done.id);
            hold!(done.verdict != Verdict::Delivered, "{} is lost and counts as delivered", done.id);
            self.finish(&done)?;
        }
        Ok(())
    }

    pub(super) fn expire(&mut self) -> Result<(), Breach> {
        let done = self.delivery.expire(self.now);
        let age = self.policy().age;
        for done in done {
            let account = &self.accounts[done.id as usize];
            hold!(account.place == Place::Waiting, "{} grows too old while it is {:?}", done.id, account.place);
            let old = age.is_some_and(|age| account.offered + age <= self.now);
            hold!(old, "{} is given up before its time", done.id);
            self.finish(&done)?;
        }
        let late = self.accounts.iter().find(|account| {
            account.place == Place::Waiting && age.is_some_and(|age| account.offered + age <= self.now)
        });
        hold!(late.is_none(), "{late:?} is too old and goes on");
        Ok(())
    }

    fn finish(&mut self, done: &Done) -> Result<(), Breach> {
        let account = &mut self.accounts[done.id as usize];
        hold!(account.sink == done.sink, "{} is done by sink {}", done.id, done.sink);
        hold!(account.place != Place::Done, "{} is done twice", done.id);
        account.place = Place::Done;
        self.progress.done(account.input as u64);
        Ok(())
    }

    /// What must be true of every state.
    fn audit(&mut self) -> Result<(), Breach> {
        let open = self.accounts.iter().filter(|account| account.place != Place::Done).count();
        hold!(self.delivery.open() == open, "{} records are open instead of {open}", self.delivery.open());
        let mut places = vec![Vec::new(); self.accounts.len()];
        for (sink, outlet) in self.delivery.outlets.iter().enumerate() {
            let held = outlet.lanes.lanes.values().map(|lane| (&lane.held, Place::Waiting));
            let others = [&outlet.fresh, &outlet.again].map(|runs| (runs, Place::Waiting));
            let flying = std::iter::once((&outlet.flying, Place::Flying));
            for (runs, place) in held.chain(others).chain(flying) {
                for id in runs.iter().flat_map(|run| run.ids.clone()) {
                    hold!(self.accounts[id as usize].sink == sink, "{id} is with sink {sink}");
                    places[id as usize].push(place);
                }
            }
        }
        for (id, (places, account)) in places.iter().zip(&self.accounts).enumerate() {
            let expected: &[Place] = if account.place == Place::Done { &[] } else { &[account.place] };
            hold!(places == expected, "{id} is in {places:?} and should be in {expected:?}");
        }
        let mut finished = vec![true; self.setup.inputs.len()];
        finished[self.taken..].fill(false);
        for account in self.accounts.iter().filter(|account| account.place != Place::Done) {
            finished[account.input] = false;
        }
        let cursor = self.progress.cursor();
        for (offset, finished) in (0..).zip(&finished) {
            let said = offset < cursor.low || cursor.done.iter().any(|range| range.contains(&offset));
            hold!(said == *finished, "the cursor {cursor:?} says {said} of {offset}");
        }
        for offset in self.progress.take_completed() {
            let twice = std::mem::replace(&mut self.completed[offset as usize], true);
            hold!(!twice, "input {offset} is completed twice");
        }
        hold!(self.completed == finished, "completed are {:?} instead of {finished:?}", self.completed);
        let open = self.accounts.iter().filter(|account| account.place != Place::Done);
        let (since, said) = (open.filter_map(|account| account.postponed).min(), self.delivery.postponed_since());
        hold!(said == since, "records are put off since {since:?}, and {said:?} is said");
        Ok(())
    }

    /// Nothing becomes writable, or too old, before somebody is told to look; and nobody is told to look in vain at once.
    pub(super) fn check_wake(&self) -> Result<(), Breach> {
        let mut drained = self.clone();
        drained.delivery.expire(self.now);
        for sink in 0..self.setup.sinks {
            while !drained.delivery.next_runs(self.now, sink).is_empty() {}
        }
        let expiry = drained.delivery.next_expiry();
        hold!(expiry.is_none_or(|at| at > self.now), "something is too old at {expiry:?}, and is not given up");
        for sink in 0..self.setup.sinks {
            let wake = drained.delivery.next_wake(sink);
            hold!(wake.is_none_or(|at| at > self.now), "sink {sink} is to be asked again at once, in vain");
            for ticks in 1..5 {
                let then = self.now + TICK * ticks;
                let mut later = drained.delivery.clone();
                let old = later.expire(then);
                if !old.is_empty() {
                    hold!(expiry.is_some_and(|at| at <= then), "{old:?} is too old in {ticks}, and {expiry:?} is said");
                    break;
                }
                let written = later.next_runs(then, sink);
                if !written.is_empty() {
                    hold!(
                        wake.is_some_and(|at| at <= then),
                        "{written:?} may be written in {ticks}, and {wake:?} is said"
                    );
                    break;
                }
            }
        }
        Ok(())
    }
}
