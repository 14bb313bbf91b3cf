//! How a command ends: the documented exit codes, and the failure that carries one to `main`.

use std::fmt;

use ferrule_model::{Code, Diagnostic};

/// The exit codes of `ferrule`. They are part of its interface: scripts depend on them, and `docs/cli.md` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Exit {
    /// Something went wrong that no other code names.
    Failed = 1,
    /// The command line makes no sense (also what clap itself uses).
    Usage = 2,
    /// No object, file or page of that name.
    NotFound = 3,
    /// The object exists already, changed meanwhile, or is in use.
    Conflict = 4,
    /// Not allowed: a grant, a rule or an owner stands in the way.
    Refused = 5,
    /// No server answers.
    NoServer = 6,
    /// Documents, parameters or a component are not valid.
    Invalid = 7,
    /// `diff` found differences.
    Differs = 8,
    /// A deadline passed first.
    TimedOut = 9,
    /// Tests failed (what libtest uses).
    TestsFailed = 101,
}

impl Exit {
    /// The number that the shell sees.
    pub(crate) fn code(self) -> u8 {
        self as u8
    }
}

/// Why a command did not do what was asked, and the exit code that says so.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// The page that explains it, where there is one.
    pub(crate) code: Option<Code>,
    /// One line for a person; empty when everything was said already.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) help: Option<String>,
    /// What is wrong with documents, one entry each.
    pub(crate) diagnostics: Vec<Diagnostic>,
}

/// What every command gives back.
pub(crate) type Outcome = Result<(), Failure>;

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, code: None, message: message.into(), help: None, diagnostics: Vec::new() }
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message).with_code(Code::Usage)
    }

    /// Ends with this code and says nothing more.
    pub(crate) fn silent(exit: Exit) -> Self {
        Self::new(exit, "")
    }

    pub(crate) fn with_code(mut self, code: Code) -> Self {
        self.code = Some(code);
        self
    }

    pub(crate) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        if let Some(io) = error.downcast_ref::<std::io::Error>()
            && io.kind() == std::io::ErrorKind::NotFound
        {
            return Self::new(Exit::NotFound, format!("{error:#}")).with_code(Code::Unreadable);
        }
        Self::new(Exit::Failed, format!("{error:#}"))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::NotFound => Self::new(Exit::NotFound, error.to_string()).with_code(Code::Unreadable),
            std::io::ErrorKind::PermissionDenied => {
                Self::new(Exit::Refused, error.to_string()).with_code(Code::Unreadable)
            }
            _ => Self::new(Exit::Failed, error.to_string()),
        }
    }
}

impl From<ferrule_testkit::Error> for Failure {
    fn from(error: ferrule_testkit::Error) -> Self {
        use ferrule_testkit::Error;
        let (exit, code) = match &error {
            Error::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                (Exit::NotFound, Some(Code::Unreadable))
            }
            Error::Load(error) => (Exit::Invalid, Some(error.code())),
            Error::Script { .. } | Error::Runner(_) => (Exit::Invalid, None),
            Error::Read { .. } => (Exit::Failed, Some(Code::Unreadable)),
            Error::Host(_) => (Exit::Failed, Some(Code::Internal)),
        };
        Self { code, ..Self::new(exit, error.to_string()) }
    }
}
