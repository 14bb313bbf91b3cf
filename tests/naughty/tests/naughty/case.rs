//! One hostile guest: its text, what is done with it, what it must meet, and how its guard is switched off.

use ferrule_host::{CallError, CodeLimits, Limit, Limits, LoadError, Spent};
use ferrule_naughty::{Import, Parts, World, component};

/// What is called.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Act {
    /// Nothing: it is loaded and instantiated.
    Start,
    Validate,
    Open,
    Configure,
    Close,
    Next,
    /// So many calls of `next`; the last one counts.
    Nexts(u32),
    Settle,
    Write,
    Idle,
    Apply,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Met {
    pub(crate) end: End,
    /// What the observer was told.
    pub(crate) told: Vec<String>,
    /// Connections that were made to the listener of the test.
    pub(crate) callers: usize,
}

#[derive(Debug)]
pub(crate) enum End {
    NotLoaded(LoadError),
    Failed(CallError),
    Fine,
    /// Nobody would have stopped it.
    Endless,
}

/// What it must meet.
#[derive(Clone, Copy)]
pub(crate) enum Meets {
    /// It is not loaded, and is told so.
    NotLoaded(&'static str),
    Trap(&'static str),
    Malformed(&'static str),
    Limit(Limit),
    TimedOut(Spent),
    /// The call ends as it should, and this holds.
    Fine(fn(&Met) -> bool),
}

impl std::fmt::Debug for Meets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotLoaded(words) => write!(f, "not loaded: {words}"),
            Self::Trap(words) => write!(f, "a trap: {words}"),
            Self::Malformed(words) => write!(f, "malformed: {words}"),
            Self::Limit(limit) => write!(f, "the limit of {}", limit.name()),
            Self::TimedOut(spent) => write!(f, "too long {spent}"),
            Self::Fine(_) => f.write_str("a good end with what was told bounded"),
        }
    }
}

impl Meets {
    pub(crate) fn is(&self, met: &Met) -> bool {
        match (self, &met.end) {
            (Self::NotLoaded(words), End::NotLoaded(error)) => error.to_string().contains(words),
            (Self::Trap(words), End::Failed(CallError::Trap { reason, .. })) => reason.contains(words),
            (Self::Malformed(words), End::Failed(CallError::Malformed { problem, .. })) => problem.contains(words),
            (Self::Limit(limit), End::Failed(CallError::Limit(breach))) => breach.limit == *limit,
            (Self::TimedOut(wanted), End::Failed(CallError::TimedOut { spent, .. })) => spent == wanted,
            (Self::Fine(holds), End::Fine) => holds(met),
            _ => false,
        }
    }
}

/// How the guard is switched off.
#[derive(Clone, Copy)]
pub(crate) enum Off {
    /// With limits so large that they bound nothing.
    Limits(fn(&mut Limits)),
    /// Answers are not checked.
    Answers,
    /// Texts are not cleaned.
    Texts,
    /// It is granted.
    Granted,
    /// With such limits for code.
    Code(fn(&mut CodeLimits)),
    /// It cannot be, or not without harm: why.
    Never(#[allow(dead_code, reason = "for whoever reads the table")] &'static str),
}

/// The engine itself keeps guests apart.
pub(crate) const ENGINE: Off = Off::Never("the engine has no switch for it");

/// A constant of the host.
pub(crate) const FIXED: Off = Off::Never("it is a constant of the host");

#[derive(Clone)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// What it does.
    pub(crate) rule: &'static str,
    pub(crate) world: World,
    pub(crate) imports: &'static [Import],
    pub(crate) code: String,
    pub(crate) outside: String,
    pub(crate) pages: u32,
    pub(crate) contract: &'static str,
    /// Nothing bytes to add to the component.
    pub(crate) padding: usize,
    pub(crate) limits: Limits,
    pub(crate) code_limits: CodeLimits,
    pub(crate) grants: &'static [&'static str],
    pub(crate) act: Act,
    /// Whether the wake-up is rung at once.
    pub(crate) woken: bool,
    pub(crate) meets: Meets,
    pub(crate) off: Off,
}

impl Case {
    /// A source with this code, whose `next` is called.
    pub(crate) fn new(name: &str, rule: &'static str, code: impl Into<String>, meets: Meets, off: Off) -> Self {
        Self {
            name: name.to_owned(),
            rule,
            world: World::Source,
            imports: &[],
            code: code.into(),
            outside: String::new(),
            pages: 4,
            contract: "0.1.0",
            padding: 0,
            limits: Limits::default(),
            code_limits: CodeLimits::default(),
            grants: &[],
            act: Act::Next,
            woken: false,
            meets,
            off,
        }
    }

    /// The same as a function, whose `apply` is called.
    pub(crate) fn function(self) -> Self {
        Self { world: World::Function, act: Act::Apply, ..self }
    }

    pub(crate) fn with(self, limits: impl FnOnce(&mut Limits)) -> Self {
        let mut case = self;
        limits(&mut case.limits);
        case
    }

    /// The bytes, with the port of the test's listener where the text says `PORT`.
    pub(crate) fn bytes(&self, port: u16) -> Vec<u8> {
        let code = self.code.replace("PORT", &port.to_string());
        let text = component(&Parts {
            world: self.world,
            imports: self.imports,
            code: &code,
            outside: &self.outside,
            pages: self.pages,
            contract: self.contract,
            ..Parts::default()
        });
        let mut bytes =
            ferrule_naughty::assemble(&text).unwrap_or_else(|error| panic!("{}: {error}\n{text}", self.name));
        if self.padding > 0 {
            // A section that says nothing: its number, its length, the length of its name, its name.
            bytes.push(0);
            let mut length = self.padding + 2;
            while length >= 0x80 {
                bytes.push((length & 0x7f) as u8 | 0x80);
                length >>= 7;
            }
            bytes.push(length as u8);
            bytes.extend([1, b'x']);
            bytes.resize(bytes.len() + self.padding, 0);
        }
        bytes
    }
}

/// `next` of a source.
pub(crate) fn next(body: &str) -> String {
    format!("(func (export \"next\") (param i32 i32 i32 i32) (result i32) {body})")
}

/// `apply` of a function.
pub(crate) fn apply(body: &str) -> String {
    format!("(func (export \"apply\") (param i32) (result i32) {body})")
}
