//! Between the plain types and the protocol.

mod audit;
mod letters;
mod reports;

use ferrule_model::Kind;
use ferrule_model::error::{Code, Diagnostic, Severity};

pub(crate) use self::letters::{progress_in, rewind_in};
pub(crate) use self::reports::{
    applied_in, differences_in, facts_in, objects_in, objects_out, registered_in, status_in, stored_in,
};
use crate::error::Error;
use crate::proto;
use crate::request::{
    Application, ApplyMode, Control, ControlAction, DRAIN_DEADLINE, Deletion, Document, LogQuery, Query, StatusQuery,
    Tail, Trial,
};

/// The other end sent something that this one cannot read.
pub(crate) fn malformed(what: &str) -> Error {
    Error::Protocol(format!("{what}; are client and server of the same version?"))
}

fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

fn millis(duration: std::time::Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

fn kind(text: &str) -> Result<Kind, Error> {
    Kind::parse(text).ok_or_else(|| malformed(&format!("unknown kind '{text}'")))
}

fn optional_kind(text: &str) -> Result<Option<Kind>, Error> {
    if text.is_empty() { Ok(None) } else { kind(text).map(Some) }
}

fn json<T: serde::de::DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T, Error> {
    serde_json::from_slice(bytes).map_err(|error| malformed(&format!("{what} is not as expected ({error})")))
}

fn to_json<T: serde::Serialize>(value: &T) -> Vec<u8> {
    // Values of the model have string keys and finite numbers only, so there is nothing that JSON cannot say.
    serde_json::to_vec(value).unwrap_or_default()
}

impl From<&Diagnostic> for proto::Diagnostic {
    fn from(d: &Diagnostic) -> Self {
        let (line, column) = d.position.unwrap_or_default();
        Self {
            code: d.code.id().to_owned(),
            document: d.document.clone(),
            path: d.path.clone(),
            message: d.message.clone(),
            expected: d.expected.clone().unwrap_or_default(),
            found: d.found.clone().unwrap_or_default(),
            help: d.help.clone().unwrap_or_default(),
            warning: !d.is_error(),
            line,
            column,
        }
    }
}

pub(crate) fn diagnostics_out<'a>(all: impl IntoIterator<Item = &'a Diagnostic>) -> Vec<proto::Diagnostic> {
    all.into_iter().map(Into::into).collect()
}

fn diagnostic_in(d: proto::Diagnostic) -> Result<Diagnostic, Error> {
    let code = d.code.parse::<Code>().map_err(|error| malformed(&format!("{error} ({})", d.message)))?;
    Ok(Diagnostic {
        severity: if d.warning { Severity::Warning } else { Severity::Error },
        code,
        document: d.document,
        position: (d.line > 0).then_some((d.line, d.column)),
        path: d.path,
        message: d.message,
        expected: some(d.expected),
        found: some(d.found),
        help: some(d.help),
    })
}

pub(crate) fn diagnostics_in(all: Vec<proto::Diagnostic>) -> Result<Vec<Diagnostic>, Error> {
    all.into_iter().map(diagnostic_in).collect()
}

fn document_out(d: &Document) -> proto::Document {
    proto::Document {
        name: d.name.clone(),
        content: d.content.clone(),
        noun: d.noun.map(|k| k.name().to_owned()).unwrap_or_default(),
        folder: d.folder.as_ref().map(|f| f.to_string_lossy().into_owned()).unwrap_or_default(),
        files: d
            .files
            .iter()
            .map(|(path, content)| proto::NamedFile { path: path.clone(), content: content.clone() })
            .collect(),
    }
}

fn document_in(d: proto::Document) -> Result<Document, Error> {
    Ok(Document {
        name: d.name,
        content: d.content,
        noun: optional_kind(&d.noun)?,
        folder: some(d.folder).map(Into::into),
        files: d.files.into_iter().map(|f| (f.path, f.content)).collect(),
    })
}

fn documents_in(all: Vec<proto::Document>) -> Result<Vec<Document>, Error> {
    all.into_iter().map(document_in).collect()
}

impl From<Application> for proto::ApplyRequest {
    fn from(a: Application) -> Self {
        Self {
            documents: a.documents.iter().map(document_out).collect(),
            mode: match a.mode {
                ApplyMode::Apply => proto::ApplyMode::Unspecified,
                ApplyMode::Create => proto::ApplyMode::Create,
                ApplyMode::Update => proto::ApplyMode::Update,
            } as i32,
            dry_run: a.dry_run,
            prune: a.prune,
            set: a.set.unwrap_or_default(),
            namespace: a.namespace.unwrap_or_default(),
            environment: a.environment.into_iter().collect(),
            complete: a.complete,
        }
    }
}

pub(crate) fn application_in(a: proto::ApplyRequest) -> Result<Application, Error> {
    Ok(Application {
        mode: match a.mode() {
            proto::ApplyMode::Unspecified => ApplyMode::Apply,
            proto::ApplyMode::Create => ApplyMode::Create,
            proto::ApplyMode::Update => ApplyMode::Update,
        },
        documents: documents_in(a.documents)?,
        dry_run: a.dry_run,
        prune: a.prune,
        set: some(a.set),
        namespace: some(a.namespace),
        environment: a.environment.into_iter().collect(),
        complete: a.complete,
    })
}

impl From<Query> for proto::GetRequest {
    fn from(q: Query) -> Self {
        Self {
            kind: q.kind.map(|k| k.name().to_owned()).unwrap_or_default(),
            names: q.names,
            namespace: q.namespace.unwrap_or_default(),
            labels: q.labels.into_iter().collect(),
        }
    }
}

pub(crate) fn query_in(q: proto::GetRequest) -> Result<Query, Error> {
    Ok(Query {
        kind: optional_kind(&q.kind)?,
        names: q.names,
        namespace: some(q.namespace),
        labels: q.labels.into_iter().collect(),
    })
}

impl From<Deletion> for proto::DeleteRequest {
    fn from(d: Deletion) -> Self {
        Self {
            kind: d.kind.map(|k| k.name().to_owned()).unwrap_or_default(),
            names: d.names,
            namespace: d.namespace.unwrap_or_default(),
            cascade: d.cascade,
            documents: d.documents.iter().map(document_out).collect(),
            environment: d.environment.into_iter().collect(),
            dry_run: d.dry_run,
        }
    }
}

pub(crate) fn deletion_in(d: proto::DeleteRequest) -> Result<Deletion, Error> {
    Ok(Deletion {
        kind: optional_kind(&d.kind)?,
        names: d.names,
        namespace: some(d.namespace),
        cascade: d.cascade,
        documents: documents_in(d.documents)?,
        environment: d.environment.into_iter().collect(),
        dry_run: d.dry_run,
    })
}

impl From<StatusQuery> for proto::StatusRequest {
    fn from(q: StatusQuery) -> Self {
        Self { targets: q.targets, namespace: q.namespace.unwrap_or_default() }
    }
}

impl From<proto::StatusRequest> for StatusQuery {
    fn from(q: proto::StatusRequest) -> Self {
        Self { targets: q.targets, namespace: some(q.namespace) }
    }
}

impl From<Tail> for proto::TailRequest {
    fn from(t: Tail) -> Self {
        Self { target: t.target, namespace: t.namespace.unwrap_or_default(), limit: t.limit.unwrap_or_default() }
    }
}

impl From<proto::TailRequest> for Tail {
    fn from(t: proto::TailRequest) -> Self {
        Self { target: t.target, namespace: some(t.namespace), limit: (t.limit > 0).then_some(t.limit) }
    }
}

impl From<LogQuery> for proto::LogsRequest {
    fn from(q: LogQuery) -> Self {
        Self {
            target: q.target.unwrap_or_default(),
            namespace: q.namespace.unwrap_or_default(),
            follow: q.follow,
            tail: q.tail.unwrap_or_default(),
        }
    }
}

impl From<proto::LogsRequest> for LogQuery {
    fn from(q: proto::LogsRequest) -> Self {
        Self {
            target: some(q.target),
            namespace: some(q.namespace),
            follow: q.follow,
            tail: (q.tail > 0).then_some(q.tail),
        }
    }
}

impl From<Trial> for proto::TryRequest {
    fn from(t: Trial) -> Self {
        Self { pipeline: t.pipeline, namespace: t.namespace.unwrap_or_default(), record: Some(t.record.into()) }
    }
}

impl From<proto::TryRequest> for Trial {
    fn from(t: proto::TryRequest) -> Self {
        Self { pipeline: t.pipeline, namespace: some(t.namespace), record: t.record.unwrap_or_default().into() }
    }
}

impl From<&Control> for proto::ControlRequest {
    fn from(c: &Control) -> Self {
        Self {
            kind: c.kind.map(|k| k.name().to_owned()).unwrap_or_default(),
            names: c.names.clone(),
            namespace: c.namespace.clone().unwrap_or_default(),
            deadline_ms: match c.action {
                ControlAction::Drain { deadline } => millis(deadline).max(1),
                ControlAction::Hold | ControlAction::Resume => 0,
            },
        }
    }
}

/// How long a drain may take, as the request says.
pub(crate) fn deadline(request: &proto::ControlRequest) -> std::time::Duration {
    match request.deadline_ms {
        0 => DRAIN_DEADLINE,
        ms => std::time::Duration::from_millis(ms.into()),
    }
}

pub(crate) fn control_in(c: proto::ControlRequest, action: ControlAction) -> Result<Control, Error> {
    Ok(Control { action, kind: optional_kind(&c.kind)?, names: c.names, namespace: some(c.namespace) })
}
