//! Builds the guests: workspaces of their own, so that a native build never starts them.

use crate::process;
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::Path;

/// Builds the shipped guests into `target/guests` and the test guests into `target/test-guests`.
pub(crate) fn build() -> Result<()> {
    build_workspace("guests", "guests")?;
    build_workspace("tests/guests", "test-guests")
}

/// Builds the guests that only the benchmarks need into `target/bench-guests`.
pub(crate) fn build_for_bench() -> Result<()> {
    build_workspace("tests/bench/guests", "bench-guests")
}

/// The names of the guests in a workspace: its folders with a manifest.
pub(crate) fn names(workspace: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(workspace).with_context(|| format!("could not list {}", workspace.display()))? {
        let entry = entry?;
        if entry.path().join("Cargo.toml").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

fn build_workspace(folder: &str, into: &str) -> Result<()> {
    let workspace = process::root().join(folder);
    let mut command = process::command("cargo");
    command.current_dir(&workspace).args(["build", "--release", "--quiet", "--target", "wasm32-wasip2"]);
    command.env_remove("CARGO_TARGET_DIR");
    process::finish(command)?;

    let built = workspace.join("target/wasm32-wasip2/release");
    let into = process::target().join(into);
    fs::create_dir_all(&into)?;
    let names = names(&workspace)?;
    for name in &names {
        // cargo turns the hyphens of a library's name into underscores.
        let artifact = built.join(format!("{}.wasm", name.replace('-', "_")));
        if !artifact.is_file() {
            bail!(
                "{folder}/{name} built no {}; is its crate-type cdylib and its name that of the folder?",
                artifact.display()
            );
        }
        let copy = into.join(format!("{name}.wasm"));
        // Copied only when changed, so that whoever watches the file's time does not see a change that is none.
        if fs::read(&artifact)? != fs::read(&copy).unwrap_or_default() {
            fs::copy(&artifact, &copy)?;
        }
    }
    // A guest that is gone must not be found by name.
    for entry in fs::read_dir(&into)? {
        let path = entry?.path();
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if path.extension().is_some_and(|ending| ending == "wasm") && !names.contains(&stem) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}
