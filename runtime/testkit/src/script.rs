//! The form of a test script: a YAML or JSON file in a guest's crate.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ferrule_model::capability::Allowance;
use ferrule_model::component::Direction;
use serde::Deserialize;
use serde_json::Value;

use crate::Error;
use crate::peer::Act;
use crate::record::Record;

/// A file of tests of one component.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Script {
    /// The component, relative to the file. Without it, the one that the crate builds.
    pub component: Option<PathBuf>,
    /// The tests, each in a session of its own.
    pub tests: Vec<Test>,
}

/// One test: a session with these parameters, and what is done in it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Test {
    /// What the test shows.
    pub name: String,
    /// Why it is not run, if it is not.
    pub ignore: Option<String>,
    /// For a component that goes both ways: which one.
    pub direction: Option<Direction>,
    /// The instance's static parameters.
    #[serde(default, rename = "static")]
    pub static_parameters: Option<Value>,
    /// The config at first.
    pub config: Option<Value>,
    /// The stream's parameters, or the function's arguments. In text, `${port}` is the peer's port, `${peer}` its address with
    /// the port, and `${folder}` the test's own folder.
    pub parameters: Option<Value>,
    /// What the session may do, besides reaching the peer and the folder.
    #[serde(default)]
    pub allow: Vec<Allowance>,
    /// Files to make in the test's own folder before, by name.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// The outside system: what it does on a loopback port, in order.
    pub peer: Option<Vec<Act>>,
    /// The problems that `validate` must report; an empty list: none. Without it, `validate` must report none before a
    /// session is opened.
    pub problems: Option<Vec<ExpectedProblem>>,
    /// The error that `open` must end with.
    pub open_error: Option<ExpectedError>,
    /// What is done in the session, in order.
    #[serde(default)]
    pub steps: Vec<Step>,
    /// Files that must be in the test's own folder afterwards, with their contents.
    #[serde(default)]
    pub files_after: BTreeMap<String, String>,
    /// Seconds that the whole test may take.
    #[serde(default = "deadline")]
    pub deadline: f64,
}

fn deadline() -> f64 {
    10.0
}

/// A problem that must be reported; what is not written is not compared.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedProblem {
    /// `static`, `config` or `stream`.
    pub scope: Option<String>,
    /// The JSON Pointer.
    pub path: Option<String>,
    /// Line and column.
    pub position: Option<(u32, u32)>,
    /// Text that the message contains.
    pub message: Option<String>,
}

/// An error that a call must end with; what is not written is not compared.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpectedError {
    /// `unavailable`, `invalid`, `denied`, `failed`, `trap`, `timeout`, `limit` or `malformed`.
    pub kind: Option<ErrorKind>,
    /// Text that the message contains.
    pub message: Option<String>,
}

/// How a call can fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it; ferrule_host::CallError describes them")]
pub enum ErrorKind {
    Unavailable,
    Invalid,
    Denied,
    Failed,
    Trap,
    Timeout,
    Limit,
    Malformed,
}

/// One thing that is done in a session, with what must come of it. Exactly one of `apply`, `write`, `receive`, `quiet`,
/// `settle`, `configure` and `reopen`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct Step {
    /// A function: these records go in, as one batch.
    pub apply: Option<Vec<Record>>,
    /// With `apply`: the records that must come out, in order.
    pub output: Option<Vec<Record>>,
    /// With `apply`: the indices of inputs that must be dropped.
    pub filtered: Option<Vec<u32>>,
    /// A sink: these records are written, as one batch.
    pub write: Option<Vec<Record>>,
    /// With `write`: the indices of records that must be delivered; without it all that are not named elsewhere.
    pub delivered: Option<Vec<u32>>,
    /// With `write`: the records that must be asked for again.
    pub retry: Option<Vec<Mentioned>>,
    /// With `apply` and `write`: the records that must be refused.
    pub rejected: Option<Vec<Mentioned>>,
    /// A source: these records must come next, in any number of batches.
    pub receive: Option<Vec<Record>>,
    /// A source: nothing must come for so many milliseconds.
    pub quiet: Option<u64>,
    /// A source: these records are settled, by their index among all that were received.
    pub settle: Option<Settle>,
    /// A new config.
    pub configure: Option<Value>,
    /// With `configure`: `applied` or `reopen`.
    pub answer: Option<String>,
    /// The session is closed and opened again at the last position.
    pub reopen: Option<bool>,
    /// The error that the call must end with instead.
    pub error: Option<ExpectedError>,
}

/// A record, and part of the reason that is given for it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mentioned {
    /// Its index in the batch.
    pub index: u32,
    /// Text that the reason contains.
    pub reason: Option<String>,
}

/// Which records to settle.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Settle {
    /// `all`: those received and not settled yet.
    Word(String),
    /// By index among all that were received in this session.
    Indices(Vec<u32>),
}

impl Script {
    /// Reads a script from a file. JSON is YAML too, so one reader does for both.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let name = || path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| Error::Read { path: name(), source })?;
        Self::parse(&text).map_err(|problem| Error::Script { path: name(), problem })
    }

    /// Reads a script from its text.
    pub fn parse(text: &str) -> Result<Self, String> {
        // Only `true` and `false` are booleans, as in documents: a field may be called `n`.
        let options = serde_saphyr::options! { strict_booleans: true };
        let script: Self = serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())?;
        if script.tests.is_empty() {
            return Err("the script has no tests".to_owned());
        }
        for test in &script.tests {
            for (i, step) in test.steps.iter().enumerate() {
                step.check().map_err(|problem| format!("test `{}`, step {i}: {problem}", test.name))?;
            }
            if !(0.1..=3600.0).contains(&test.deadline) {
                return Err(format!("test `{}`: the deadline is a number of seconds from 0.1 to 3600", test.name));
            }
        }
        Ok(script)
    }
}

impl Step {
    fn check(&self) -> Result<(), String> {
        let acts = [
            ("apply", self.apply.is_some()),
            ("write", self.write.is_some()),
            ("receive", self.receive.is_some()),
            ("quiet", self.quiet.is_some()),
            ("settle", self.settle.is_some()),
            ("configure", self.configure.is_some()),
            ("reopen", self.reopen.is_some()),
        ];
        let named: Vec<&str> = acts.iter().filter(|(_, there)| *there).map(|(name, _)| *name).collect();
        let [act] = named[..] else {
            let list = acts.map(|(name, _)| name).join(", ");
            return Err(format!(
                "expected exactly one of {list}; found {}",
                if named.is_empty() { "none".to_owned() } else { named.join(", ") }
            ));
        };
        for (name, there, with) in [
            ("output", self.output.is_some(), &["apply"][..]),
            ("filtered", self.filtered.is_some(), &["apply"][..]),
            ("delivered", self.delivered.is_some(), &["write"][..]),
            ("retry", self.retry.is_some(), &["write"][..]),
            ("rejected", self.rejected.is_some(), &["apply", "write"][..]),
            ("answer", self.answer.is_some(), &["configure"][..]),
        ] {
            if there && !with.contains(&act) {
                return Err(format!("`{name}` goes with {}, not with `{act}`", with.join(" and ")));
            }
        }
        match &self.settle {
            Some(Settle::Word(word)) if word != "all" => {
                Err(format!("settle: expected `all` or a list of indices; found `{word}`"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_reads() {
        let script = Script::parse(
            "tests:\n- name: lines\n  parameters: {address: '127.0.0.1:${port}'}\n  peer:\n  - expect: \"hello\\n\"\n  - send: \"one\\n\"\n  \
             steps:\n  - receive: [one]\n  - settle: all\n- name: fn\n  steps:\n  - apply: [a, {json: {b: 1}}]\n    output: [a]\n    filtered: [1]\n",
        )
        .unwrap();
        assert_eq!(script.tests.len(), 2);
        assert_eq!(script.tests[0].steps.len(), 2);
        let script = Script::parse("tests:\n- name: n\n  parameters: {field: n, on: yes}\n").unwrap();
        assert_eq!(script.tests[0].parameters, Some(serde_json::json!({"field": "n", "on": "yes"})));
    }

    #[test]
    fn mistakes_are_named() {
        let problem = |step: &str| Script::parse(&format!("tests:\n- name: t\n  steps:\n  - {step}\n")).unwrap_err();
        assert!(problem("{apply: [a], write: [b]}").contains("exactly one of"));
        assert!(problem("{write: [a], output: [b]}").contains("`output` goes with apply"));
        assert!(problem("{settle: some}").contains("expected `all`"));
        assert!(problem("{aply: [a]}").contains("aply"));
        assert!(Script::parse("tests: []").unwrap_err().contains("no tests"));
    }
}
