//! One open session under test: the steps of a script, and what must come of each.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ferrule_host::{
    CallError, Component, Configured, GrantHint, GuestErrorKind, Instance, InstanceOptions, Limits, PullLimits, Session,
};
use ferrule_model::record::{Batch, Outcomes, Transformed};
use ferrule_model::redact::Redactor;
use serde_json::Value;
use tokio::time::Instant;

use crate::observed::Observed;
use crate::record::{self, Difference};
use crate::script::{ErrorKind, ExpectedError, Mentioned, Settle, Step};
use crate::setup::Setup;

/// How long one call waits for records or outcomes before it is made again.
const PATIENCE_MS: u32 = 100;

/// What one call may give while a test does not care.
pub(crate) const PLENTY: PullLimits =
    PullLimits { max_records: 1_000, max_bytes: 4 << 20, linger_ms: 0, max_wait_ms: PATIENCE_MS };

/// A session under test.
pub struct Live<'a> {
    component: &'a Component,
    setup: Setup,
    observed: Arc<Observed>,
    instance: Option<Instance>,
    position: Option<Vec<u8>>,
    /// Tokens of all records received in this session, in order, and which of them were settled.
    received: Vec<u64>,
    settled: BTreeSet<usize>,
    /// Records that came and were not asked for yet.
    pending: Vec<Batch>,
    next_token: u64,
}

impl<'a> Live<'a> {
    /// A session that is not open yet.
    #[must_use]
    pub fn new(component: &'a Component, setup: Setup, observed: Arc<Observed>) -> Self {
        Self {
            component,
            setup,
            observed,
            instance: None,
            position: None,
            received: Vec::new(),
            settled: BTreeSet::new(),
            pending: Vec::new(),
            next_token: 1,
        }
    }

    /// Opens it, in an instance of its own.
    pub async fn open(&mut self) -> Result<(), CallError> {
        let options = InstanceOptions {
            rules: self.setup.rules(&self.component.description().capabilities),
            limits: Limits::default(),
            redactor: Redactor::default(),
            observer: self.observed.clone(),
            hint: GrantHint { class: self.component.description().name.clone() },
            ..InstanceOptions::new("test")
        };
        let mut instance = self.component.instantiate(options).await?;
        let (static_parameters, config, parameters) = self.setup.texts();
        let session = Session {
            name: "test".to_owned(),
            direction: self.setup.direction(self.component.world()),
            static_parameters,
            config,
            parameters,
            position: self.position.clone(),
            properties: Vec::new(),
        };
        instance.open(session).await?;
        self.instance = Some(instance);
        Ok(())
    }

    /// The open instance.
    pub fn instance(&mut self) -> Result<&mut Instance, String> {
        self.instance.as_mut().ok_or_else(|| "the session is not open".to_owned())
    }

    /// Closes the session, if it is open.
    pub async fn close(&mut self) -> Result<(), String> {
        let Some(mut instance) = self.instance.take() else { return Ok(()) };
        instance.close().await.map_err(|e| format!("expected: the session closes\n   found: {e}"))
    }

    /// Does one step.
    pub async fn step(&mut self, step: &Step) -> Result<(), String> {
        match &step.error {
            None => match self.act(step).await? {
                Ok(()) => Ok(()),
                Err(error) => Err(format!("expected: no error\n   found: {error}")),
            },
            Some(expected) => match self.act(step).await? {
                Ok(()) => Err(format!("expected: an error ({expected:?})\n   found: none")),
                Err(error) => check_error(expected, &error),
            },
        }
    }

    async fn act(&mut self, step: &Step) -> Result<Result<(), CallError>, String> {
        if let Some(records) = &step.apply {
            let setup = self.setup.clone();
            let batch = record::batch(records, None, &|t| setup.fill(t))?;
            return match self.instance()?.apply(&batch).await {
                Ok(answer) => self.check_applied(step, &batch, &answer).map(Ok),
                Err(error) => Ok(Err(error)),
            };
        }
        if let Some(records) = &step.write {
            let setup = self.setup.clone();
            let first = self.next_token;
            let batch = record::batch(records, Some(first), &|t| setup.fill(t))?;
            self.next_token += records.len() as u64;
            return match self.write(&batch).await {
                Ok(outcomes) => check_written(step, first, records.len(), &outcomes).map(Ok),
                Err(error) => Ok(Err(error)),
            };
        }
        if let Some(expected) = &step.receive {
            return match self.receive(expected.len()).await {
                Ok(found) => {
                    let setup = self.setup.clone();
                    told(record::compare(expected, &found, &|_| None, &|t| setup.fill(t))).map(Ok)
                }
                Err(error) => Ok(Err(error)),
            };
        }
        if let Some(milliseconds) = step.quiet {
            return match self.quiet(Duration::from_millis(milliseconds)).await {
                Ok(None) => Ok(Ok(())),
                Ok(Some(found)) => Err(format!("expected: nothing for {milliseconds} ms\n   found: {found}")),
                Err(error) => Ok(Err(error)),
            };
        }
        if let Some(settle) = &step.settle {
            let tokens = self.tokens_of(settle)?;
            return Ok(self.instance()?.settle(&tokens).await);
        }
        if let Some(config) = &step.configure {
            return self.configure(config, step.answer.as_deref()).await;
        }
        self.close().await?;
        self.received.clear();
        self.settled.clear();
        Ok(self.open().await)
    }

    /// Waits until `count` records came, or the test's deadline ends the wait.
    async fn receive(&mut self, count: usize) -> Result<Batch, CallError> {
        let mut have: usize = self.pending.iter().map(Batch::len).sum();
        while have < count || (count == 0 && have == 0) {
            let batch = self.pull().await?;
            have += batch.len();
            if !batch.is_empty() {
                self.pending.push(batch);
            }
            if count == 0 {
                break;
            }
        }
        let all = Batch::concat(&std::mem::take(&mut self.pending))
            .map_err(|e| CallError::Malformed { call: "next", problem: e.to_string() })?;
        let taken = all.slice(0..count);
        let rest = all.slice(count..all.len());
        if !rest.is_empty() {
            self.pending.push(rest);
        }
        Ok(taken)
    }

    /// One call of `next`; keeps its tokens and position.
    pub(crate) async fn pull(&mut self) -> Result<Batch, CallError> {
        let Some(instance) = self.instance.as_mut() else { return Err(CallError::Gone("it is not open".to_owned())) };
        let pulled = instance.next(PLENTY).await?;
        self.position = pulled.position.or_else(|| self.position.take());
        self.received.extend(pulled.records.tokens.iter());
        Ok(pulled.records)
    }

    async fn quiet(&mut self, time: Duration) -> Result<Option<String>, CallError> {
        let end = Instant::now() + time;
        while self.pending.is_empty() && Instant::now() < end {
            let batch = self.pull().await?;
            if !batch.is_empty() {
                self.pending.push(batch);
            }
        }
        Ok(self.pending.first().map(|batch| record::shown(batch.record(0).payload)))
    }

    fn tokens_of(&mut self, settle: &Settle) -> Result<Vec<u64>, String> {
        let indices: Vec<usize> = match settle {
            Settle::Word(_) => (0..self.received.len()).filter(|i| !self.settled.contains(i)).collect(),
            Settle::Indices(indices) => indices.iter().map(|i| *i as usize).collect(),
        };
        let mut tokens = Vec::with_capacity(indices.len());
        for index in indices {
            let token = self
                .received
                .get(index)
                .ok_or_else(|| format!("settle: expected an index below {}; found {index}", self.received.len()))?;
            tokens.push(*token);
            self.settled.insert(index);
        }
        Ok(tokens)
    }

    async fn configure(&mut self, config: &Value, answer: Option<&str>) -> Result<Result<(), CallError>, String> {
        let text = self.setup.fill_value(config).to_string();
        let found = match self.instance()?.configure(&text).await {
            Ok(found) => found,
            Err(error) => return Ok(Err(error)),
        };
        self.setup.config = config.clone();
        let word = match found {
            Configured::Applied => "applied",
            Configured::Reopen => "reopen",
        };
        match answer {
            Some(expected) if expected != word => {
                Err(format!("expected: configure answers {expected}\n   found: {word}"))
            }
            _ => Ok(Ok(())),
        }
    }

    /// Writes a batch, and waits for the outcome of each of its records.
    pub(crate) async fn write(&mut self, batch: &Batch) -> Result<Outcomes, CallError> {
        let Some(instance) = self.instance.as_mut() else { return Err(CallError::Gone("it is not open".to_owned())) };
        let mut all = instance.write(batch).await?;
        while count(&all) < batch.len() {
            let more = instance.idle(PATIENCE_MS).await?;
            all.delivered.extend(more.delivered);
            all.retry.extend(more.retry);
            all.rejected.extend(more.rejected);
        }
        Ok(all)
    }

    fn check_applied(&self, step: &Step, input: &Batch, answer: &Transformed) -> Result<(), String> {
        answer.check(input).map_err(|e| format!("expected: an answer by the contract\n   found: {e}"))?;
        let output = answer.assemble(input).map_err(|e| e.to_string())?;
        let routes = &self.component.description().routes;
        let route = |i: usize| routes.get(usize::from(answer.route(i))).cloned();
        if let Some(expected) = &step.output {
            told(record::compare(expected, &output, &route, &|t| self.setup.fill(t)))?;
        }
        check_mentioned("rejected", step.rejected.as_deref().unwrap_or_default(), &rejections(&answer.rejected, 0))?;
        if let Some(expected) = &step.filtered {
            let named: BTreeSet<u32> = answer
                .origins
                .iter()
                .copied()
                .chain(answer.also.iter().map(|(_, input)| *input))
                .chain(answer.rejected.iter().filter_map(|r| u32::try_from(r.record_ref).ok()))
                .collect();
            let found: Vec<u32> = (0..input.count).filter(|i| !named.contains(i)).collect();
            if found != *expected {
                return Err(format!("expected: filtered {expected:?}\n   found: filtered {found:?}"));
            }
        }
        Ok(())
    }
}

/// How many records have an outcome.
pub(crate) fn count(outcomes: &Outcomes) -> usize {
    outcomes.delivered.len() + outcomes.retry.len() + outcomes.rejected.len()
}

fn told(difference: Option<Difference>) -> Result<(), String> {
    match difference {
        None => Ok(()),
        Some(d) => Err(format!("expected: {}\n   found: {}", d.expected, d.found)),
    }
}

fn rejections(list: &[ferrule_model::record::Rejection], first: u64) -> Vec<(u64, String)> {
    list.iter().map(|r| (r.record_ref.wrapping_sub(first), r.reason.clone())).collect()
}

fn check_mentioned(what: &str, expected: &[Mentioned], found: &[(u64, String)]) -> Result<(), String> {
    let fits = |want: &Mentioned, (index, reason): &(u64, String)| {
        *index == u64::from(want.index) && want.reason.as_ref().is_none_or(|part| reason.contains(part))
    };
    let all = expected.len() == found.len() && expected.iter().all(|want| found.iter().any(|have| fits(want, have)));
    if all {
        return Ok(());
    }
    let list = |found: Vec<String>| if found.is_empty() { "none".to_owned() } else { found.join(", ") };
    let wanted = list(
        expected
            .iter()
            .map(|m| m.reason.as_ref().map_or_else(|| m.index.to_string(), |r| format!("{} ({r})", m.index)))
            .collect(),
    );
    let had = list(found.iter().map(|(i, reason)| format!("{i} ({reason})")).collect());
    Err(format!("expected: {what} {wanted}\n   found: {what} {had}"))
}

fn check_written(step: &Step, first: u64, written: usize, outcomes: &Outcomes) -> Result<(), String> {
    let retried: Vec<(u64, String)> =
        outcomes.retry.iter().map(|r| (r.token.wrapping_sub(first), r.reason.clone())).collect();
    check_mentioned("retry", step.retry.as_deref().unwrap_or_default(), &retried)?;
    check_mentioned("rejected", step.rejected.as_deref().unwrap_or_default(), &rejections(&outcomes.rejected, first))?;
    let mut delivered: Vec<u64> = outcomes.delivered.iter().map(|t| t.wrapping_sub(first)).collect();
    delivered.sort_unstable();
    let others: BTreeSet<u32> =
        step.retry.iter().flatten().chain(step.rejected.iter().flatten()).map(|mentioned| mentioned.index).collect();
    let expected: Vec<u64> = match &step.delivered {
        Some(list) => list.iter().copied().map(u64::from).collect(),
        None => (0..written as u64).filter(|i| !others.iter().any(|o| u64::from(*o) == *i)).collect(),
    };
    if delivered == expected {
        Ok(())
    } else {
        Err(format!("expected: delivered {expected:?}\n   found: delivered {delivered:?}"))
    }
}

/// Checks that a call failed as it must.
pub(crate) fn check_error(expected: &ExpectedError, found: &CallError) -> Result<(), String> {
    let kind = match found {
        CallError::Guest(error) => Some(match error.kind {
            GuestErrorKind::Unavailable => ErrorKind::Unavailable,
            GuestErrorKind::Invalid => ErrorKind::Invalid,
            GuestErrorKind::Denied => ErrorKind::Denied,
            GuestErrorKind::Failed => ErrorKind::Failed,
        }),
        CallError::Refused { .. } => Some(ErrorKind::Denied),
        CallError::Trap { .. } => Some(ErrorKind::Trap),
        CallError::TimedOut { .. } => Some(ErrorKind::Timeout),
        CallError::Limit { .. } => Some(ErrorKind::Limit),
        CallError::Malformed { .. } => Some(ErrorKind::Malformed),
        _ => None,
    };
    let right_kind = expected.kind.is_none_or(|wanted| kind == Some(wanted));
    let right_text = expected.message.as_ref().is_none_or(|part| found.to_string().contains(part));
    if right_kind && right_text { Ok(()) } else { Err(format!("expected: an error ({expected:?})\n   found: {found}")) }
}
