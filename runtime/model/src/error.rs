//! What is wrong with a document or a request, said so that a person can mend it, under a code that stays the same.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::redact::Redactor;

macro_rules! codes {
    ($($name:ident = $id:literal, $title:literal;)*) => {
        /// The name of an error. Its number and meaning never change; `docs/errors/` has a page for each.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Code {
            $(#[doc = concat!($id, ": ", $title, ".")] $name,)*
        }

        impl Code {
            /// All codes, in order.
            pub const ALL: &'static [Code] = &[$(Code::$name,)*];

            /// The code as people see it, such as `FE0101`.
            pub const fn id(self) -> &'static str {
                match self { $(Code::$name => $id,)* }
            }

            /// What it means, in a few words.
            pub const fn title(self) -> &'static str {
                match self { $(Code::$name => $title,)* }
            }

            /// Its page, in Markdown: what it means, an example, how to mend it.
            pub const fn page(self) -> &'static str {
                match self {
                    $(Code::$name => include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors/", $id, ".md")),)*
                }
            }
        }
    };
}

codes! {
    DocumentTooLarge = "FE0101", "the document is too large";
    NotUtf8 = "FE0102", "the document is not UTF-8";
    NotYaml = "FE0103", "the document is not YAML";
    NotJson = "FE0104", "the document is not JSON";
    TooComplex = "FE0105", "the document is nested too deeply or grows too much";
    DuplicateKey = "FE0106", "a key occurs twice";
    UnknownKind = "FE0107", "the kind is missing or unknown";
    WrongNoun = "FE0108", "the document is of another kind than the command says";
    UnknownField = "FE0109", "the field is not known";
    MissingField = "FE0110", "a field is missing";
    WrongType = "FE0111", "a value has the wrong type";
    BadValue = "FE0112", "a value is not one of those allowed";
    BadName = "FE0113", "a name or id cannot be used";
    DuplicateName = "FE0114", "two documents have the same name";
    MissingVariable = "FE0115", "an environment variable is not set";
    BadVariable = "FE0116", "a use of an environment variable cannot be read";
    BadApiVersion = "FE0117", "the apiVersion is not known";
    FieldsExclude = "FE0118", "fields exclude each other, or one of several is needed";
    LabelsMissing = "FE0119", "an ingress stream needs a label";
    LabelsOnEgress = "FE0120", "an egress stream has no labels";
    BadSchema = "FE0121", "a JSON Schema of the class is not valid";
    BadParameters = "FE0122", "parameters do not fit the class's schema";
    NoDocument = "FE0123", "there is no document in the file";
    GuestProblem = "FE0124", "the component does not accept the parameters";
    Unreadable = "FE0125", "a file cannot be read";
    BadGrantEntry = "FE0126", "an entry of a grant cannot be read";
    RemoteSchema = "FE0127", "a schema refers to something outside itself";
    PipelineLoop = "FE0128", "pipelines feed each other in a circle";
    NotFound = "FE0201", "there is no such object";
    InUse = "FE0202", "the object is in use";
    Conflict = "FE0203", "somebody else changed the object";
    AlreadyExists = "FE0204", "there is such an object already";
    Ambiguous = "FE0205", "the name fits several objects";
    DirectionNotAllowed = "FE0206", "the class has no streams in that direction";
    ServiceDomainTooOld = "FE0207", "the class needs a later service domain";
    UnknownLabel = "FE0208", "the category has no such value";
    Immutable = "FE0209", "the field cannot be changed";
    Unresolved = "FE0210", "something that the object refers to is not there yet";
    ComponentMissing = "FE0211", "no component is registered for the class or function";
    StoreUnusable = "FE0212", "the store cannot be used";
    LogTooWeak = "FE0213", "the log does not give what is asked of it";
    SecretUnreadable = "FE0214", "a secret cannot be opened";
    NotWasm = "FE0301", "the file is no WebAssembly";
    CoreModule = "FE0302", "the file is a core module and no component";
    Command = "FE0303", "the component is a command";
    UnknownWorld = "FE0304", "the component exports no known world";
    UnknownImport = "FE0305", "the component imports something that is not offered";
    NewerContract = "FE0306", "the component was built for a newer contract";
    InvalidDescribe = "FE0307", "what the component says of itself is not valid";
    CompileFailed = "FE0308", "the component cannot be compiled";
    ComponentTooLarge = "FE0309", "the component is too large";
    VersionTaken = "FE0310", "this version is registered with other contents";
    WrongWorld = "FE0311", "the component cannot do what is asked of it";
    ComponentBroken = "FE0312", "the registered file is not what it was";
    CompileTooSlow = "FE0313", "the component takes too long to compile";
    NetDenied = "FE0401", "a guest asked for a host that nobody granted";
    FileDenied = "FE0402", "a guest asked for a folder that nobody granted";
    LoopbackDenied = "FE0403", "a guest asked for an address of this machine";
    CapabilityUnfilled = "FE0404", "what a component asks for cannot be filled in";
    ListenDenied = "FE0405", "a guest asked to listen on a port that nobody granted";
    AddressDenied = "FE0406", "a granted name leads to an address that is not allowed";
    SecretDenied = "FE0407", "a guest would see a secret that nobody granted";
    TlsFailed = "FE0408", "an encrypted connection cannot be made";
    Trap = "FE0501", "a guest crashed";
    TimedOut = "FE0502", "a guest took too long";
    LimitReached = "FE0503", "a guest reached a limit";
    GuestUnavailable = "FE0504", "an outside system cannot be reached";
    GuestInvalid = "FE0505", "the guest cannot work with its parameters";
    GuestFailed = "FE0506", "a guest failed";
    Malformed = "FE0507", "a guest answered with nonsense";
    Rejected = "FE0508", "a record was rejected";
    Poisonous = "FE0509", "a record makes a guest fail";
    RetriesExhausted = "FE0510", "a record was not delivered within its limits";
    RecordTooLarge = "FE0511", "a record is too large";
    DrainTimedOut = "FE0512", "not everything was delivered in time";
    LettersFull = "FE0513", "the dead letters are full";
    NotRepeatable = "FE0514", "a record cannot be given again";
    LetterBusy = "FE0515", "the dead letter is being replayed";
    NoServer = "FE0601", "there is no server to talk to";
    ServerRunning = "FE0602", "another server uses the data folder";
    Unsupported = "FE0603", "this is not supported";
    Usage = "FE0604", "the command cannot be understood";
    DataFolder = "FE0605", "the data folder cannot be used";
    VersionMismatch = "FE0606", "server and command line do not fit";
    AddressInUse = "FE0607", "the address is taken";
    Internal = "FE0608", "something went wrong inside";
    TestFailed = "FE0609", "a test of the component failed";
    NotReady = "FE0610", "it did not get ready in time";
    NotRunning = "FE0611", "it does not run";
    AccessDenied = "FE0612", "the server does not let this caller do it";
}

/// The text is no code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no error code; codes look like FE0101")]
pub struct UnknownCode(String);

impl FromStr for Code {
    type Err = UnknownCode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Code::ALL
            .iter()
            .copied()
            .find(|code| code.id().eq_ignore_ascii_case(text.trim()))
            .ok_or_else(|| UnknownCode(text.to_owned()))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.id())
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}

impl<'de> Deserialize<'de> for Code {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It is done all the same, and perhaps not as meant.
    Warning,
    /// It is not done.
    #[default]
    Error,
}

/// Something wrong, where, and how to mend it. Displays as several lines without a trailing newline.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Diagnostic {
    /// How bad it is.
    #[serde(default)]
    pub severity: Severity,
    /// What it is.
    pub code: Code,
    /// The document's name: a file, with `#2` for the second document in it. Empty where there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub document: String,
    /// Line and column from 1, where the text itself is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<(u32, u32)>,
    /// Where in the document: `spec.functions[0].args`. Empty for the whole.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// What is wrong.
    pub message: String,
    /// What was expected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expected: Option<String>,
    /// What was found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub found: Option<String>,
    /// How to mend it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
}

impl Diagnostic {
    /// An error with a code and a message, to be completed by the other functions.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            severity: Severity::Error,
            code,
            document: String::new(),
            position: None,
            path: String::new(),
            message: message.into(),
            expected: None,
            found: None,
            help: None,
        }
    }

    /// The same as a warning.
    pub fn as_warning(mut self) -> Self {
        self.severity = Severity::Warning;
        self
    }

    /// In this document.
    pub fn in_document(mut self, document: impl Into<String>) -> Self {
        self.document = document.into();
        self
    }

    /// At this path in the document.
    pub fn at(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// What was expected.
    pub fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    /// What was found.
    pub fn found(mut self, found: impl Into<String>) -> Self {
        self.found = Some(found.into());
        self
    }

    /// How to mend it.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// How to mend it, if there is a way.
    pub fn maybe_help(mut self, help: Option<String>) -> Self {
        self.help = help.or(self.help);
        self
    }

    /// With every text masked.
    pub fn masked(mut self, redactor: &Redactor) -> Self {
        let mask = |text: &mut String| *text = redactor.mask_owned(std::mem::take(text));
        [&mut self.document, &mut self.path, &mut self.message].into_iter().for_each(mask);
        [&mut self.expected, &mut self.found, &mut self.help].into_iter().flatten().for_each(mask);
        self
    }

    /// Whether it keeps anything from being done.
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        write!(f, "{severity}[{}]: ", self.code)?;
        if !self.document.is_empty() {
            f.write_str(&self.document)?;
            if let Some((line, column)) = self.position {
                write!(f, ":{line}:{column}")?;
            }
            f.write_str(": ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        for (word, text) in [("expected", &self.expected), ("found", &self.found), ("help", &self.help)] {
            if let Some(text) = text {
                write!(f, "\n  {word}: {text}")?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostic {}

/// The candidate that a misspelt word was most likely meant to be.
pub fn suggestion<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let tolerance = (word.chars().count() / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(&word, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= tolerance)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Edit distance in which swapping two neighbours is one step. Long words are not compared.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    if a.len().max(b.len()) > 64 {
        return usize::MAX;
    }
    let mut rows = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for (i, row) in rows.iter_mut().enumerate() {
        row[0] = i;
    }
    rows[0] = (0..=b.len()).collect();
    for i in 1..=a.len() {
        for j in 1..=b.len() {
            let change = usize::from(a[i - 1] != b[j - 1]);
            let mut best = (rows[i - 1][j] + 1).min(rows[i][j - 1] + 1).min(rows[i - 1][j - 1] + change);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            rows[i][j] = best;
        }
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_its_page_and_every_page_its_code() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors");
        let mut pages: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter_map(|name| name.strip_suffix(".md").map(str::to_owned))
            .filter(|name| name != "README")
            .collect();
        pages.sort();
        let codes: Vec<&str> = Code::ALL.iter().map(|code| code.id()).collect();
        assert_eq!(pages, codes);
        let index = std::fs::read_to_string(format!("{folder}/README.md")).unwrap();
        for code in Code::ALL {
            let heading = format!("# {code}: {}\n", code.title());
            assert!(code.page().starts_with(&heading), "{code} begins with its title");
            assert!(code.page().contains("## How to mend it"), "{code} says how to mend it");
            assert!(code.page().contains("```"), "{code} shows an example");
            assert!(index.contains(&format!("[{code}]({code}.md): {}", code.title())), "{code} is in the index");
            assert_eq!(code.id().parse::<Code>().unwrap(), *code);
        }
        assert!("FE9999".parse::<Code>().is_err());
    }

    /// The tests in the Rust files below a folder: files that are tests alone, and what stands below `#[cfg(test)]` in others.
    fn tests_below(folder: &std::path::Path, found: &mut String) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && name != "target" {
                tests_below(&path, found);
            } else if name.ends_with(".rs")
                && path != std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/error.rs")
            {
                let text = std::fs::read_to_string(&path).unwrap();
                let alone = name == "tests.rs" || path.components().any(|part| part.as_os_str() == "tests");
                let start = if alone { Some(0) } else { text.find("#[cfg(test)]") };
                found.extend(start.map(|start| &text[start..]));
            }
        }
    }

    #[test]
    fn every_code_has_a_test_that_names_it() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut tests = String::new();
        for folder in ["runtime", "tests/naughty/tests", "tests/suites/tests"] {
            tests_below(&root.join(folder), &mut tests);
        }
        let named = |code: &&Code| {
            let name = format!("Code::{code:?}");
            let whole = |rest: &str| !rest.starts_with(|next: char| next.is_ascii_alphanumeric());
            tests.contains(code.id()) || tests.split(&name).skip(1).any(whole)
        };
        let missing: Vec<_> =
            Code::ALL.iter().filter(|code| !named(code)).map(|code| format!("{code} {code:?}")).collect();
        assert!(missing.is_empty(), "no test brings about {missing:?}; write one, or take the code and its page away");
    }

    #[test]
    fn a_misspelt_word_is_recognised() {
        let words = ["source", "sink", "selectors", "functions"];
        assert_eq!(suggestion("sorce", words), Some("source"));
        assert_eq!(suggestion("functoins", words), Some("functions"));
        assert_eq!(suggestion("Sink", words), Some("sink"));
        assert_eq!(suggestion("colour", words), None);
    }

    #[test]
    fn a_diagnostic_reads_as_the_pages_show_it() {
        let text = Diagnostic::new(Code::UnknownField, "unknown field `sorce`")
            .in_document("hello.yaml")
            .at("spec.sorce")
            .help("did you mean `source`?")
            .to_string();
        assert!(Code::UnknownField.page().contains(&text), "{text}");
    }
}
