//! What guests reached for, to messages and back.

use crate::proto;
use crate::report::{AuditReport, AuditTarget};

impl From<AuditReport> for proto::AuditResponse {
    fn from(r: AuditReport) -> Self {
        Self { targets: r.targets.into_iter().map(Into::into).collect(), denied: r.denied }
    }
}

impl From<proto::AuditResponse> for AuditReport {
    fn from(r: proto::AuditResponse) -> Self {
        Self { targets: r.targets.into_iter().map(Into::into).collect(), denied: r.denied }
    }
}

impl From<AuditTarget> for proto::AuditTarget {
    fn from(t: AuditTarget) -> Self {
        Self {
            first_ms: t.first_ms,
            last_ms: t.last_ms,
            count: t.count,
            stream: t.stream,
            class: t.class,
            component: t.component,
            allowed: t.allowed,
            interface: t.interface,
            kind: t.kind,
            host: t.host,
            address: t.address,
            port: t.port.into(),
            rule: t.rule,
            words: t.words,
        }
    }
}

impl From<proto::AuditTarget> for AuditTarget {
    fn from(t: proto::AuditTarget) -> Self {
        Self {
            first_ms: t.first_ms,
            last_ms: t.last_ms,
            count: t.count,
            stream: t.stream,
            class: t.class,
            component: t.component,
            allowed: t.allowed,
            interface: t.interface,
            kind: t.kind,
            host: t.host,
            address: t.address,
            port: u16::try_from(t.port).unwrap_or(u16::MAX),
            rule: t.rule,
            words: t.words,
        }
    }
}
