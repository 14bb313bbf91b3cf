//! What `ferrule new` writes and cargo-component builds: each kind of project does what its own workflow says, and moves records.

use crate::{guests, process, tools};
use anyhow::{Context as _, Result, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A project as an author begins it.
struct Project {
    world: &'static str,
    name: &'static str,
}

const PROJECTS: [Project; 4] = [
    Project { world: "source", name: "demo-src" },
    Project { world: "sink", name: "demo-sink" },
    Project { world: "function", name: "demo-fn" },
    Project { world: "connector", name: "demo-both" },
];

/// What is copied into a project of the repository, so that it builds anywhere.
const VENDORED: [&str; 4] = ["sdk/rust/Cargo.toml", "sdk/rust/build.rs", "sdk/rust/src", "wit"];

/// How the workflow of a project builds it, and what is done instead here: `cargo xtask tutorial` builds one plainly.
const BUILD: (&str, &str) = ("cargo build --release", "cargo component build --release");

/// Makes a project of each kind, and puts it and one shipped guest through what an author and an operator do with them.
pub(crate) fn try_all() -> Result<()> {
    tools::wasm_targets()?;
    tools::cargo_tool("cargo-component", tools::CARGO_COMPONENT)?;
    guests::build()?;
    process::build(&[])?;

    let place = Place::empty()?;
    for project in &PROJECTS {
        eprintln!("interop: a new {}", project.world);
        place.new_project(project)?;
        place.follow_workflow(project.name)?;
    }
    place.moves_records(&place.component("demo_src.wasm"), "{}")?;

    eprintln!("interop: the guest `generator`");
    let guests = process::root().join("guests");
    let mut build = place.command(BUILD.1, &guests.join("generator"));
    build.env_remove("CARGO_TARGET_DIR");
    process::finish(build)?;
    let generator = guests.join("target/wasm32-wasip1/release/generator.wasm");
    let mut conformance = place.command("ferrule test --conformance", &place.work);
    conformance.arg(&generator);
    process::finish(conformance)?;
    place.moves_records(&generator, "{rate: 0, count: 100, size: 32}")?;
    eprintln!(
        "interop: every new project passes its own workflow; what cargo-component built registers and moves records"
    );
    Ok(())
}

/// The folder of the projects. They share what they build, in `target` beside them, where `ferrule test` looks too.
struct Place {
    work: PathBuf,
}

impl Place {
    /// The folder, with nothing but what an earlier run built.
    fn empty() -> Result<Place> {
        let work = process::target().join("interop");
        fs::create_dir_all(&work)?;
        for entry in fs::read_dir(&work)? {
            let path = entry?.path();
            if path.ends_with("target") {
                continue;
            }
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.with_context(|| format!("could not remove {}", path.display()))?;
        }
        // An author's project is formatted as rustfmt does by default, and not as this repository, in whose folder it lies here.
        fs::write(work.join("rustfmt.toml"), "")?;
        Ok(Place { work })
    }

    fn component(&self, file: &str) -> PathBuf {
        self.work.join("target/wasm32-wasip1/release").join(file)
    }

    /// A line of a workflow, with the `ferrule` that was built here on the `PATH`.
    fn command(&self, line: &str, folder: &Path) -> Command {
        let mut words = line.split_whitespace();
        let mut command = process::command(words.next().unwrap_or_default());
        command.current_dir(folder).args(words).env("CARGO_TARGET_DIR", self.work.join("target"));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let folders = std::iter::once(process::target().join("debug")).chain(std::env::split_paths(&path));
        if let Ok(folders) = std::env::join_paths(folders) {
            command.env("PATH", folders);
        }
        command
    }

    fn new_project(&self, project: &Project) -> Result<()> {
        process::finish(self.command(&format!("ferrule new {} {}", project.world, project.name), &self.work))?;
        let copy = self.work.join(project.name).join("vendor/ferrule");
        for part in VENDORED {
            same(&process::root().join(part), &copy.join(part))?;
        }
        Ok(())
    }

    /// Runs what the project's workflow runs, except for installing ferrule.
    fn follow_workflow(&self, project: &str) -> Result<()> {
        let folder = self.work.join(project);
        let commands = commands(&fs::read_to_string(folder.join(".github/workflows/ci.yml"))?);
        for wanted in ["cargo fmt", "cargo clippy", BUILD.0, "cargo test", "ferrule test", "ferrule test --conformance"]
        {
            ensure!(
                commands.iter().any(|line| line.starts_with(wanted)),
                "the workflow of {project} has no `{wanted}`"
            );
        }
        for line in commands.iter().filter(|line| !line.starts_with("cargo install")) {
            let line = if line == BUILD.0 { BUILD.1 } else { line };
            eprintln!("{project}: {line}");
            process::finish(self.command(line, &folder))?;
        }
        Ok(())
    }

    /// Runs the component as a source into the file guest, and looks at what arrived.
    fn moves_records(&self, component: &Path, parameters: &str) -> Result<()> {
        let name = component.file_stem().unwrap_or_default().to_string_lossy();
        let out = self.work.join(format!("{name}-out"));
        fs::create_dir_all(&out)?;
        let document = self.work.join(format!("{name}.yaml"));
        fs::write(
            &document,
            format!(
                "apiVersion: connector.ferrule.dev/v1\nkind: Pipeline\nmetadata: {{name: interop}}\nspec:\n  \
                 source: {{component: {component:?}, parameters: {parameters}}}\n  \
                 sink: {{class: file, parameters: {{folder: {out:?}, file: out.txt}}}}\n---\n\
                 apiVersion: connector.ferrule.dev/v1\nkind: Grant\nmetadata: {{name: interop}}\nspec:\n  class: file\n  \
                 allow:\n    - write: {out:?}\n"
            ),
        )?;
        let mut run = self.command("ferrule run --until-records 5 --for 60", &self.work);
        run.arg(&document);
        process::finish(run)?;
        let lines = fs::read_to_string(out.join("out.txt")).context("no record arrived")?.lines().count();
        ensure!(lines >= 5, "{name}: {lines} records arrived in out.txt, at least 5 expected");
        Ok(())
    }
}

/// The commands of a workflow: what follows `run:`, of one line each.
fn commands(workflow: &str) -> Vec<String> {
    let runs = workflow.lines().filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("run: "));
    runs.map(|command| command.trim().to_owned()).collect()
}

/// Whether a copy has the same files with the same contents.
fn same(original: &Path, copy: &Path) -> Result<()> {
    if original.is_dir() {
        let names = |folder: &Path| -> Result<Vec<_>> {
            let entries = fs::read_dir(folder).with_context(|| format!("could not list {}", folder.display()))?;
            let mut names = entries.map(|entry| Ok(entry?.file_name())).collect::<Result<Vec<_>>>()?;
            names.sort();
            Ok(names)
        };
        ensure!(names(original)? == names(copy)?, "{} and {} hold other files", original.display(), copy.display());
        return names(original)?.iter().try_for_each(|name| same(&original.join(name), &copy.join(name)));
    }
    let read = |path: &Path| fs::read(path).with_context(|| format!("could not read {}", path.display()));
    ensure!(read(original)? == read(copy)?, "{} is no copy of {}", copy.display(), original.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_commands_of_the_workflow_are_found() {
        let workflow = "jobs:\n  one:\n    steps:\n      - uses: actions/checkout@v4\n      - name: Format\n        run: cargo fmt --check\n      - run: ferrule test\n";
        assert_eq!(commands(workflow), ["cargo fmt --check", "ferrule test"]);
    }

    #[test]
    fn the_workflow_builds_as_it_is_replaced_here() {
        let path = process::root().join("runtime/cli/templates/common/ci.yml");
        assert!(commands(&fs::read_to_string(path).unwrap()).contains(&BUILD.0.to_owned()));
    }
}
