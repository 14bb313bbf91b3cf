//! `ferrule test`: test scripts and the conformance kit.

use std::fs;
use std::path::{Path, PathBuf};

use clap::Args;
use ferrule_model::Code;
use ferrule_testkit::report::{Report, Summary};
use ferrule_testkit::script::Script;
use ferrule_testkit::{conformance, scenario};

use super::noun::{load_component, read_component};
use crate::built;
use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};

/// Runs a built component under wasmtime against the scripts in its crate (tests/*.test.yaml), or against the conformance
/// kit of its world.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ferrule test                          # the scripts of the crate in this folder\n  \
                        ferrule test tests/lines.test.yaml\n  ferrule test --conformance            # what every component must do\n  \
                        ferrule test --conformance --with tests/session.yaml mqtt.wasm"
)]
pub(crate) struct Test {
    /// Scripts; folders of crates; or, with --conformance, components [default: this folder].
    paths: Vec<PathBuf>,
    /// Run the conformance kit instead of scripts.
    #[arg(long)]
    conformance: bool,
    /// The component to test, instead of the one that the script names or the crate built last.
    #[arg(long, value_name = "WASM")]
    component: Option<PathBuf>,
    /// With --conformance: a script whose first test has parameters (and a peer) with which a session opens
    /// [default: tests/session.yaml of the crate, if it is there].
    #[arg(long, value_name = "FILE", requires = "conformance")]
    with: Option<PathBuf>,
    /// Only tests with this in their name.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,
}

impl Test {
    pub(crate) async fn run(mut self, context: &Context) -> Outcome {
        if self.paths.is_empty() {
            self.paths.push(PathBuf::from("."));
        }
        let (mut passed, mut failed) = (0, 0);
        for path in std::mem::take(&mut self.paths) {
            let mut summaries = Vec::new();
            if self.conformance {
                summaries.push(self.conformance(context, &path).await?);
            } else if path.is_dir() {
                for script in &scripts_of(&path)? {
                    summaries.push(self.script(context, script).await?);
                }
            } else {
                summaries.push(self.script(context, &path).await?);
            }
            passed += summaries.iter().map(|summary| summary.passed).sum::<usize>();
            failed += summaries.iter().map(|summary| summary.failed.len()).sum::<usize>();
        }
        if failed == 0 {
            return Ok(());
        }
        let message = format!("{failed} of {} tests failed", passed + failed);
        Err(Failure::new(Exit::TestsFailed, message).with_code(Code::TestFailed))
    }

    async fn script(&self, context: &Context, path: &Path) -> Result<Summary, Failure> {
        let script = Script::read(path)?;
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = match (&self.component, &script.component) {
            (Some(given), _) => given.clone(),
            (None, Some(named)) => folder.join(named),
            (None, None) => built::component_of(folder)?,
        };
        context.output.say(format!("     Running {} on {}", from_here(path).display(), from_here(&file).display()));
        let component = load(context, &file).await?;
        let wanted = |name: &str| self.filter.as_ref().is_none_or(|part| name.contains(part.as_str()));
        let selected: Vec<_> = script.tests.iter().filter(|test| wanted(&test.name)).collect();
        let mut out = std::io::stdout();
        let mut report = Report::new(&mut out, context.output.colors_data());
        report.begin(selected.len())?;
        report.filtered(script.tests.len() - selected.len());
        for test in selected {
            report.verdict(&test.name, scenario::run(&component, test).await)?;
        }
        Ok(report.end()?)
    }

    async fn conformance(&self, context: &Context, path: &Path) -> Result<Summary, Failure> {
        let file = match &self.component {
            Some(given) => given.clone(),
            None if path.is_dir() => built::component_of(path)?,
            None => path.to_owned(),
        };
        context.output.say(format!("     Running the conformance kit on {}", from_here(&file).display()));
        let component = load(context, &file).await?;
        let beside = path.join("tests/session.yaml");
        let with = self.with.clone().or_else(|| beside.is_file().then_some(beside));
        let script = with.as_deref().map(Script::read).transpose()?;
        let wanted = |name: &str| self.filter.as_ref().is_none_or(|part| name.contains(part.as_str()));
        let mut out = std::io::stdout();
        let mut report = Report::new(&mut out, context.output.colors_data());
        let first = script.as_ref().and_then(|script| script.tests.first());
        conformance::run(&component, first, &wanted, &mut report).await?;
        Ok(report.end()?)
    }
}

async fn load(context: &Context, file: &Path) -> Result<ferrule_testkit::Component, Failure> {
    load_component(context, file, &read_component(file)?).await
}

/// The path as short as a person would write it: from the current folder, if it lies below that.
fn from_here(path: &Path) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    let path = path.strip_prefix(&here).unwrap_or(path);
    path.strip_prefix(".").unwrap_or(path).to_owned()
}

/// The scripts of a crate: `tests/*.test.yaml`, `.yml` and `.json`, or those in the folder itself.
fn scripts_of(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let mut found = Vec::new();
    for place in [folder.join("tests"), folder.to_owned()] {
        let Ok(entries) = fs::read_dir(&place) else { continue };
        found.extend(entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| is_script(path)));
    }
    found.sort();
    if found.is_empty() {
        let message = format!("{} has no test scripts", folder.display());
        return Err(Failure::new(Exit::NotFound, message)
            .with_help("scripts are called tests/*.test.yaml; `ferrule new` writes one"));
    }
    Ok(found)
}

fn is_script(path: &Path) -> bool {
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    [".test.yaml", ".test.yml", ".test.json"].iter().any(|ending| name.ends_with(ending))
}
