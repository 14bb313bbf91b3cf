//! Starting other programs, in the root of the checkout, with errors that name the command.

use anyhow::{Context as _, Result, bail};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the checkout.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_path_buf()
}

/// Where cargo puts what it builds.
pub(crate) fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), PathBuf::from)
}

/// A program of this workspace, as built by `cargo build`.
pub(crate) fn built(name: &str) -> PathBuf {
    target().join("debug").join(name)
}

/// Builds the programs of this workspace. Always all of them: with fewer packages cargo would unite fewer features, and build
/// wasmtime once more for them.
pub(crate) fn build(more: &[&str]) -> Result<()> {
    cargo(["build", "--workspace", "--bins"].iter().chain(more))
}

/// A command in the root, without what cargo tells a child about *this* package: it would make nested builds start afresh.
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(root());
    for (name, _) in std::env::vars_os() {
        let told =
            name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST"));
        if told {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command to its end; an exit status other than 0 is an error.
pub(crate) fn finish(mut command: Command) -> Result<()> {
    let status = command.status().with_context(|| format!("could not start {command:?}"))?;
    if !status.success() {
        bail!("{command:?} failed: {status}");
    }
    Ok(())
}

/// Runs a program in the root.
pub(crate) fn run<A: AsRef<OsStr>>(program: impl AsRef<OsStr>, args: impl IntoIterator<Item = A>) -> Result<()> {
    let mut command = command(program);
    command.args(args);
    finish(command)
}

/// Runs cargo in the root.
pub(crate) fn cargo<A: AsRef<OsStr>>(args: impl IntoIterator<Item = A>) -> Result<()> {
    run(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()), args)
}

/// What a command prints, or nothing if it cannot be had.
pub(crate) fn output(program: &str, args: &[&str]) -> Option<String> {
    let output = command(program).args(args).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}
