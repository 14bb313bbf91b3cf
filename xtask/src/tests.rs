//! Runs every test of the repository, native and WebAssembly.

use crate::{guests, process, tools};
use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// Sets up and runs everything. Words given are passed to the native tests as a filter, and then nothing else runs.
pub(crate) fn all(filter: &[String]) -> Result<()> {
    tools::wasm_targets()?;
    tools::mosquitto();
    tools::nats_server();
    guests::build()?;
    // The suites start these programs.
    process::build(&[])?;

    let native = ["test", "--workspace", "--no-fail-fast"].map(str::to_owned);
    process::cargo(native.into_iter().chain(filter.iter().cloned()))?;
    if !filter.is_empty() {
        return Ok(());
    }
    native_guest_tests()?;
    wasm_unit_tests()?;
    component_tests()
}

/// Tests of guests that need files, natively: nothing is granted to a unit test that runs as WebAssembly.
fn native_guest_tests() -> Result<()> {
    eprintln!("the unit tests of the guest `file`, natively");
    let mut command = process::command("cargo");
    command.current_dir(process::root().join("guests"));
    command.args(["test", "--quiet", "--release", "--package", "file"]);
    command.env_remove("CARGO_TARGET_DIR");
    process::finish(command)
}

/// The guests' own unit tests, as WebAssembly under `ferrule test-runner`, as an author of a connector runs them.
fn wasm_unit_tests() -> Result<()> {
    eprintln!("the guests' unit tests, as WebAssembly");
    let mut command = process::command("cargo");
    command.current_dir(process::root().join("guests"));
    command.args(["test", "--quiet", "--release", "--target", "wasm32-wasip2", "--no-fail-fast"]);
    command.env("CARGO_TARGET_WASM32_WASIP2_RUNNER", format!("{} test-runner", process::built("ferrule").display()));
    command.env_remove("CARGO_TARGET_DIR");
    process::finish(command)
}

/// Each shipped guest against its world's conformance kit, opened as its first script opens it, and against its scripts.
fn component_tests() -> Result<()> {
    for name in guests::names(&process::root().join("guests"))? {
        let component = process::target().join("guests").join(format!("{name}.wasm"));
        let folder = process::root().join("guests").join(&name);
        let ferrule = || {
            let mut command = process::command(process::built("ferrule"));
            command.arg("test").arg("--component").arg(&component);
            command
        };
        let mut conformance = ferrule();
        conformance.arg("--conformance");
        // A session.yaml of the crate is found by the kit itself.
        let session = folder.join("tests/session.yaml").is_file();
        if let Some(script) = first_script(&folder.join("tests"))?.filter(|_| !session) {
            conformance.arg("--with").arg(script);
        }
        conformance.arg(&folder);
        process::finish(conformance)?;
        if first_script(&folder.join("tests"))?.is_some() {
            let mut scripts = ferrule();
            scripts.arg(&folder);
            process::finish(scripts)?;
        }
    }
    Ok(())
}

fn first_script(folder: &Path) -> Result<Option<PathBuf>> {
    if !folder.is_dir() {
        return Ok(None);
    }
    let paths = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<PathBuf>>>()?;
    let scripts = paths.into_iter().filter(|path| path.to_string_lossy().ends_with(".test.yaml"));
    Ok(scripts.min())
}

/// The scaffold and one shipped guest built by cargo-component, registered, and moving records.
pub(crate) fn cargo_component() -> Result<()> {
    tools::wasm_targets()?;
    tools::cargo_tool("cargo-component", tools::CARGO_COMPONENT)?;
    guests::build()?;
    process::build(&[])?;

    let ferrule = process::built("ferrule");
    let work = process::target().join("interop");
    if work.exists() {
        fs::remove_dir_all(&work).with_context(|| format!("could not empty {}", work.display()))?;
    }
    fs::create_dir_all(&work)?;
    for (world, name) in
        [("source", "demo-src"), ("function", "demo-fn"), ("sink", "demo-sink"), ("connector", "demo-both")]
    {
        let mut command = process::command(&ferrule);
        command.current_dir(&work).args(["new", world, name]);
        process::finish(command)?;
    }
    let project = work.join("demo-src");
    component_build(&project)?;
    unit_tests(&project)?;
    for (folder, artifact) in [(project, "demo_src.wasm"), (process::root().join("guests/generator"), "generator.wasm")]
    {
        if folder.ends_with("generator") {
            component_build(&folder)?;
        }
        let target =
            if folder.ends_with("generator") { process::root().join("guests/target") } else { folder.join("target") };
        let component = target.join("wasm32-wasip1/release").join(artifact);
        let mut command = process::command(&ferrule);
        command.args(["test", "--conformance"]).arg(&component);
        process::finish(command)?;
        moves_records(&ferrule, &work, &component, artifact.trim_end_matches(".wasm"))?;
    }
    eprintln!("interop: what cargo-component built registers and moves records");
    Ok(())
}

fn component_build(folder: &Path) -> Result<()> {
    let mut command = process::command("cargo");
    command.current_dir(folder).args(["component", "build", "--release"]);
    command.env_remove("CARGO_TARGET_DIR");
    process::finish(command)
}

fn unit_tests(folder: &Path) -> Result<()> {
    let mut command = process::command("cargo");
    command.current_dir(folder).arg("test").env_remove("CARGO_TARGET_DIR");
    // The scaffold's own runner is `ferrule`, found on the PATH.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(process::target().join("debug")).chain(std::env::split_paths(&path));
    command.env("PATH", std::env::join_paths(folders)?);
    process::finish(command)
}

/// Runs the component as a source into the file guest, and looks at what arrived.
fn moves_records(ferrule: &Path, work: &Path, component: &Path, name: &str) -> Result<()> {
    let out = work.join(format!("{name}-out"));
    fs::create_dir_all(&out)?;
    let parameters = if name == "generator" { "{rate: 0, count: 100, size: 32}" } else { "{}" };
    let document = work.join(format!("{name}.yaml"));
    fs::write(
        &document,
        format!(
            "apiVersion: connector.ferrule.dev/v1\nkind: Pipeline\nmetadata: {{name: interop}}\nspec:\n  source: {{component: {component:?}, parameters: {parameters}}}\n  \
             sink: {{class: file, parameters: {{folder: {out:?}, file: out.txt}}}}\n---\n\
             apiVersion: connector.ferrule.dev/v1\nkind: Grant\nmetadata: {{name: interop}}\nspec:\n  class: file\n  allow:\n    - write: {out:?}\n"
        ),
    )?;
    let mut command = process::command(ferrule);
    command.arg("run").arg(&document).args(["--until-records", "5", "--for", "60"]);
    process::finish(command)?;
    let lines = fs::read_to_string(out.join("out.txt")).context("no record arrived")?.lines().count();
    anyhow::ensure!(lines >= 5, "{name}: {lines} records arrived in out.txt, at least 5 expected");
    Ok(())
}
