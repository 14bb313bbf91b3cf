//! What can go wrong with an artifact and with a call. Each case leads to a different action.

use std::net::IpAddr;
use std::time::Duration;

use ferrule_model::Code;
use thiserror::Error;

use crate::limits::{Breach, Limit};

/// The engine cannot be had.
#[derive(Debug, Error)]
#[error("the WebAssembly engine does not start: {0}")]
pub struct HostError(pub(crate) String);

/// Why an artifact cannot be used. The text says what is wrong and what to do about it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LoadError {
    /// The bytes are not WebAssembly.
    #[error(
        "this is not a WebAssembly file ({found}). Build the component with `cargo build --target wasm32-wasip2 --release`"
    )]
    NotWasm {
        /// What it looks like instead.
        found: String,
    },
    /// WebAssembly that ends too early or was changed.
    #[error("the file is damaged: {0}. Copy it again as a whole, or build it again")]
    Damaged(String),
    /// A core module instead of a component.
    #[error(
        "this is a core WebAssembly module, not a component. In Rust build for `wasm32-wasip2`; a core module of another language becomes a component with `wasm-tools component new`"
    )]
    CoreModule,
    /// A program with `main`, not a connector or function.
    #[error(
        "this is a command (a program with `main`), not a connector or function. In Rust make the crate a library with `crate-type = [\"cdylib\"]` and export the component with the SDK's macro"
    )]
    Command,
    /// None of the worlds of the contract.
    #[error(
        "the component is none of source, sink, connector and function: it lacks {missing}; it exports {found}. Use the SDK's export macro, or the worlds in `wit/`"
    )]
    UnknownWorld {
        /// The exports it has.
        found: String,
        /// The exports it would need.
        missing: String,
    },
    /// It wants something that this host does not have.
    #[error(
        "the component imports `{name}`, which this host does not offer ({detail}). A guest may import the interfaces of `ferrule:connector@{contract}` and WASI 0.2; build it without the library that needs this one"
    )]
    UnknownImport {
        /// The import.
        name: String,
        /// What about it does not fit.
        detail: String,
        /// The contract that the host has.
        contract: &'static str,
    },
    /// It was made for a later host.
    #[error(
        "the component was built for version {wanted} of the contract (`{name}`), and this host has {contract}. Use a newer Ferrule, or build the component with an older SDK"
    )]
    NewerContract {
        /// The import or export that says so.
        name: String,
        /// The version it names.
        wanted: String,
        /// The contract that the host has.
        contract: &'static str,
    },
    /// What it says of itself makes no sense.
    #[error("the component describes itself wrongly: {}. Mend its description and build it again", problems.join("; "))]
    InvalidDescribe {
        /// All that is wrong, for a person.
        problems: Vec<String>,
    },
    /// It could not be asked what it is.
    #[error("the component cannot say what it is: {0}")]
    Describe(CallError),
    /// The engine cannot compile it.
    #[error("the component does not compile: {0}")]
    Compile(String),
    /// More bytes than the host takes.
    #[error(
        "the file has {bytes} bytes, and at most {limit} are taken. Build in release mode and strip debug information"
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        limit: usize,
    },
    /// Parts of it are more, or larger, than the host compiles.
    #[error("the component has {found} {what}, and at most {limit} are compiled. Build in release mode, or split it")]
    TooComplex {
        /// What there is too much of.
        what: &'static str,
        /// How much there is.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// It was given up.
    #[error(
        "the component was not compiled within {} s, and is given up. Build in release mode, or split it", limit.as_secs()
    )]
    TooSlow {
        /// The limit.
        limit: Duration,
    },
}

impl LoadError {
    /// The page that explains it.
    pub fn code(&self) -> Code {
        match self {
            Self::NotWasm { .. } | Self::Damaged(_) => Code::NotWasm,
            Self::CoreModule => Code::CoreModule,
            Self::Command => Code::Command,
            Self::UnknownWorld { .. } => Code::UnknownWorld,
            Self::UnknownImport { .. } => Code::UnknownImport,
            Self::NewerContract { .. } => Code::NewerContract,
            Self::InvalidDescribe { .. } | Self::Describe(_) => Code::InvalidDescribe,
            Self::Compile(_) => Code::CompileFailed,
            Self::TooLarge { .. } | Self::TooComplex { .. } => Code::ComponentTooLarge,
            Self::TooSlow { .. } => Code::CompileTooSlow,
        }
    }
}

/// What the guest itself answered instead of a result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GuestErrorKind {
    /// The outside system cannot be reached or is not ready: open again with backoff.
    Unavailable,
    /// The parameters can never work: stay down until the documents change.
    Invalid,
    /// The host refused something that it cannot do without.
    Denied,
    /// Anything else: discard the instance and open again with backoff.
    Failed,
}

impl std::fmt::Display for GuestErrorKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Unavailable => "unavailable",
            Self::Invalid => "invalid parameters",
            Self::Denied => "denied",
            Self::Failed => "failed",
        })
    }
}

/// An error that the guest answered with.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{kind}: {message}")]
pub struct GuestError {
    /// What to do about it.
    pub kind: GuestErrorKind,
    /// The guest's own words.
    pub message: String,
}

/// Something that a guest wanted and was not allowed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{message}")]
pub struct Refusal {
    /// The page that explains it.
    pub code: Code,
    /// The stream or step.
    pub guest: String,
    /// The ability that was missing: `tcp`, `http`, `resolve`, `listen`, `read` or `write`.
    pub kind: String,
    /// The name or address that it asked for.
    pub host: String,
    /// The address that was judged, once the name was resolved.
    pub address: Option<IpAddr>,
    /// The port; 0 where there is none.
    pub port: u16,
    /// One sentence: who, what, why, with the code.
    pub message: String,
    /// What to write where: the lines of a Grant document, or why no document helps.
    pub remedy: String,
}

impl Refusal {
    /// Who, what and why on one line, without the words that lead to the remedy.
    pub fn summary(&self) -> &str {
        let line = self.message.lines().next().unwrap_or_default();
        match line.rfind(". ") {
            Some(end) if line.ends_with(':') => line.get(..=end).unwrap_or(line),
            _ => line,
        }
    }
}

/// What a call was doing when its time ran out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Spent {
    /// It computed.
    Computing,
    /// It waited, although it was to return.
    Waiting,
}

impl std::fmt::Display for Spent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Computing => "computing",
            Self::Waiting => "waiting, although it was to return",
        })
    }
}

/// Why a call has no result. After every case but [`CallError::Guest`] and [`CallError::Refused`] the instance is dead.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CallError {
    /// The guest answered with an error.
    #[error("{0}")]
    Guest(#[from] GuestError),
    /// The guest could not go on because the host refused it something.
    #[error("{}", refused(refusal, guest))]
    Refused {
        /// What was refused last.
        refusal: Box<Refusal>,
        /// The guest's own words.
        guest: String,
    },
    /// The guest broke: it panicked or ran into an impossible instruction.
    #[error("the guest trapped in `{call}`: {reason}")]
    Trap {
        /// The call.
        call: &'static str,
        /// The engine's words, and what the guest wrote to standard error last.
        reason: String,
    },
    /// The guest did not come back in time.
    #[error("the guest was in `{call}` for more than {}, {spent}; change it with `limits.{}`", seconds(limit), if *spent == Spent::Computing { "callTime" } else { "wait" })]
    TimedOut {
        /// The call.
        call: &'static str,
        /// What it was doing.
        spent: Spent,
        /// The limit.
        limit: Duration,
    },
    /// The guest ran into a limit.
    #[error("{0}")]
    Limit(Breach),
    /// The guest's answer breaks the contract.
    #[error("the guest's answer to `{call}` breaks the contract: {problem}")]
    Malformed {
        /// The call.
        call: &'static str,
        /// How.
        problem: String,
    },
    /// The instance died in an earlier call, or that call was given up.
    #[error("the instance is gone: {0}")]
    Gone(String),
    /// The component does not export what was called.
    #[error("a {world} has no `{call}`")]
    NotExported {
        /// The call.
        call: &'static str,
        /// What the component is.
        world: &'static str,
    },
    /// The host cannot give what the guest needs: no slot for an instance, a folder that does not open.
    #[error("{message}")]
    Host {
        /// The page that explains it.
        code: Code,
        /// What, and what to do about it.
        message: String,
    },
}

impl CallError {
    /// The page that explains it.
    pub fn code(&self) -> Code {
        match self {
            Self::Guest(error) => match error.kind {
                GuestErrorKind::Unavailable => Code::GuestUnavailable,
                GuestErrorKind::Invalid => Code::GuestInvalid,
                // What the network refused is `Refused`; folders that were not granted are simply not there for a guest.
                GuestErrorKind::Denied => Code::FileDenied,
                GuestErrorKind::Failed => Code::GuestFailed,
            },
            Self::Refused { refusal, .. } => refusal.code,
            Self::Trap { .. } | Self::Gone(_) => Code::Trap,
            Self::TimedOut { .. } => Code::TimedOut,
            Self::Limit(_) => Code::LimitReached,
            Self::Malformed { .. } => Code::Malformed,
            Self::NotExported { .. } => Code::WrongWorld,
            Self::Host { code, .. } => *code,
        }
    }

    /// The limit that ended the call, if one did.
    pub fn breach(&self) -> Option<Breach> {
        match self {
            Self::Limit(breach) => Some(breach.clone()),
            Self::TimedOut { spent, limit, .. } => {
                let which = if *spent == Spent::Computing { Limit::CallTime } else { Limit::Wait };
                let value = which.shown(u64::try_from(limit.as_millis()).unwrap_or(u64::MAX));
                Some(Breach { limit: which, value })
            }
            _ => None,
        }
    }

    /// The text for people, with the code. That of a refusal has it already.
    pub fn told(&self) -> String {
        match self {
            Self::Refused { .. } => self.to_string(),
            _ => format!("{self} [{}]", self.code()),
        }
    }
}

/// The refusal with its remedy, once. Guests are told both and mostly pass them on, so their words are added only if they are
/// about something else.
fn refused(refusal: &Refusal, guest: &str) -> String {
    let Refusal { message, remedy, .. } = refusal;
    let between = if remedy.contains('\n') { '\n' } else { ' ' };
    let mut text = format!("{message}{between}{remedy}");
    let guest = guest.trim();
    if !guest.is_empty() && !guest.contains(refusal.summary()) {
        text.push(between);
        text.push_str("The guest says: ");
        text.push_str(guest);
    }
    text
}

fn seconds(duration: &Duration) -> String {
    format!("{} s", duration.as_secs_f64())
}
