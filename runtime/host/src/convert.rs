//! Between the model's types and those that cross the boundary. Columns are shared, never copied.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use ferrule_model::component::{Columns, Description, Direction, NamedSchema, Problem};
use ferrule_model::plain;
use ferrule_model::record::{Batch, Column, Outcomes, Postponement, Rejection, Transformed};

use crate::bindings::exports::ferrule::connector::component as wit;
use crate::bindings::ferrule::connector::{logging, status};
use crate::bindings::wire;
use crate::error::{GuestError, GuestErrorKind};
use crate::limits;
use crate::observer::{Level, Severity};

fn lower_column(column: &Column) -> wire::Column {
    wire::Column { bytes: column.bytes.clone(), ends: column.ends.clone() }
}

fn lift_column(column: wire::Column) -> Column {
    Column { bytes: column.bytes, ends: column.ends }
}

fn lift_extra(extra: Vec<(u16, wire::Column)>) -> Vec<(u16, Column)> {
    extra.into_iter().map(|(number, column)| (number, lift_column(column))).collect()
}

/// A batch for a sink that reads only the columns `reads`; tokens always go along.
pub(crate) fn lower_batch(batch: &Batch, reads: Columns) -> wire::Batch {
    wire::Batch { tokens: batch.tokens.clone(), ..lower_input(batch, reads) }
}

/// A batch for a function that reads only the columns `reads`. It has no tokens: outputs name their inputs by place.
pub(crate) fn lower_input(batch: &Batch, reads: Columns) -> wire::Batch {
    let column = |flag, column| if reads.contains(flag) { lower_column(column) } else { absent() };
    wire::Batch {
        count: batch.count,
        payload: column(Columns::PAYLOAD, &batch.payload),
        key: column(Columns::KEY, &batch.key),
        headers: column(Columns::HEADERS, &batch.headers),
        timestamps: if reads.contains(Columns::TIMESTAMPS) { batch.timestamps.clone() } else { Arc::default() },
        tokens: Arc::default(),
        upstream_ids: absent(),
        record_ids: column(Columns::RECORD_IDS, &batch.record_ids),
        attempts: if reads.contains(Columns::ATTEMPTS) { batch.attempts.clone() } else { Arc::default() },
        extra: batch.extra.iter().map(|(number, column)| (*number, lower_column(column))).collect(),
    }
}

fn absent() -> wire::Column {
    wire::Column { bytes: Bytes::new(), ends: Arc::default() }
}

pub(crate) fn lift_batch(batch: wire::Batch) -> Batch {
    Batch {
        count: batch.count,
        payload: lift_column(batch.payload),
        key: lift_column(batch.key),
        headers: lift_column(batch.headers),
        timestamps: batch.timestamps,
        tokens: batch.tokens,
        upstream_ids: lift_column(batch.upstream_ids),
        record_ids: lift_column(batch.record_ids),
        attempts: batch.attempts,
        extra: lift_extra(batch.extra),
    }
}

/// A text of a guest's as it is kept.
fn said(text: String) -> String {
    match plain::text(plain::clipped(&text, limits::TEXT_BYTES)) {
        Cow::Borrowed(kept) if kept.len() == text.len() => text,
        kept => kept.into_owned(),
    }
}

fn lift_rejections(rejected: Vec<wire::Rejection>) -> Vec<Rejection> {
    rejected.into_iter().map(|one| Rejection { record_ref: one.record_ref, reason: said(one.reason) }).collect()
}

pub(crate) fn lift_outcomes(outcomes: wire::Outcomes) -> Outcomes {
    Outcomes {
        delivered: outcomes.delivered,
        retry: outcomes
            .retry
            .into_iter()
            .map(|one| Postponement { token: one.token, after_ms: one.after_ms, reason: said(one.reason) })
            .collect(),
        rejected: lift_rejections(outcomes.rejected),
    }
}

pub(crate) fn lift_transformed(transformed: wire::Transformed) -> Transformed {
    Transformed {
        origins: transformed.origins,
        also: transformed.also,
        changes: transformed.changes,
        payload: lift_column(transformed.payload),
        key: lift_column(transformed.key),
        headers: lift_column(transformed.headers),
        timestamps: transformed.timestamps,
        routes: transformed.routes,
        rejected: lift_rejections(transformed.rejected),
        extra: lift_extra(transformed.extra),
    }
}

/// Bytes that the output of a function takes: what is new, and what it has of its input. Inputs that are named once each are no more
/// than the input; one that is named again and again is as much more.
pub(crate) fn size_of_output(transformed: &Transformed, input: &Batch) -> usize {
    let new = [&transformed.payload, &transformed.key, &transformed.headers].map(|column| column.bytes.len());
    let new: usize = new.into_iter().sum();
    let origins = &transformed.origins;
    let rising = origins.iter().zip(origins.iter().skip(1)).all(|(one, next)| one < next);
    let taken = if rising {
        input.size()
    } else {
        origins.iter().fold(0, |sum: usize, origin| sum.saturating_add(input.record_size(*origin as usize)))
    };
    new.saturating_add(taken)
}

pub(crate) fn lift_error(error: wire::Error) -> GuestError {
    let (kind, message) = match error {
        wire::Error::Unavailable(message) => (GuestErrorKind::Unavailable, message),
        wire::Error::Invalid(message) => (GuestErrorKind::Invalid, message),
        wire::Error::Denied(message) => (GuestErrorKind::Denied, message),
        wire::Error::Failed(message) => (GuestErrorKind::Failed, message),
    };
    GuestError { kind, message: said(message) }
}

pub(crate) fn lower_direction(direction: Direction) -> wit::Direction {
    match direction {
        Direction::Ingress => wit::Direction::Ingress,
        Direction::Egress => wit::Direction::Egress,
        Direction::Transform => wit::Direction::Transform,
    }
}

fn lift_columns(columns: wit::Columns) -> Columns {
    [
        (wit::Columns::PAYLOAD, Columns::PAYLOAD),
        (wit::Columns::KEY, Columns::KEY),
        (wit::Columns::HEADERS, Columns::HEADERS),
        (wit::Columns::TIMESTAMPS, Columns::TIMESTAMPS),
        (wit::Columns::RECORD_IDS, Columns::RECORD_IDS),
        (wit::Columns::ATTEMPTS, Columns::ATTEMPTS),
    ]
    .into_iter()
    .filter(|(flag, _)| columns.contains(*flag))
    .fold(Columns::NONE, |all, (_, column)| all | column)
}

pub(crate) fn lift_description(description: wit::Description) -> Description {
    Description {
        name: description.name,
        version: description.version,
        summary: plain::text(&description.summary).into_owned(),
        directions: description
            .directions
            .into_iter()
            .map(|direction| match direction {
                wit::Direction::Ingress => Direction::Ingress,
                wit::Direction::Egress => Direction::Egress,
                wit::Direction::Transform => Direction::Transform,
            })
            .collect(),
        schemas: description
            .schemas
            .into_iter()
            .map(|schema| NamedSchema { name: schema.name, content: schema.content })
            .collect(),
        capabilities: description
            .capabilities
            .into_iter()
            .map(|asked| ferrule_model::component::Capability {
                kind: asked.kind,
                target: asked.target,
                reason: plain::text(&asked.reason).into_owned(),
            })
            .collect(),
        reads: lift_columns(description.reads),
        routes: description.routes,
        properties: description.properties,
    }
}

pub(crate) fn lift_problem(problem: wit::Problem) -> Problem {
    Problem { scope: problem.scope, path: problem.path, position: problem.position, message: problem.message }
}

pub(crate) fn lift_level(level: logging::Level) -> Level {
    match level {
        logging::Level::Trace => Level::Trace,
        logging::Level::Debug => Level::Debug,
        logging::Level::Info => Level::Info,
        logging::Level::Warn => Level::Warn,
        logging::Level::Error => Level::Error,
    }
}

pub(crate) fn lift_severity(severity: status::Severity) -> Severity {
    match severity {
        status::Severity::Info => Severity::Info,
        status::Severity::Warning => Severity::Warning,
        status::Severity::Critical => Severity::Critical,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guest_does_not_read_stays_here() {
        let column = || Column::of(["a", "bc"]).unwrap();
        let batch = Batch {
            count: 2,
            payload: column(),
            key: column(),
            headers: column(),
            timestamps: Arc::from([1, 2]),
            tokens: Arc::from([3, 4]),
            upstream_ids: column(),
            record_ids: column(),
            attempts: Arc::from([1, 1]),
            extra: vec![(9, column())],
        };
        let input = lower_input(&batch, Columns::PAYLOAD);
        assert_eq!((input.count, input.payload.bytes.as_ptr()), (2, batch.payload.bytes.as_ptr()), "shared");
        let lengths = [&input.key, &input.headers, &input.upstream_ids, &input.record_ids].map(|one| one.ends.len());
        assert_eq!((lengths, input.timestamps.len(), input.tokens.len(), input.attempts.len()), ([0; 4], 0, 0, 0));
        assert_eq!(input.extra.len(), 1, "what is not known is not dropped");

        let all = [Columns::KEY, Columns::HEADERS, Columns::TIMESTAMPS, Columns::RECORD_IDS, Columns::ATTEMPTS];
        let sunk = lower_batch(&batch, all.into_iter().fold(Columns::NONE, |all, one| all | one));
        let lengths = [&sunk.payload, &sunk.key, &sunk.headers, &sunk.upstream_ids, &sunk.record_ids];
        assert_eq!(lengths.map(|one| one.ends.len()), [0, 2, 2, 0, 2]);
        assert_eq!((sunk.timestamps.len(), &*sunk.tokens, sunk.attempts.len()), (2, &[3, 4][..], 2));
    }
}
