//! From the documents of a call to objects, with the files that they name.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use ferrule_api::request::Document;
use ferrule_model::connector::{ComponentSource, FunctionSpec};
use ferrule_model::{Code, Diagnostic, Kind, Object, document};

use crate::world::component_text;

/// The largest script of a function that is read.
const LARGEST_SCRIPT: u64 = 4 * 1024 * 1024;

/// An object and the document it came from.
#[derive(Debug, Clone)]
pub(crate) struct Read {
    pub(crate) object: Object,
    /// What messages call the document.
    pub(crate) document: String,
    /// Which of the call's documents it is in.
    pub(crate) file: usize,
}

/// Reads all documents: the objects and the warnings, or everything that is wrong. `verb` is the command's, for what to type instead.
pub(crate) fn read_all(
    documents: &[Document],
    environment: &BTreeMap<String, String>,
    verb: &str,
) -> Result<(Vec<Read>, Vec<Diagnostic>), Vec<Diagnostic>> {
    let lookup = |name: &str| environment.get(name).cloned();
    let mut all = Vec::new();
    let mut diagnostics = Vec::new();
    for (file, given) in documents.iter().enumerate() {
        let reading = document::read(&given.name, &given.content, given.noun, &lookup);
        diagnostics.extend(reading.diagnostics);
        let objects = reading.objects.into_iter().zip(reading.documents);
        all.extend(objects.map(|(object, document)| Read { object, document, file }));
    }
    // Within one file the reader sees to it.
    let mut seen: HashMap<String, usize> = HashMap::new();
    for (index, read) in all.iter().enumerate() {
        match seen.get(&read.object.identity()).map(|first| &all[*first]) {
            Some(first) if first.file != read.file => diagnostics.push(
                Diagnostic::new(
                    Code::DuplicateName,
                    format!("{} is in {} already", read.object.title(), first.document),
                )
                .in_document(&read.document)
                .help("keep one of the two"),
            ),
            Some(_) => {}
            None => {
                seen.insert(read.object.identity(), index);
            }
        }
    }
    document::say_verb(&mut diagnostics, verb);
    if diagnostics.iter().any(Diagnostic::is_error) {
        return Err(diagnostics);
    }
    Ok((all, diagnostics))
}

/// The files that documents name by path.
pub(crate) struct Files<'a> {
    pub(crate) documents: &'a [Document],
    /// Whether the caller has the same files as the server.
    pub(crate) local: bool,
}

impl Files<'_> {
    /// The content of a file that a document names.
    async fn read(&self, of: &Read, path: &str, member: &str, largest: Option<u64>) -> Result<Vec<u8>, Diagnostic> {
        let place = |diagnostic: Diagnostic| diagnostic.in_document(&of.document).at(of.object.path(member));
        let Some(document) = self.documents.get(of.file) else { return Ok(Vec::new()) };
        if let Some(content) = document.files.get(path) {
            return Ok(content.clone());
        }
        if !self.local {
            return Err(place(
                Diagnostic::new(Code::Unreadable, format!("the file {path} is not on the server's machine"))
                    .help("register the component there first, and name it here by its name"),
            ));
        }
        let full: PathBuf = document.folder.clone().unwrap_or_default().join(path);
        let unreadable = |error: std::io::Error| {
            place(
                Diagnostic::new(Code::Unreadable, format!("the file {path} cannot be read: {error}"))
                    .found(full.display().to_string())
                    .help("a relative path starts from the folder of the document"),
            )
        };
        let length = tokio::fs::metadata(&full).await.map_err(unreadable)?.len();
        if let Some(largest) = largest.filter(|largest| length > *largest) {
            return Err(place(
                Diagnostic::new(
                    Code::Unreadable,
                    format!("the file {path} has {length} bytes; at most {largest} are read"),
                )
                .help("a function's script is a source file"),
            ));
        }
        tokio::fs::read(&full).await.map_err(unreadable)
    }

    /// Puts the script of a function in its object.
    pub(crate) async fn inline_script(&self, read: &mut Read) -> Result<Option<Diagnostic>, Diagnostic> {
        if read.object.kind != Kind::Function {
            return Ok(None);
        }
        let Ok(mut spec) = read.object.typed::<FunctionSpec>() else { return Ok(None) };
        let (Some(path), None) = (&spec.source_code_path, &spec.code) else { return Ok(None) };
        let content = match self.read(read, path, "sourceCodePath", Some(LARGEST_SCRIPT)).await {
            Ok(content) => content,
            // The path in the published sample starts from another folder than its document's. The function cannot run
            // before a component takes its place anyway, so that is no reason to refuse it.
            Err(diagnostic) if !read.object.form.is_native() => return Ok(Some(diagnostic.as_warning())),
            Err(diagnostic) => return Err(diagnostic),
        };
        spec.code = Some(String::from_utf8(content).map_err(|_| {
            Diagnostic::new(Code::NotUtf8, format!("the script {path} is not UTF-8"))
                .in_document(&read.document)
                .at(read.object.path("sourceCodePath"))
                .help("save it as UTF-8")
        })?);
        read.object.set_spec(&spec).map_err(|error| Diagnostic::new(Code::Internal, error.to_string()))?;
        Ok(None)
    }

    /// The component that the object names as a file.
    pub(crate) async fn component(&self, read: &Read) -> Result<Option<(String, Vec<u8>)>, Diagnostic> {
        let Some(ComponentSource::File(path)) = component_text(&read.object).map(|text| ComponentSource::parse(&text))
        else {
            return Ok(None);
        };
        let content = self.read(read, &path, "component", None).await?;
        Ok(Some((path, content)))
    }
}
