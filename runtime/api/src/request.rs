//! What a caller hands in.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use ferrule_model::Kind;

use crate::report::Record;

/// Which decisions [`crate::Platform::audit`] shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditQuery {
    /// A stream or `pipeline/step`, or the end of its full name after a slash; none: all.
    pub stream: Option<String>,
    /// Only what was denied.
    pub denied: bool,
}

/// A file of documents as its user knows it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Document {
    /// The file's path as given, or `standard input`. Diagnostics name it.
    pub name: String,
    /// JSON or YAML, one or several objects.
    pub content: Vec<u8>,
    /// The noun it was given under: the kind of documents that do not name theirs.
    pub noun: Option<Kind>,
    /// The folder that relative paths in it start from.
    pub folder: Option<PathBuf>,
    /// Files that it names by path, for a server on another machine.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// Which changes [`crate::Platform::apply`] may make.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ApplyMode {
    /// Creates or changes.
    #[default]
    Apply,
    /// Only creates.
    Create,
    /// Only changes.
    Update,
}

/// Documents to apply.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Application {
    /// The documents, in order.
    pub documents: Vec<Document>,
    /// Which changes may be made.
    pub mode: ApplyMode,
    /// Check everything and change nothing.
    pub dry_run: bool,
    /// Also delete what an earlier call with the same `set` applied and these documents no longer contain.
    pub prune: bool,
    /// A name for these documents as a whole, for `prune`.
    pub set: Option<String>,
    /// The namespace of objects that name none; none: they stay without.
    pub namespace: Option<String>,
    /// Values for `${env:NAME}`: see [`environment_of`].
    pub environment: BTreeMap<String, String>,
    /// Nothing will be applied later: what streams and pipelines need and is not there is an error, and no condition that may pass.
    pub complete: bool,
}

/// The variables that documents ask for by `${env:NAME}`, as far as `lookup` has them, so that a server is told these and no
/// others.
pub fn environment_of<'a>(
    documents: impl IntoIterator<Item = &'a Document>,
    lookup: impl Fn(&str) -> Option<String>,
) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for document in documents {
        let text = String::from_utf8_lossy(&document.content);
        for rest in text.split("${env:").skip(1) {
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(rest.len());
            let name = &rest[..end];
            if let Some(value) = lookup(name) {
                found.insert(name.to_owned(), value);
            }
        }
    }
    found
}

/// Which objects to get.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// None: all kinds.
    pub kind: Option<Kind>,
    /// Names or uids; empty: all.
    pub names: Vec<String>,
    /// None: all namespaces.
    pub namespace: Option<String>,
    /// Every one of them must match.
    pub labels: BTreeMap<String, String>,
}

/// What to delete: a kind and names, or what documents name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deletion {
    /// The kind of `names`.
    pub kind: Option<Kind>,
    /// Names or uids.
    pub names: Vec<String>,
    /// None: any.
    pub namespace: Option<String>,
    /// Also what needs them.
    pub cascade: bool,
    /// Documents whose objects are deleted.
    pub documents: Vec<Document>,
    /// Values for `${env:NAME}`.
    pub environment: BTreeMap<String, String>,
    /// Say what would be deleted, and delete nothing.
    pub dry_run: bool,
}

/// A component to keep.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Registration {
    /// The `.wasm` file.
    pub content: Vec<u8>,
    /// As the user knows the file.
    pub file: String,
    /// The name of the class or function; none: as the component describes itself.
    pub name: Option<String>,
    /// An existing class or function (`name` or `name@version`) that it is to serve.
    pub for_class: Option<String>,
    /// Lets a class or function that has another component move to this one.
    pub replace: bool,
    /// Also write a grant of all that it asks for.
    pub grant: bool,
    /// Check everything and change nothing.
    pub dry_run: bool,
}

/// A component to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inspection {
    /// One that is kept: by digest, or by the name of a class, function or component.
    Reference(String),
    /// One that is sent along and not kept.
    Content(Vec<u8>),
}

/// Whose status to report.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StatusQuery {
    /// Names or uids of streams and pipelines, `stream/NAME` or `pipeline/NAME` where both exist; empty: all.
    pub targets: Vec<String>,
    /// None: all namespaces.
    pub namespace: Option<String>,
}

/// Whose records to show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tail {
    /// A stream, a pipeline or `PIPELINE/STEP`.
    pub target: String,
    /// None: any.
    pub namespace: Option<String>,
    /// Ends after so many records.
    pub limit: Option<u64>,
}

/// Whose log to show.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LogQuery {
    /// A stream, a pipeline or `PIPELINE/STEP`; none: all.
    pub target: Option<String>,
    /// None: any.
    pub namespace: Option<String>,
    /// Go on with new lines.
    pub follow: bool,
    /// How many of the last lines come first; none: all that are kept.
    pub tail: Option<u32>,
}

/// One record to send through a pipeline's functions.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trial {
    /// The pipeline.
    pub pipeline: String,
    /// None: any.
    pub namespace: Option<String>,
    /// The record.
    pub record: Record,
}

/// Which dead letters are meant: those that fit all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadLetterQuery {
    /// Numbers, or beginnings of record ids of at least 4 digits; each must be there. Empty: all.
    pub letters: Vec<String>,
    /// None: of all pipelines.
    pub pipeline: Option<String>,
    /// None: any.
    pub namespace: Option<String>,
    /// The stream that the records came from; none: any.
    pub stream: Option<String>,
    /// The step or sink that gave them up; none: any.
    pub step: Option<String>,
    /// The stable word of the reason, or a part of its text; none: any.
    pub reason: Option<String>,
    /// Given up at this time or later, in milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// The oldest so many.
    pub limit: Option<u64>,
    /// Leave the records' bytes out.
    pub heads_only: bool,
}

/// Where a pipeline is to read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RewindTo {
    /// At the oldest record that the log holds.
    Beginning,
    /// At the first record taken in at this time or later, in milliseconds since 1970.
    Time(i64),
    /// At this offset, in each of its streams.
    Offset(u64),
}

/// Has a pipeline read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rewind {
    /// The pipeline.
    pub pipeline: String,
    /// None: any.
    pub namespace: Option<String>,
    /// Where.
    pub to: RewindTo,
}

/// What to do with streams or pipelines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ControlAction {
    /// Pause; stays over restarts.
    Hold,
    /// End the pause.
    Resume,
    /// Stop taking in, wait for the outcome of what is in flight, pause.
    Drain {
        /// How long to wait.
        deadline: Duration,
    },
}

/// How long [`ControlAction::Drain`] waits unless told otherwise.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(10);

/// Pauses, resumes or drains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    /// What to do.
    pub action: ControlAction,
    /// [`Kind::Stream`], [`Kind::Pipeline`], or whichever has that name.
    pub kind: Option<Kind>,
    /// Names or uids.
    pub names: Vec<String>,
    /// None: any.
    pub namespace: Option<String>,
}
