//! Runs one test of a script: opens a session, does its steps, and says what was expected and what was found.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ferrule_host::Component;
use ferrule_model::component::Problem;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::live::{Live, check_error};
use crate::observed::Observed;
use crate::peer::Peer;
use crate::report::Verdict;
use crate::script::{ExpectedProblem, Test};
use crate::setup::Setup;

/// Runs one test, in a folder of its own.
pub async fn run(component: &Component, test: &Test) -> Verdict {
    if let Some(why) = &test.ignore {
        return Verdict::Ignored(why.clone());
    }
    let observed = Arc::new(Observed::default());
    let deadline = Duration::from_secs_f64(test.deadline);
    let outcome = match timeout(deadline, attempt(component, test, &observed)).await {
        Ok(outcome) => outcome,
        Err(_) => Err(format!("expected: an end within {} s\n   found: the test still runs", test.deadline)),
    };
    match outcome {
        Ok(()) => Verdict::Passed,
        Err(why) => {
            let told = observed.text();
            Verdict::Failed(if told.is_empty() { why } else { format!("{why}\n\nthe guest told:\n{told}") })
        }
    }
}

impl Test {
    /// What a session of this test is opened with, before it has a peer and a folder.
    #[must_use]
    pub fn setup(&self) -> Setup {
        let or_empty = |value: &Option<Value>| value.clone().unwrap_or_else(|| json!({}));
        Setup {
            direction: self.direction,
            static_parameters: or_empty(&self.static_parameters),
            config: or_empty(&self.config),
            parameters: or_empty(&self.parameters),
            allow: self.allow.clone(),
            peer: None,
            folder: None,
        }
    }

    /// Makes the folder with its files, starts the peer, and tells the setup.
    pub async fn surround(&self, setup: &mut Setup) -> Result<(Option<Peer>, TempDir), String> {
        let folder = tempfile::tempdir().map_err(|e| format!("the test's folder cannot be made: {e}"))?;
        for (name, content) in &self.files {
            write_file(folder.path(), name, content)?;
        }
        // As the system knows it, since grants of folders hold no links.
        let path = folder.path().canonicalize().map_err(|e| e.to_string())?;
        setup.folder = Some(path.display().to_string());
        let peer = match &self.peer {
            Some(acts) => Some(Peer::start(acts.clone()).await.map_err(|e| format!("the peer does not start: {e}"))?),
            None => None,
        };
        setup.peer = peer.as_ref().map(Peer::address);
        Ok((peer, folder))
    }
}

async fn attempt(component: &Component, test: &Test, observed: &Arc<Observed>) -> Result<(), String> {
    let mut setup = test.setup();
    let (peer, folder) = test.surround(&mut setup).await?;
    let problems = validate(component, &setup).await?;
    if let Some(expected) = &test.problems {
        return check_problems(expected, &problems);
    }
    if !problems.is_empty() && test.open_error.is_none() {
        let found: Vec<String> = problems.iter().map(|p| format!("{} {}: {}", p.scope, p.path, p.message)).collect();
        return Err(format!("expected: parameters without problems\n   found: {}", found.join("; ")));
    }
    let mut live = Live::new(component, setup, observed.clone());
    match (live.open().await, &test.open_error) {
        (Ok(()), None) => {}
        (Ok(()), Some(expected)) => return Err(format!("expected: open fails ({expected:?})\n   found: it opened")),
        (Err(error), Some(expected)) => return check_error(expected, &error),
        (Err(error), None) => return Err(format!("expected: the session opens\n   found: {error}")),
    }
    for (i, step) in test.steps.iter().enumerate() {
        live.step(step).await.map_err(|problem| format!("step {i}: {problem}"))?;
    }
    live.close().await?;
    if let Some(peer) = peer {
        peer.finish(PATIENCE).await?;
    }
    for (name, expected) in &test.files_after {
        let found = std::fs::read_to_string(folder.path().join(name)).map_err(|e| format!("file {name}: {e}"))?;
        if found != *expected {
            return Err(format!("file {name}:\nexpected: {expected:?}\n   found: {found:?}"));
        }
    }
    Ok(())
}

/// How long the peer may take to see what the guest sent last.
const PATIENCE: Duration = Duration::from_secs(2);

fn write_file(folder: &Path, name: &str, content: &str) -> Result<(), String> {
    let plain = Path::new(name).components().all(|c| matches!(c, std::path::Component::Normal(_)));
    if !plain {
        return Err(format!("file {name}: expected a path within the test's folder"));
    }
    let path = folder.join(name);
    path.parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| std::fs::write(&path, content))
        .map_err(|e| format!("file {name}: {e}"))
}

async fn validate(component: &Component, setup: &Setup) -> Result<Vec<Problem>, String> {
    let (static_parameters, config, parameters) = setup.texts();
    let problems = component
        .validate(&static_parameters, &config, &parameters)
        .await
        .map_err(|e| format!("expected: an answer of validate\n   found: {e}"))?;
    Ok(problems)
}

fn check_problems(expected: &[ExpectedProblem], found: &[Problem]) -> Result<(), String> {
    let fits = |want: &ExpectedProblem, have: &Problem| {
        want.scope.as_ref().is_none_or(|s| *s == have.scope)
            && want.path.as_ref().is_none_or(|p| *p == have.path)
            && want.position.is_none_or(|p| have.position == Some(p))
            && want.message.as_ref().is_none_or(|m| have.message.contains(m))
    };
    let all = expected.len() == found.len() && expected.iter().all(|want| found.iter().any(|have| fits(want, have)));
    if all { Ok(()) } else { Err(format!("expected: the problems {expected:?}\n   found: {found:?}")) }
}
