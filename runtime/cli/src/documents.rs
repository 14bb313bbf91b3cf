//! Where documents come from: files, folders and standard input.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use ferrule_api::request::{Application, Document, environment_of};
use ferrule_model::{Code, Diagnostic};
use ferrule_model::{Kind, Object};

use crate::exit::{Exit, Failure};

/// What `-f` gave, as the server takes it. Variables that the documents name go along, and no others.
pub(crate) fn application(sources: &[Source], noun: Option<Kind>) -> Result<Application, Failure> {
    let documents: Vec<Document> = sources
        .iter()
        .map(|source| Document {
            name: source.name.clone(),
            content: source.bytes.clone(),
            noun,
            folder: fs::canonicalize(&source.folder).ok(),
            files: BTreeMap::new(),
        })
        .collect();
    let environment = environment_of(&documents, |name| std::env::var(name).ok());
    Ok(Application { documents, environment, ..Application::default() })
}

/// A document as it was read.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    /// The path as given, or `-` for standard input: what error messages call it.
    pub(crate) name: String,
    /// The folder that relative paths in the document start from.
    pub(crate) folder: PathBuf,
    pub(crate) bytes: Vec<u8>,
}

/// A file larger than this is not read: no document is, and a device or a wrong path must not fill the memory.
const LARGEST_FILE: u64 = 4 * 1024 * 1024;

/// Reads what `-f` names: files, the `.yaml`, `.yml` and `.json` files of folders, in order of their names, and `-` for
/// standard input.
pub(crate) fn read_sources(paths: &[PathBuf]) -> Result<Vec<Source>, Failure> {
    let mut sources = Vec::new();
    for path in paths {
        if path == Path::new("-") {
            let mut bytes = Vec::new();
            std::io::stdin().lock().take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
            sources.push(Source { name: "-".to_owned(), folder: PathBuf::from("."), bytes });
        } else if path.is_dir() {
            let found = files_of(path)?;
            if found.is_empty() {
                return Err(Failure::new(
                    Exit::NotFound,
                    format!("{} has no .yaml, .yml or .json file", path.display()),
                ));
            }
            for file in found {
                sources.push(read_file(&file)?);
            }
        } else {
            sources.push(read_file(path)?);
        }
    }
    Ok(sources)
}

fn files_of(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = fs::read_dir(folder).map_err(|e| cannot_read(folder, &e))?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|e| cannot_read(folder, &e))?.path();
        let known = path.extension().is_some_and(|e| e == "yaml" || e == "yml" || e == "json");
        if known && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn read_file(path: &Path) -> Result<Source, Failure> {
    let file = fs::File::open(path).map_err(|e| cannot_read(path, &e))?;
    let mut bytes = Vec::new();
    // One byte more than is allowed, so that the reader of documents sees that it is too large and says so with its code.
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(|e| cannot_read(path, &e))?;
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned();
    Ok(Source { name: path.display().to_string(), folder, bytes })
}

pub(crate) fn cannot_read(path: &Path, error: &std::io::Error) -> Failure {
    let exit = if error.kind() == std::io::ErrorKind::NotFound { Exit::NotFound } else { Exit::Failed };
    Failure::new(exit, format!("cannot read {}: {error}", path.display())).with_code(Code::Unreadable)
}

/// Reads all objects of all sources, and all that is wrong with them at once. `noun` is what the command line said they are, and
/// `verb` what is to be done with them.
pub(crate) fn read_objects(
    sources: &[Source],
    noun: Option<Kind>,
    verb: &str,
) -> Result<Vec<(Object, PathBuf)>, Failure> {
    let env = |name: &str| std::env::var(name).ok();
    let (mut objects, mut problems) = (Vec::new(), Vec::<Diagnostic>::new());
    for source in sources {
        match ferrule_model::document::read_documents(&source.name, &source.bytes, noun, &env) {
            Ok(found) => objects.extend(found.into_iter().map(|object| (object, source.folder.clone()))),
            Err(found) => problems.extend(found),
        }
    }
    ferrule_model::document::say_verb(&mut problems, verb);
    if problems.is_empty() { Ok(objects) } else { Err(not_valid(problems)) }
}

/// The failure that shows all diagnostics of documents.
fn not_valid(diagnostics: Vec<Diagnostic>) -> Failure {
    let failure = refused(diagnostics);
    Failure { exit: Exit::Invalid, ..failure }
}

/// The failure that shows why a request was refused. The first diagnostic decides the exit code.
pub(crate) fn refused(diagnostics: Vec<Diagnostic>) -> Failure {
    let errors = diagnostics.iter().filter(|d| d.is_error()).count();
    let first = diagnostics.iter().find(|d| d.is_error()).map(|d| d.code);
    let message = match errors {
        0 | 1 => String::new(),
        more => format!("{more} errors; nothing was changed"),
    };
    let exit = first.map_or(Exit::Failed, exit_of);
    let failure = Failure { diagnostics, ..Failure::new(exit, message) };
    match first {
        Some(code) => failure.with_help(format!("`ferrule explain {code}` explains it")),
        None => failure,
    }
}

/// The exit code that an error code stands for.
fn exit_of(code: Code) -> Exit {
    match code {
        Code::NotFound | Code::Unreadable => Exit::NotFound,
        Code::InUse
        | Code::Conflict
        | Code::AlreadyExists
        | Code::Immutable
        | Code::VersionTaken
        | Code::AddressInUse
        | Code::ServerRunning
        | Code::LetterBusy
        | Code::NotRunning => Exit::Conflict,
        Code::NoServer => Exit::NoServer,
        Code::Usage => Exit::Usage,
        Code::TimedOut | Code::DrainTimedOut | Code::NotReady => Exit::TimedOut,
        Code::TestFailed => Exit::TestsFailed,
        Code::NotRepeatable | Code::AccessDenied => Exit::Refused,
        code => match code.id().as_bytes().get(3) {
            Some(b'1' | b'3') => Exit::Invalid,
            Some(b'2') if code != Code::StoreUnusable => Exit::Invalid,
            Some(b'4') => Exit::Refused,
            _ => Exit::Failed,
        },
    }
}
