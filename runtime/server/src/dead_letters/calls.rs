//! Dead letters as callers ask for them: shown and removed.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use ferrule_api::report::{DeadLetter, Dropped, Record};
use ferrule_api::request::DeadLetterQuery;
use ferrule_api::{Error, Reports};
use ferrule_model::{Code, Diagnostic, Kind, Uid};

use super::{DeadLetterStore, Entry};
use crate::platform::Inner;
use crate::reports::headers;
use crate::world::{Found, World};

/// The beginning of a record id must have so many digits.
const ID_DIGITS: usize = 4;

pub(super) fn refused(code: Code, text: impl Into<String>) -> Error {
    Error::refused(Diagnostic::new(code, text))
}

/// Runs what blocks on the disk.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(Error::Internal(error.to_string())))
}

/// What a query asks for, with its names found.
struct Filter {
    pipeline: Option<Wanted>,
    stream: Option<Wanted>,
    step: Option<String>,
    since_ms: Option<i64>,
}

/// A name, and the object that has it now, if there is one.
struct Wanted {
    name: String,
    uid: Option<Uid>,
}

impl Filter {
    fn fits(&self, entry: &Entry) -> bool {
        let place = &entry.place;
        let of_pipeline = |wanted: &Wanted| {
            let Some(uid) = &place.pipeline else { return false };
            // The letters of a pipeline that was deleted are known by its name.
            wanted.uid.as_ref() == Some(uid) || place.pipeline_name == wanted.name || uid.as_str() == wanted.name
        };
        self.since_ms.is_none_or(|since| entry.time_ms >= since)
            && self.step.as_ref().is_none_or(|step| place.step == *step)
            && self.pipeline.as_ref().is_none_or(of_pipeline)
            && self
                .stream
                .as_ref()
                .is_none_or(|wanted| wanted.uid.as_ref() == Some(&place.stream) || place.stream.as_str() == wanted.name)
    }
}

/// Finds a name. That nothing has it is an error only if no letter knows it either.
fn wanted(
    world: &World,
    kind: Kind,
    name: &Option<String>,
    namespace: Option<&str>,
    known: impl Fn(&str) -> bool,
) -> Result<Option<Wanted>, Error> {
    let Some(name) = name else { return Ok(None) };
    let uid = match world.find(kind, name, namespace) {
        Found::Nothing if known(name) => None,
        _ => {
            let found = crate::delete::find(world, kind, name, namespace).map_err(|p| Error::refused(*p))?;
            Some(found.uid().clone())
        }
    };
    Ok(Some(Wanted { name: name.clone(), uid }))
}

/// The letters that a query asks for, oldest first.
pub(super) async fn select(inner: &Inner, query: &DeadLetterQuery) -> Result<Vec<Entry>, Error> {
    let store = &inner.dead_letters;
    let world = inner.world().await?;
    let namespace = query.namespace.as_deref();
    let any = |fits: &dyn Fn(&Entry) -> bool| !store.select(fits).is_empty();
    let filter = Filter {
        pipeline: wanted(&world, Kind::Pipeline, &query.pipeline, namespace, |name| {
            any(&|entry| entry.place.pipeline.is_some() && entry.place.pipeline_name == name)
        })?,
        stream: wanted(&world, Kind::Stream, &query.stream, namespace, |name| {
            any(&|entry| entry.place.stream.as_str() == name)
        })?,
        step: query.step.clone(),
        since_ms: query.since_ms,
    };
    let mut entries = match &query.letters[..] {
        [] => store.select(|entry| filter.fits(entry)),
        letters => named(store, letters)?.into_iter().filter(|entry| filter.fits(entry)).collect(),
    };
    if let Some(namespace) = namespace {
        let in_namespace = |entry: &Entry| {
            let object = match &entry.place.pipeline {
                Some(pipeline) => world.object(Kind::Pipeline, pipeline),
                None => world.object(Kind::Stream, &entry.place.stream),
            };
            object.is_some_and(|object| world.project(object) == namespace)
        };
        entries.retain(in_namespace);
    }
    let limit = query.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX));
    if let Some(reason) = query.reason.clone() {
        let store = store.clone();
        return blocking(move || Ok(with_reason(&store, entries, &reason, limit))).await;
    }
    entries.truncate(limit);
    Ok(entries)
}

/// The letters that numbers and beginnings of ids stand for; an error names all that stand for none or for several.
fn named(store: &DeadLetterStore, letters: &[String]) -> Result<Vec<Entry>, Error> {
    let mut numbers = BTreeSet::new();
    let mut problems = Vec::new();
    for text in letters {
        let number: Option<u64> = text.parse().ok();
        if let Some(number) = number
            && !store.select(|entry| entry.number == number).is_empty()
        {
            numbers.insert(number);
            continue;
        }
        let beginning = text.to_ascii_lowercase();
        let fitting = match beginning.len() >= ID_DIGITS && beginning.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            true => store.select(|entry| entry.id.to_hex().starts_with(beginning.as_bytes())),
            false => Vec::new(),
        };
        match &fitting[..] {
            [] => problems.push(
                Diagnostic::new(Code::NotFound, format!("there is no dead letter `{text}`"))
                    .help("`ferrule deadletter list` shows what there is, with the numbers"),
            ),
            [only] => {
                numbers.insert(only.number);
            }
            several => {
                let numbers: Vec<String> = several.iter().take(10).map(|entry| entry.number.to_string()).collect();
                problems.push(
                    Diagnostic::new(Code::Ambiguous, format!("`{text}` fits {} dead letters", several.len()))
                        .found(numbers.join(", "))
                        .help("name one by its number"),
                );
            }
        }
    }
    if !problems.is_empty() {
        return Err(Error::Refused(problems));
    }
    Ok(store.select(|entry| numbers.contains(&entry.number)))
}

fn with_reason(store: &DeadLetterStore, entries: Vec<Entry>, reason: &str, limit: usize) -> Vec<Entry> {
    let wanted = reason.to_lowercase();
    let mut fitting = Vec::new();
    for entry in entries {
        if fitting.len() == limit {
            break;
        }
        let fits = entry.code.as_str() == wanted
            || matches!(store.read(entry.number), Ok(Some(letter)) if letter.reason.to_lowercase().contains(&wanted));
        if fits {
            fitting.push(entry);
        }
    }
    fitting
}

/// Why a letter cannot be replayed.
pub(super) fn obstacle(letter: &ferrule_flow::DeadLetter) -> Option<&'static str> {
    match letter {
        _ if letter.pipeline.is_none() => Some("its stream gave it up before any pipeline read it"),
        _ if letter.truncated > 0 => Some("only its head was kept"),
        _ => None,
    }
}

/// The letters that a query asks for.
pub(crate) async fn list(inner: &Inner, query: DeadLetterQuery) -> Result<Reports<DeadLetter>, Error> {
    let entries = select(inner, &query).await?;
    let world = inner.world().await?;
    let names: HashMap<Uid, String> = entries
        .iter()
        .map(|entry| &entry.place.stream)
        .collect::<std::collections::HashSet<_>>()
        .into_iter()
        .filter_map(|uid| Some((uid.clone(), world.unique_name(world.object(Kind::Stream, uid)?))))
        .collect();
    let store = inner.dead_letters.clone();
    let (sender, receiver) = tokio::sync::mpsc::channel(16);
    // Reading waits for the disk, so it has a thread; it ends when nobody listens any more.
    tokio::task::spawn_blocking(move || {
        for entry in entries {
            let answer = match store.read(entry.number) {
                // Removed since.
                Ok(None) => continue,
                Ok(Some(letter)) => report(&entry, letter, &names, query.heads_only),
                Err(error) => unreadable(&entry, &error),
            };
            if sender.blocking_send(Ok(answer)).is_err() {
                return;
            }
        }
    });
    Ok(Box::pin(tokio_stream::wrappers::ReceiverStream::new(receiver)))
}

fn report(
    entry: &Entry,
    letter: ferrule_flow::DeadLetter,
    names: &HashMap<Uid, String>,
    heads_only: bool,
) -> DeadLetter {
    let record = match heads_only {
        true => Record { timestamp_ns: letter.timestamp_ns, id: letter.id.to_string(), ..Record::default() },
        false => Record {
            payload: letter.payload.to_vec(),
            key: letter.key.to_vec(),
            headers: headers(&letter.headers),
            timestamp_ns: letter.timestamp_ns,
            id: letter.id.to_string(),
        },
    };
    DeadLetter {
        number: entry.number,
        id: letter.id.to_string(),
        obstacle: obstacle(&letter).unwrap_or_default().to_owned(),
        payload_bytes: letter.payload.len() as u64,
        pipeline: letter.pipeline.map(|_| letter.pipeline_name).unwrap_or_default(),
        stream: names.get(&letter.stream).cloned().unwrap_or_else(|| letter.stream.to_string()),
        step: letter.step,
        code: letter.code.to_string(),
        error: letter.code.error().map(|code| code.to_string()).unwrap_or_default(),
        reason: letter.reason,
        attempts: letter.attempts,
        time_ms: letter.time_ms,
        record,
        component: letter.component,
        address: letter.address.map(|address| address.to_string()).unwrap_or_default(),
        truncated: letter.truncated,
    }
}

/// What is known of a letter whose bytes are damaged.
fn unreadable(entry: &Entry, error: &std::io::Error) -> DeadLetter {
    let place = &entry.place;
    DeadLetter {
        number: entry.number,
        id: entry.id.to_string(),
        pipeline: place.pipeline.as_ref().map(|_| place.pipeline_name.clone()).unwrap_or_default(),
        stream: place.stream.to_string(),
        step: place.step.clone(),
        code: entry.code.to_string(),
        error: entry.code.error().map(|code| code.to_string()).unwrap_or_default(),
        reason: error.to_string(),
        time_ms: entry.time_ms,
        obstacle: "its bytes are damaged".to_owned(),
        ..DeadLetter::default()
    }
}

/// Removes letters.
pub(crate) async fn drop_letters(store: &Arc<DeadLetterStore>, numbers: Vec<u64>) -> Result<Dropped, Error> {
    let store = store.clone();
    blocking(move || {
        let (dropped, busy) = store
            .remove(&numbers)
            .map_err(|error| refused(Code::DataFolder, format!("dead letters cannot be removed: {error}")))?;
        Ok(Dropped { dropped, busy })
    })
    .await
}
