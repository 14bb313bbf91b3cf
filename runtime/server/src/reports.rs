//! How everything is doing, and what passes: status, records, logs and trials.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use ferrule_api::report::{
    Alert, Distribution, LimitStatus, LogLine, LogStatus, PipelineStatus, Record, StatusReport, StreamStatus, Tailed,
    TargetBytes, TrialStep,
};
use ferrule_api::request::{LogQuery, StatusQuery, Tail, Trial};
use ferrule_api::{Error, Reports};
use ferrule_control::durability_word;
use ferrule_flow::{
    FlowError, FlowSnapshot, GuestSnapshot, LogFeed, PipelineSnapshot, StreamSnapshot, TailRecord, TailTarget,
};
use ferrule_host::{Level, Severity};
use ferrule_model::component::Direction;
use ferrule_model::connector::{InstanceSpec, PipelineSpec, StreamSpec};
use ferrule_model::record::{Batch, BatchBuilder, BatchError, Headers, HeadersRef, NO_TIMESTAMP, RecordRef};
use ferrule_model::{Code, Diagnostic, Kind, Object, Uid};
use futures_util::stream::{self, StreamExt};
use serde_json::Value;
use tokio::sync::broadcast::{self, error::RecvError};

use crate::metrics::{GuestNumber, Number, ServerNumbers};
use crate::platform::{Inner, millis};
use crate::steer::target;
use crate::world::{Found, World};

fn refused(code: Code, text: impl Into<String>) -> Error {
    Error::refused(Diagnostic::new(code, text))
}

/// Why the flow did not do it, for `object`.
fn flow_error(object: &Object, error: &FlowError) -> Error {
    match error {
        FlowError::Unknown(_) => Error::refused(not_running(object)),
        FlowError::UnknownStep { .. } => refused(Code::NotFound, error.to_string()),
        FlowError::NotDrained(_) => refused(Code::DrainTimedOut, error.to_string()),
        FlowError::Trial { .. } => refused(Code::GuestFailed, error.to_string()),
        _ => Error::Internal(error.to_string()),
    }
}

/// What to say of a stream or pipeline that does not run: its reason.
pub(crate) fn not_running(object: &Object) -> Diagnostic {
    let title = object.title();
    let why = match reason(object) {
        reason if !reason.is_empty() => format!(": {reason}"),
        _ if object.is_paused() => ": it is paused".to_owned(),
        _ => " yet: it is being started".to_owned(),
    };
    Diagnostic::new(Code::NotRunning, format!("{title} does not run{why}"))
        .help(format!("`ferrule describe {title}` shows all its conditions"))
}

// ---- status

pub(crate) async fn status(inner: &Inner, query: &StatusQuery) -> Result<StatusReport, Error> {
    let world = inner.world().await?;
    let namespace = query.namespace.as_deref();
    world.has_project(namespace)?;
    let mut objects = Vec::new();
    if query.targets.is_empty() {
        let all = [Kind::Stream, Kind::Pipeline].into_iter().flat_map(|kind| world.of_kind(kind));
        objects.extend(all.filter(|object| namespace.is_none_or(|wanted| world.project(object) == wanted)).cloned());
    } else {
        let mut problems = Vec::new();
        for name in &query.targets {
            match target(&world, None, name, namespace) {
                Ok(object) => objects.push(object),
                Err(problem) => problems.push(*problem),
            }
        }
        if !problems.is_empty() {
            return Err(Error::Refused(problems));
        }
    }
    let running = inner.flow.snapshot();
    let mut report = StatusReport {
        time_ms: millis(SystemTime::now()),
        log: LogStatus {
            transport: inner.site.log.name().to_owned(),
            trouble: running.log.trouble.clone(),
            findings: running.log.findings.clone(),
            disk_bytes: running.log.disk_bytes,
            syncs: running.log.syncs,
            batches: running.log.batches,
        },
        alerts: inner.dead_letters.alerts(),
        ..StatusReport::default()
    };
    for object in objects {
        if object.kind == Kind::Stream {
            let mut status = stream_status(&world, &object, running.streams.get(object.uid()));
            // What is only in memory needs no disk.
            if let Some(trouble) =
                running.log.trouble.as_ref().filter(|_| matches!(&*status.durability, "fsync" | "os"))
            {
                let message = format!("the log takes nothing: {trouble}");
                status.alerts.push(Alert { severity: "critical".to_owned(), name: "log".to_owned(), message });
            }
            report.streams.push(status);
        } else {
            report.pipelines.push(pipeline_status(&world, &object, running.pipelines.get(object.uid())));
        }
    }
    report.streams.sort_by(|a, b| (&a.namespace, &a.instance, &a.name).cmp(&(&b.namespace, &b.instance, &b.name)));
    report.pipelines.sort_by(|a, b| (&a.namespace, &a.name).cmp(&(&b.namespace, &b.name)));
    Ok(report)
}

fn waiting_state(object: &Object) -> String {
    if object.is_paused() { "paused" } else { "pending" }.to_owned()
}

/// Why something that does not run does not: what its conditions say.
fn reason(object: &Object) -> String {
    use ferrule_model::conditions::types::{READY, RESOLVED};
    [RESOLVED, READY]
        .into_iter()
        .filter_map(|kind| object.status.condition(kind))
        .find(|condition| condition.status == ferrule_model::Truth::False)
        .map(|condition| condition.message.clone())
        .unwrap_or_default()
}

fn stream_status(world: &World, object: &Object, running: Option<&StreamSnapshot>) -> StreamStatus {
    let instance = world.instance_of(object);
    let class = instance.as_ref().and_then(|instance| {
        let spec: InstanceSpec = instance.typed().ok()?;
        let pinned = instance.status.details.get("class").and_then(Value::as_str);
        let class = pinned.and_then(|uid| world.object(Kind::Class, &Uid::from(uid)).cloned());
        let class = class.or_else(|| world.resolve(Kind::Class, &spec.class, instance));
        Some(class.map_or_else(|| spec.class.to_string(), |class| world.unique_name(&class)))
    });
    let direction = object.typed::<StreamSpec>().map(|spec| spec.direction.name().to_lowercase()).unwrap_or_default();
    let chosen = object.status.details.pointer("/component/digest").and_then(Value::as_str).unwrap_or_default();
    let mut status = StreamStatus {
        uid: object.uid().to_string(),
        namespace: world.project(object),
        name: object.name().to_owned(),
        instance: world.instance_name(object).unwrap_or_default(),
        direction,
        class: class.unwrap_or_default(),
        component: chosen.to_owned(),
        state: waiting_state(object),
        health: "unknown".to_owned(),
        last_error: reason(object),
        conditions: object.status.conditions.clone(),
        ..StreamStatus::default()
    };
    let Some(running) = running else { return status };
    let guest = &running.guest;
    status.component.clone_from(&guest.component);
    status.state = guest.state.as_str().to_owned();
    status.health_message.clone_from(&guest.detail);
    if let Some(health) = &guest.health {
        status.health = if health.healthy { "healthy" } else { "unhealthy" }.to_owned();
        status.health_message.clone_from(&health.message);
    }
    status.records = running.records;
    status.bytes = running.bytes;
    status.records_per_second = running.records_per_second;
    status.bytes_per_second = running.bytes_per_second;
    status.restarts = guest.restarts;
    status.refusals = guest.refusals;
    if let Some(refusal) = &guest.last_refusal {
        status.last_refusal = format!("{}\n{}", refusal.message, refusal.remedy);
    }
    status.last_error = guest.last_error.clone().unwrap_or_default();
    status.replayable = running.replayable;
    status.memory_bytes = guest.memory_bytes;
    status.peak_memory_bytes = guest.peak_memory_bytes;
    status.calls = guest.calls;
    status.cpu_seconds = guest.computed.as_secs_f64();
    let target = |one: &ferrule_flow::Transferred| TargetBytes {
        target: one.target.clone(),
        received: one.received,
        sent: one.sent,
    };
    status.targets = guest.transferred.iter().map(target).collect();
    let limit = |used: &ferrule_flow::LimitUse| LimitStatus {
        name: used.limit.word().to_owned(),
        value: used.value,
        text: used.limit.shown(used.value),
        reached: used.reached,
    };
    status.limits = guest.limits.iter().map(limit).collect();
    status.suppressed_log_lines = guest.suppressed_log_lines;
    status.unsettled = running.unsettled;
    if running.direction == Direction::Ingress {
        status.durability = durability_word(running.durability).to_owned();
        status.held_records = running.usage.next_offset - running.usage.first_offset;
        status.held_bytes = running.usage.bytes;
        status.unread_bytes = running.usage.unread_bytes;
        status.dropped = running.usage.dropped;
    }
    status.alerts = alerts(&guest.alerts);
    status
}

fn alerts(raised: &BTreeMap<String, ferrule_flow::Alert>) -> Vec<Alert> {
    let alert = |(name, alert): (&String, &ferrule_flow::Alert)| Alert {
        severity: match alert.severity {
            Severity::Info => "info",
            Severity::Warning => "warning",
            Severity::Critical => "critical",
        }
        .to_owned(),
        name: name.clone(),
        message: alert.message.clone(),
    };
    raised.iter().map(alert).collect()
}

fn pipeline_status(world: &World, object: &Object, running: Option<&PipelineSnapshot>) -> PipelineStatus {
    let spec: PipelineSpec = object.typed().unwrap_or_default();
    let name_of = |uid: &str| match world.object(Kind::Stream, &Uid::from(uid)) {
        Some(stream) => world.unique_name(stream),
        None => uid.to_owned(),
    };
    let details = &object.status.details;
    let sources: Vec<String> = details
        .get("sources")
        .and_then(Value::as_array)
        .map(|all| all.iter().filter_map(Value::as_str).map(name_of).collect())
        .unwrap_or_default();
    let reference = |used: &Option<ferrule_model::connector::StreamUse>| {
        used.as_ref().and_then(|used| used.reference()).map(ToString::to_string).unwrap_or_default()
    };
    let mut status = PipelineStatus {
        uid: object.uid().to_string(),
        namespace: world.project(object),
        name: object.name().to_owned(),
        state: waiting_state(object),
        source: if sources.is_empty() { reference(&spec.source) } else { sources.join(",") },
        sink: details.get("sink").and_then(Value::as_str).map_or_else(|| reference(&spec.sink), name_of),
        steps: spec.step_names(),
        last_error: reason(object),
        conditions: object.status.conditions.clone(),
        ..PipelineStatus::default()
    };
    let Some(running) = running else { return status };
    status.state = running.state.to_owned();
    status.steps = running.steps.iter().map(|(name, _)| name.clone()).collect();
    status.lag = running.lag;
    status.in_flight = running.in_flight;
    status.delivered = running.delivered;
    status.filtered = running.filtered;
    status.dead_lettered = running.dead;
    status.dropped = running.dropped;
    status.retried = running.retried;
    status.delivered_bytes = running.delivered_bytes;
    status.duplicates = running.duplicates;
    status.attempts = distribution(&running.attempts);
    status.batches = distribution(&running.batches);
    status.lag_bytes = running.lag_bytes;
    status.oldest_ms = running.oldest_ms;
    status.records_per_second = running.records_per_second;
    status.restarts = running.restarts;
    status.alerts = alerts(&running.alerts);
    status.last_error = running.last_error.clone().unwrap_or_default();
    status
}

fn distribution(of: &ferrule_flow::Distribution) -> Distribution {
    Distribution { bounds: of.bounds.clone(), counts: of.counts.clone(), sum: of.sum }
}

pub(crate) async fn watch(
    inner: Arc<Inner>,
    query: StatusQuery,
    interval: Duration,
) -> Result<Reports<StatusReport>, Error> {
    // A wrong name is told at once, not in the stream.
    status(&inner, &query).await?;
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let stopping = inner.stopping.clone();
    let reports = stream::unfold((inner, query, ticks), |(inner, query, mut ticks)| async move {
        ticks.tick().await;
        let report = status(&inner, &query).await;
        Some((report, (inner, query, ticks)))
    });
    Ok(Box::pin(reports.take_until(stopping.cancelled_owned())))
}

impl Inner {
    /// The text that `/metrics` answers.
    pub(crate) async fn metrics(&self) -> Result<String, Error> {
        let report = status(self, &StatusQuery::default()).await?;
        let components = self.world().await?.of_kind(Kind::Component).count() as u64;
        let server = ServerNumbers {
            dead_letters: self.dead_letters.count(),
            dead_letter_bytes: self.dead_letters.bytes(),
            components,
        };
        let guests = guest_numbers(&self.flow.snapshot());
        crate::metrics::render(&report, &guests, server, &self.flow.audit().denied)
            .map_err(|error| Error::Internal(format!("the metrics cannot be written ({error})")))
    }
}

fn guest_numbers(running: &FlowSnapshot) -> Vec<GuestNumber> {
    let mut numbers = Vec::new();
    let mut add = |name: &str, guest: &GuestSnapshot| {
        numbers.extend(guest.metrics.iter().map(|metric| GuestNumber {
            name: metric.name.clone(),
            guest: name.to_owned(),
            labels: metric.labels.clone(),
            value: if metric.counter { Number::Counter(metric.value as u64) } else { Number::Gauge(metric.value) },
        }));
    };
    for stream in running.streams.values() {
        add(&stream.name, &stream.guest);
    }
    for pipeline in running.pipelines.values() {
        for (step, guest) in &pipeline.steps {
            add(&format!("{}/{step}", pipeline.name), guest);
        }
    }
    numbers
}

// ---- records

/// What a name on the command line says to watch: a stream, a pipeline, or `PIPELINE/STEP`; and which object that is.
fn place(world: &World, name: &str, namespace: Option<&str>) -> Result<(Arc<Object>, TailTarget), Error> {
    let problem = match target(world, None, name, namespace) {
        Ok(object) => {
            let uid = object.uid().clone();
            let place = if object.kind == Kind::Stream { TailTarget::Stream(uid) } else { TailTarget::Pipeline(uid) };
            return Ok((object, place));
        }
        Err(problem) => problem,
    };
    if let Some((pipeline, step)) = name.rsplit_once('/')
        && let Found::One(object) =
            world.find(Kind::Pipeline, pipeline.strip_prefix("pipeline/").unwrap_or(pipeline), namespace)
    {
        let steps = steps_of(&object);
        if !steps.iter().any(|known| known == step) {
            return Err(Error::refused(no_step(&object, step, &steps)));
        }
        let place = TailTarget::Step(object.uid().clone(), step.to_owned());
        return Ok((object, place));
    }
    Err(Error::refused(*problem))
}

/// The steps of a pipeline: those that run, which may begin with another pipeline's, else those of its document.
fn steps_of(pipeline: &Object) -> Vec<String> {
    let running = pipeline.status.details.get("steps").and_then(Value::as_array);
    let names = running.into_iter().flatten().filter_map(|step| step.get("name")?.as_str()).map(str::to_owned);
    let mut steps: Vec<String> = names.collect();
    for own in pipeline.typed::<PipelineSpec>().map(|spec| spec.step_names()).unwrap_or_default() {
        if !steps.contains(&own) {
            steps.push(own);
        }
    }
    steps
}

fn no_step(pipeline: &Object, step: &str, steps: &[String]) -> Diagnostic {
    let help = match ferrule_model::error::suggestion(step, steps.iter().map(String::as_str)) {
        Some(near) => format!("did you mean `{near}`?"),
        None if steps.is_empty() => "it has no functions, and so no steps".to_owned(),
        None => format!("its steps are {}", steps.join(", ")),
    };
    Diagnostic::new(Code::NotFound, format!("{} has no step `{step}`", pipeline.title())).help(help)
}

pub(crate) async fn tail(inner: &Inner, tail: Tail) -> Result<Reports<Tailed>, Error> {
    let world = inner.world().await?;
    let (object, place) = place(&world, &tail.target, tail.namespace.as_deref())?;
    let receiver = inner.flow.tail(&place).map_err(|error| flow_error(&object, &error))?;
    let records = stream::unfold((receiver, 0), |(mut receiver, mut missed)| async move {
        loop {
            match receiver.recv().await {
                Ok(record) => return Some((Ok(tailed(&record, missed)), (receiver, 0))),
                Err(RecvError::Lagged(count)) => missed += count,
                Err(RecvError::Closed) => return None,
            }
        }
    });
    let limit = tail.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    Ok(Box::pin(records.take(limit).take_until(inner.stopping.clone().cancelled_owned())))
}

fn tailed(record: &TailRecord, missed: u64) -> Tailed {
    Tailed {
        record: Record {
            payload: record.payload.to_vec(),
            key: record.key.to_vec(),
            headers: headers(&record.headers),
            timestamp_ns: (record.timestamp != NO_TIMESTAMP).then_some(record.timestamp),
            id: record.id.map(|id| id.to_string()).unwrap_or_default(),
        },
        missed,
        seen_at: record.seen_at.to_string(),
        address: record.address.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}

pub(crate) fn headers(encoded: &[u8]) -> Vec<(String, Vec<u8>)> {
    HeadersRef::new(encoded).iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect()
}

// ---- logs

pub(crate) async fn logs(inner: &Inner, query: LogQuery) -> Result<Reports<LogLine>, Error> {
    let world = inner.world().await?;
    let feeds = match &query.target {
        Some(name) => {
            let (object, place) = place(&world, name, query.namespace.as_deref())?;
            feeds(inner, &place).map_err(|error| flow_error(&object, &error))?
        }
        None => {
            let running = inner.flow.snapshot();
            let streams = running.streams.into_keys().map(TailTarget::Stream);
            let pipelines = running.pipelines.into_keys().map(TailTarget::Pipeline);
            // What ended since the snapshot has no log any more.
            streams.chain(pipelines).filter_map(|place| feeds(inner, &place).ok()).flatten().collect()
        }
    };
    let mut lines: Vec<Arc<ferrule_flow::LogLine>> = feeds.iter().flat_map(|feed| feed.lines.iter().cloned()).collect();
    lines.sort_by_key(|line| line.time_ms);
    if let Some(tail) = query.tail {
        lines.drain(..lines.len().saturating_sub(tail as usize));
    }
    let past = stream::iter(lines).map(|line| Ok(log_line(&line)));
    if !query.follow {
        return Ok(Box::pin(past));
    }
    let next = stream::select_all(feeds.into_iter().map(|feed| Box::pin(follow(feed.next))));
    Ok(Box::pin(past.chain(next).take_until(inner.stopping.clone().cancelled_owned())))
}

/// The logs of a stream, of all steps of a pipeline, or of one of them.
fn feeds(inner: &Inner, place: &TailTarget) -> Result<Vec<LogFeed>, FlowError> {
    match place {
        TailTarget::Stream(uid) => Ok(vec![inner.flow.logs(uid)?]),
        TailTarget::Step(uid, step) => Ok(vec![inner.flow.step_logs(uid, step)?]),
        TailTarget::Pipeline(uid) => {
            let running = inner.flow.snapshot();
            let pipeline = running.pipelines.get(uid).ok_or_else(|| FlowError::Unknown(uid.clone()))?;
            pipeline.steps.iter().map(|(step, _)| inner.flow.step_logs(uid, step)).collect()
        }
    }
}

fn follow(
    receiver: broadcast::Receiver<Arc<ferrule_flow::LogLine>>,
) -> impl futures_util::Stream<Item = Result<LogLine, Error>> + Send {
    stream::unfold(receiver, |mut receiver| async move {
        loop {
            match receiver.recv().await {
                Ok(line) => return Some((Ok(log_line(&line)), receiver)),
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    })
}

fn log_line(line: &ferrule_flow::LogLine) -> LogLine {
    LogLine {
        time_ms: line.time_ms,
        level: match line.level {
            Level::Trace => "trace",
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
        .to_owned(),
        source: line.source.to_string(),
        target: line.target.clone(),
        message: line.message.clone(),
        fields: line.fields.iter().cloned().collect(),
    }
}

// ---- trials

pub(crate) async fn trial(inner: &Inner, trial: Trial) -> Result<Vec<TrialStep>, Error> {
    let world = inner.world().await?;
    let pipeline = crate::delete::find(&world, Kind::Pipeline, &trial.pipeline, trial.namespace.as_deref())
        .map_err(|problem| Error::refused(*problem))?;
    let batch = batch_of(&trial.record).map_err(|error| refused(Code::BadValue, format!("the record: {error}")))?;
    let steps = inner.flow.trial(pipeline.uid(), batch).await.map_err(|error| flow_error(&pipeline, &error))?;
    Ok(steps.into_iter().map(trial_step).collect())
}

fn batch_of(record: &Record) -> Result<Batch, BatchError> {
    let mut headers = Headers::new();
    for (name, value) in &record.headers {
        headers.push(name.as_str(), value.as_slice());
    }
    let headers = headers.encode()?;
    let mut batch = BatchBuilder::new();
    let mut row = RecordRef::of(&record.payload);
    row.key = &record.key;
    row.headers = HeadersRef::new(&headers);
    row.timestamp = record.timestamp_ns.unwrap_or(NO_TIMESTAMP);
    batch.push(&row)?;
    Ok(batch.finish())
}

fn trial_step(step: ferrule_flow::TrialStep) -> TrialStep {
    let outputs = step.outputs.iter().flat_map(|output| {
        output.record.iter().map(|record| {
            let record = Record {
                payload: record.payload.to_vec(),
                key: record.key.to_vec(),
                headers: headers(record.headers.as_bytes()),
                timestamp_ns: (record.timestamp != NO_TIMESTAMP).then_some(record.timestamp),
                id: String::new(),
            };
            let route = if output.route == "default" { String::new() } else { output.route.clone() };
            (record, route)
        })
    });
    TrialStep {
        outputs: outputs.collect(),
        name: step.name,
        filtered: step.filtered > 0,
        rejected: step.rejected.into_iter().next(),
        error: step.error.map(|error| error.to_string()),
    }
}
