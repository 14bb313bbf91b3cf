//! Dead letters and rewinding, between the plain types and the protocol.

use super::{diagnostics_in, diagnostics_out, malformed, some};
use crate::error::Error;
use crate::proto;
use crate::report::{DeadLetter, Dropped, ReadFrom, ReplayProgress};
use crate::request::{DeadLetterQuery, Rewind, RewindTo};

impl From<DeadLetterQuery> for proto::DeadLettersRequest {
    fn from(q: DeadLetterQuery) -> Self {
        Self {
            letters: q.letters,
            pipeline: q.pipeline.unwrap_or_default(),
            namespace: q.namespace.unwrap_or_default(),
            stream: q.stream.unwrap_or_default(),
            step: q.step.unwrap_or_default(),
            reason: q.reason.unwrap_or_default(),
            since_ms: q.since_ms,
            limit: q.limit.unwrap_or_default(),
            heads_only: q.heads_only,
        }
    }
}

impl From<proto::DeadLettersRequest> for DeadLetterQuery {
    fn from(q: proto::DeadLettersRequest) -> Self {
        Self {
            letters: q.letters,
            pipeline: some(q.pipeline),
            namespace: some(q.namespace),
            stream: some(q.stream),
            step: some(q.step),
            reason: some(q.reason),
            since_ms: q.since_ms,
            limit: (q.limit > 0).then_some(q.limit),
            heads_only: q.heads_only,
        }
    }
}

impl From<DeadLetter> for proto::DeadLetter {
    fn from(d: DeadLetter) -> Self {
        Self {
            number: d.number,
            id: d.id,
            pipeline: d.pipeline,
            stream: d.stream,
            step: d.step,
            code: d.code,
            reason: d.reason,
            attempts: d.attempts,
            time_ms: d.time_ms,
            record: Some(d.record.into()),
            component: d.component,
            address: d.address,
            truncated: d.truncated,
            payload_bytes: d.payload_bytes,
            obstacle: d.obstacle,
            error: d.error,
        }
    }
}

impl From<proto::DeadLetter> for DeadLetter {
    fn from(d: proto::DeadLetter) -> Self {
        Self {
            number: d.number,
            id: d.id,
            pipeline: d.pipeline,
            stream: d.stream,
            step: d.step,
            code: d.code,
            reason: d.reason,
            attempts: d.attempts,
            time_ms: d.time_ms,
            record: d.record.unwrap_or_default().into(),
            component: d.component,
            address: d.address,
            truncated: d.truncated,
            payload_bytes: d.payload_bytes,
            obstacle: d.obstacle,
            error: d.error,
        }
    }
}

impl From<ReplayProgress> for proto::ReplayProgress {
    fn from(p: ReplayProgress) -> Self {
        Self {
            total: p.total,
            delivered: p.delivered,
            filtered: p.filtered,
            given_up: p.given_up,
            left: p.left,
            problems: diagnostics_out(&p.problems),
        }
    }
}

pub(crate) fn progress_in(p: proto::ReplayProgress) -> Result<ReplayProgress, Error> {
    Ok(ReplayProgress {
        total: p.total,
        delivered: p.delivered,
        filtered: p.filtered,
        given_up: p.given_up,
        left: p.left,
        problems: diagnostics_in(p.problems)?,
    })
}

impl From<Vec<u8>> for proto::BackupPiece {
    fn from(content: Vec<u8>) -> Self {
        Self { content }
    }
}

impl From<Dropped> for proto::DropDeadLettersResponse {
    fn from(d: Dropped) -> Self {
        Self { dropped: d.dropped, busy: d.busy }
    }
}

impl From<proto::DropDeadLettersResponse> for Dropped {
    fn from(d: proto::DropDeadLettersResponse) -> Self {
        Self { dropped: d.dropped, busy: d.busy }
    }
}

impl From<Rewind> for proto::RewindRequest {
    fn from(r: Rewind) -> Self {
        let to = match r.to {
            RewindTo::Beginning => proto::rewind_request::To::Beginning(true),
            RewindTo::Time(ms) => proto::rewind_request::To::TimeMs(ms),
            RewindTo::Offset(offset) => proto::rewind_request::To::Offset(offset),
        };
        Self { pipeline: r.pipeline, namespace: r.namespace.unwrap_or_default(), to: Some(to) }
    }
}

pub(crate) fn rewind_in(r: proto::RewindRequest) -> Result<Rewind, Error> {
    let to = match r.to {
        Some(proto::rewind_request::To::Beginning(_)) => RewindTo::Beginning,
        Some(proto::rewind_request::To::TimeMs(ms)) => RewindTo::Time(ms),
        Some(proto::rewind_request::To::Offset(offset)) => RewindTo::Offset(offset),
        None => return Err(malformed("a rewind that does not say where to")),
    };
    Ok(Rewind { pipeline: r.pipeline, namespace: some(r.namespace), to })
}

impl From<ReadFrom> for proto::ReadFrom {
    fn from(r: ReadFrom) -> Self {
        Self { stream: r.stream, offset: r.offset }
    }
}

impl From<proto::ReadFrom> for ReadFrom {
    fn from(r: proto::ReadFrom) -> Self {
        Self { stream: r.stream, offset: r.offset }
    }
}
