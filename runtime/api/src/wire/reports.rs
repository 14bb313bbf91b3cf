//! Answers, between the plain types and the protocol.

use ferrule_model::Object;
use ferrule_model::component::Description;
use ferrule_model::conditions::{Condition, Truth};

use super::{diagnostics_in, diagnostics_out, json, kind, malformed, some, to_json};
use crate::error::Error;
use crate::proto;
use crate::report::{
    Action, Alert, Applied, AppliedObject, ComponentFacts, Difference, Differences, Distribution, LimitStatus, LogLine,
    LogStatus, PipelineStatus, Record, Registered, StatusReport, StoredObject, StreamStatus, Tailed, TargetBytes,
    TrialStep, VersionReport,
};

impl From<VersionReport> for proto::VersionResponse {
    fn from(v: VersionReport) -> Self {
        Self {
            version: v.version,
            contract: v.contract,
            data_folder: v.data_folder,
            started_ms: v.started_ms,
            metrics_address: v.metrics_address.unwrap_or_default(),
        }
    }
}

impl From<proto::VersionResponse> for VersionReport {
    fn from(v: proto::VersionResponse) -> Self {
        Self {
            version: v.version,
            contract: v.contract,
            data_folder: v.data_folder,
            started_ms: v.started_ms,
            metrics_address: some(v.metrics_address),
        }
    }
}

fn action_out(action: Action) -> i32 {
    (match action {
        Action::Created => proto::Action::Created,
        Action::Configured => proto::Action::Configured,
        Action::Unchanged => proto::Action::Unchanged,
        Action::Deleted => proto::Action::Deleted,
        Action::Failed => proto::Action::Failed,
    }) as i32
}

fn action_in(action: proto::Action) -> Result<Action, Error> {
    Ok(match action {
        proto::Action::Created => Action::Created,
        proto::Action::Configured => Action::Configured,
        proto::Action::Unchanged => Action::Unchanged,
        proto::Action::Deleted => Action::Deleted,
        proto::Action::Failed => Action::Failed,
        proto::Action::Unspecified => return Err(malformed("an object without an action")),
    })
}

impl From<&AppliedObject> for proto::AppliedObject {
    fn from(o: &AppliedObject) -> Self {
        Self {
            kind: o.kind.name().to_owned(),
            namespace: o.namespace.clone(),
            name: o.name.clone(),
            uid: o.uid.clone(),
            action: action_out(o.action),
            generation: o.generation,
            diagnostics: diagnostics_out(&o.diagnostics),
        }
    }
}

pub(crate) fn objects_out(all: &[AppliedObject]) -> Vec<proto::AppliedObject> {
    all.iter().map(Into::into).collect()
}

pub(crate) fn objects_in(all: Vec<proto::AppliedObject>) -> Result<Vec<AppliedObject>, Error> {
    all.into_iter()
        .map(|o| {
            Ok(AppliedObject {
                kind: kind(&o.kind)?,
                action: action_in(o.action())?,
                namespace: o.namespace,
                name: o.name,
                uid: o.uid,
                generation: o.generation,
                diagnostics: diagnostics_in(o.diagnostics)?,
            })
        })
        .collect()
}

impl From<Applied> for proto::ApplyResponse {
    fn from(a: Applied) -> Self {
        Self { objects: objects_out(&a.objects), warnings: diagnostics_out(&a.warnings) }
    }
}

pub(crate) fn applied_in(a: proto::ApplyResponse) -> Result<Applied, Error> {
    Ok(Applied { objects: objects_in(a.objects)?, warnings: diagnostics_in(a.warnings)? })
}

impl From<Differences> for proto::DiffResponse {
    fn from(d: Differences) -> Self {
        Self {
            differences: d
                .differences
                .into_iter()
                .map(|d| proto::Difference {
                    kind: d.kind.name().to_owned(),
                    namespace: d.namespace,
                    name: d.name,
                    action: action_out(d.action),
                    before: d.before.as_ref().map(to_json).unwrap_or_default(),
                    after: d.after.as_ref().map(to_json).unwrap_or_default(),
                })
                .collect(),
            warnings: diagnostics_out(&d.warnings),
        }
    }
}

pub(crate) fn differences_in(d: proto::DiffResponse) -> Result<Differences, Error> {
    let side = |bytes: Vec<u8>| if bytes.is_empty() { Ok(None) } else { json(&bytes, "an object").map(Some) };
    Ok(Differences {
        differences: d
            .differences
            .into_iter()
            .map(|d| {
                Ok(Difference {
                    kind: kind(&d.kind)?,
                    action: action_in(d.action())?,
                    namespace: d.namespace,
                    name: d.name,
                    before: side(d.before)?,
                    after: side(d.after)?,
                })
            })
            .collect::<Result<_, Error>>()?,
        warnings: diagnostics_in(d.warnings)?,
    })
}

impl From<StoredObject> for proto::StoredObject {
    fn from(o: StoredObject) -> Self {
        Self { object: to_json(&o.object), original: o.original.unwrap_or_default().into_bytes() }
    }
}

pub(crate) fn stored_in(o: proto::StoredObject) -> Result<StoredObject, Error> {
    let original = String::from_utf8(o.original).map_err(|_| malformed("a document that is not UTF-8"))?;
    Ok(StoredObject { object: json::<Object>(&o.object, "an object")?, original: some(original) })
}

impl From<ComponentFacts> for proto::ComponentFacts {
    fn from(c: ComponentFacts) -> Self {
        Self {
            asks: c
                .asks()
                .iter()
                .map(|a| proto::CapabilityAsked {
                    kind: a.kind.clone(),
                    target: a.target.clone(),
                    reason: a.reason.clone(),
                })
                .collect(),
            description: to_json(&c.description),
            digest: c.digest,
            world: c.world,
            size: c.size,
        }
    }
}

pub(crate) fn facts_in(c: Option<proto::ComponentFacts>) -> Result<ComponentFacts, Error> {
    let c = c.ok_or_else(|| malformed("no facts about the component"))?;
    Ok(ComponentFacts {
        description: json::<Description>(&c.description, "a component's description")?,
        digest: c.digest,
        world: c.world,
        size: c.size,
    })
}

impl From<Registered> for proto::RegisterResponse {
    fn from(r: Registered) -> Self {
        Self {
            component: Some(r.component.into()),
            objects: objects_out(&r.objects),
            warnings: diagnostics_out(&r.warnings),
        }
    }
}

pub(crate) fn registered_in(r: proto::RegisterResponse) -> Result<Registered, Error> {
    Ok(Registered {
        component: facts_in(r.component)?,
        objects: objects_in(r.objects)?,
        warnings: diagnostics_in(r.warnings)?,
    })
}

fn conditions_out(all: &[Condition]) -> Vec<proto::Condition> {
    all.iter()
        .map(|c| proto::Condition {
            r#type: c.kind.clone(),
            status: match c.status {
                Truth::True => "True",
                Truth::False => "False",
                Truth::Unknown => "Unknown",
            }
            .to_owned(),
            reason: c.reason.clone(),
            message: c.message.clone(),
            last_transition_time: c.last_transition_time.to_string(),
            observed_generation: c.observed_generation,
        })
        .collect()
}

fn conditions_in(all: Vec<proto::Condition>) -> Result<Vec<Condition>, Error> {
    all.into_iter()
        .map(|c| {
            Ok(Condition {
                kind: c.r#type,
                status: match c.status.as_str() {
                    "True" => Truth::True,
                    "False" => Truth::False,
                    _ => Truth::Unknown,
                },
                reason: c.reason,
                message: c.message,
                last_transition_time: c
                    .last_transition_time
                    .parse()
                    .map_err(|_| malformed("a condition without a time"))?,
                observed_generation: c.observed_generation,
            })
        })
        .collect()
}

impl From<StatusReport> for proto::StatusResponse {
    fn from(r: StatusReport) -> Self {
        Self {
            streams: r.streams.into_iter().map(stream_out).collect(),
            pipelines: r.pipelines.into_iter().map(pipeline_out).collect(),
            time_ms: r.time_ms,
            alerts: r.alerts.into_iter().map(alert_out).collect(),
            log: Some(proto::LogStatus {
                trouble: r.log.trouble,
                findings: r.log.findings,
                disk_bytes: r.log.disk_bytes,
                syncs: r.log.syncs,
                batches: r.log.batches,
                transport: r.log.transport,
            }),
        }
    }
}

pub(crate) fn status_in(r: proto::StatusResponse) -> Result<StatusReport, Error> {
    // A server of a release before says nothing of its log.
    let log = r.log.unwrap_or_default();
    Ok(StatusReport {
        streams: r.streams.into_iter().map(stream_in).collect::<Result<_, _>>()?,
        pipelines: r.pipelines.into_iter().map(pipeline_in).collect::<Result<_, _>>()?,
        time_ms: r.time_ms,
        alerts: r.alerts.into_iter().map(alert_in).collect(),
        log: LogStatus {
            trouble: log.trouble,
            findings: log.findings,
            disk_bytes: log.disk_bytes,
            syncs: log.syncs,
            batches: log.batches,
            transport: log.transport,
        },
    })
}

fn alert_out(a: Alert) -> proto::Alert {
    proto::Alert { severity: a.severity, name: a.name, message: a.message }
}

fn alert_in(a: proto::Alert) -> Alert {
    Alert { severity: a.severity, name: a.name, message: a.message }
}

fn stream_out(s: StreamStatus) -> proto::StreamStatus {
    proto::StreamStatus {
        uid: s.uid,
        namespace: s.namespace,
        name: s.name,
        instance: s.instance,
        direction: s.direction,
        class: s.class,
        component: s.component,
        state: s.state,
        health: s.health,
        health_message: s.health_message,
        records: s.records,
        bytes: s.bytes,
        records_per_second: s.records_per_second,
        bytes_per_second: s.bytes_per_second,
        restarts: s.restarts,
        refusals: s.refusals,
        last_refusal: s.last_refusal,
        last_error: s.last_error,
        replayable: s.replayable,
        memory_bytes: s.memory_bytes,
        peak_memory_bytes: s.peak_memory_bytes,
        calls: s.calls,
        cpu_seconds: s.cpu_seconds,
        targets: s
            .targets
            .into_iter()
            .map(|t| proto::TargetBytes { target: t.target, received: t.received, sent: t.sent })
            .collect(),
        limits: s
            .limits
            .into_iter()
            .map(|l| proto::LimitStatus { name: l.name, value: l.value, text: l.text, reached: l.reached })
            .collect(),
        alerts: s.alerts.into_iter().map(alert_out).collect(),
        suppressed_log_lines: s.suppressed_log_lines,
        durability: s.durability,
        held_records: s.held_records,
        held_bytes: s.held_bytes,
        unread_bytes: s.unread_bytes,
        dropped: s.dropped,
        unsettled: s.unsettled,
        conditions: conditions_out(&s.conditions),
    }
}

fn stream_in(s: proto::StreamStatus) -> Result<StreamStatus, Error> {
    Ok(StreamStatus {
        uid: s.uid,
        namespace: s.namespace,
        name: s.name,
        instance: s.instance,
        direction: s.direction,
        class: s.class,
        component: s.component,
        state: s.state,
        health: s.health,
        health_message: s.health_message,
        records: s.records,
        bytes: s.bytes,
        records_per_second: s.records_per_second,
        bytes_per_second: s.bytes_per_second,
        restarts: s.restarts,
        refusals: s.refusals,
        last_refusal: s.last_refusal,
        last_error: s.last_error,
        replayable: s.replayable,
        memory_bytes: s.memory_bytes,
        peak_memory_bytes: s.peak_memory_bytes,
        calls: s.calls,
        cpu_seconds: s.cpu_seconds,
        targets: s
            .targets
            .into_iter()
            .map(|t| TargetBytes { target: t.target, received: t.received, sent: t.sent })
            .collect(),
        limits: s
            .limits
            .into_iter()
            .map(|l| LimitStatus { name: l.name, value: l.value, text: l.text, reached: l.reached })
            .collect(),
        alerts: s.alerts.into_iter().map(alert_in).collect(),
        suppressed_log_lines: s.suppressed_log_lines,
        durability: s.durability,
        held_records: s.held_records,
        held_bytes: s.held_bytes,
        unread_bytes: s.unread_bytes,
        dropped: s.dropped,
        unsettled: s.unsettled,
        conditions: conditions_in(s.conditions)?,
    })
}

fn pipeline_out(p: PipelineStatus) -> proto::PipelineStatus {
    proto::PipelineStatus {
        uid: p.uid,
        namespace: p.namespace,
        name: p.name,
        state: p.state,
        source: p.source,
        sink: p.sink,
        steps: p.steps,
        lag: p.lag,
        in_flight: p.in_flight,
        delivered: p.delivered,
        filtered: p.filtered,
        dead_lettered: p.dead_lettered,
        dropped: p.dropped,
        retried: p.retried,
        records_per_second: p.records_per_second,
        restarts: p.restarts,
        last_error: p.last_error,
        delivered_bytes: p.delivered_bytes,
        duplicates: p.duplicates,
        attempts: Some(p.attempts.into()),
        batches: Some(p.batches.into()),
        lag_bytes: p.lag_bytes,
        oldest_ms: p.oldest_ms,
        alerts: p.alerts.into_iter().map(alert_out).collect(),
        conditions: conditions_out(&p.conditions),
    }
}

fn pipeline_in(p: proto::PipelineStatus) -> Result<PipelineStatus, Error> {
    Ok(PipelineStatus {
        uid: p.uid,
        namespace: p.namespace,
        name: p.name,
        state: p.state,
        source: p.source,
        sink: p.sink,
        steps: p.steps,
        lag: p.lag,
        in_flight: p.in_flight,
        delivered: p.delivered,
        filtered: p.filtered,
        dead_lettered: p.dead_lettered,
        dropped: p.dropped,
        retried: p.retried,
        records_per_second: p.records_per_second,
        restarts: p.restarts,
        last_error: p.last_error,
        delivered_bytes: p.delivered_bytes,
        duplicates: p.duplicates,
        attempts: p.attempts.unwrap_or_default().into(),
        batches: p.batches.unwrap_or_default().into(),
        lag_bytes: p.lag_bytes,
        oldest_ms: p.oldest_ms,
        alerts: p.alerts.into_iter().map(alert_in).collect(),
        conditions: conditions_in(p.conditions)?,
    })
}

impl From<Distribution> for proto::Distribution {
    fn from(d: Distribution) -> Self {
        Self { bounds: d.bounds, counts: d.counts, sum: d.sum }
    }
}

impl From<proto::Distribution> for Distribution {
    fn from(d: proto::Distribution) -> Self {
        Self { bounds: d.bounds, counts: d.counts, sum: d.sum }
    }
}

impl From<Record> for proto::Record {
    fn from(r: Record) -> Self {
        Self {
            payload: r.payload,
            key: r.key,
            headers: r.headers.into_iter().map(|(name, value)| proto::Header { name, value }).collect(),
            timestamp_ns: r.timestamp_ns,
            id: r.id,
        }
    }
}

impl From<proto::Record> for Record {
    fn from(r: proto::Record) -> Self {
        Self {
            payload: r.payload,
            key: r.key,
            headers: r.headers.into_iter().map(|h| (h.name, h.value)).collect(),
            timestamp_ns: r.timestamp_ns,
            id: r.id,
        }
    }
}

impl From<Tailed> for proto::TailResponse {
    fn from(t: Tailed) -> Self {
        Self { record: Some(t.record.into()), missed: t.missed, seen_at: t.seen_at, address: t.address }
    }
}

impl From<proto::TailResponse> for Tailed {
    fn from(t: proto::TailResponse) -> Self {
        Self { record: t.record.unwrap_or_default().into(), missed: t.missed, seen_at: t.seen_at, address: t.address }
    }
}

impl From<LogLine> for proto::LogLine {
    fn from(l: LogLine) -> Self {
        Self {
            time_ms: l.time_ms,
            level: l.level,
            source: l.source,
            target: l.target,
            message: l.message,
            fields: l.fields.into_iter().collect(),
        }
    }
}

impl From<proto::LogLine> for LogLine {
    fn from(l: proto::LogLine) -> Self {
        Self {
            time_ms: l.time_ms,
            level: l.level,
            source: l.source,
            target: l.target,
            message: l.message,
            fields: l.fields.into_iter().collect(),
        }
    }
}

impl From<TrialStep> for proto::TryStep {
    fn from(s: TrialStep) -> Self {
        Self {
            name: s.name,
            outputs: s
                .outputs
                .into_iter()
                .map(|(record, route)| proto::TryOutput { record: Some(record.into()), route })
                .collect(),
            filtered: s.filtered,
            rejected: s.rejected.unwrap_or_default(),
            error: s.error.unwrap_or_default(),
        }
    }
}

impl From<proto::TryStep> for TrialStep {
    fn from(s: proto::TryStep) -> Self {
        Self {
            name: s.name,
            outputs: s.outputs.into_iter().map(|o| (o.record.unwrap_or_default().into(), o.route)).collect(),
            filtered: s.filtered,
            rejected: some(s.rejected),
            error: some(s.error),
        }
    }
}
