//! Formatting, clippy, rustdoc, the arrows between crates, licences and bans: all without warnings.

use crate::{arrows, process, tools};
use anyhow::{Result, bail};

/// The workspaces of the repository: the native one and those of guests.
pub(crate) const WORKSPACES: [&str; 4] = [".", "guests", "tests/guests", "tests/bench/guests"];

/// The SDK, a package of its own.
pub(crate) const SDK: &str = "sdk/rust";

/// Runs every check and stops at the first that fails.
pub(crate) fn all() -> Result<()> {
    tools::wasm_targets()?;
    for workspace in WORKSPACES {
        step(workspace, &["fmt", "--all", "--check"])?;
    }
    step(SDK, &["fmt", "--check"])?;
    arrows::check()?;
    step(".", &["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"])?;
    for workspace in &WORKSPACES[1..] {
        // Their tests are run as WebAssembly, so they are checked as that too.
        let wasm = ["clippy", "--quiet", "--release", "--all-targets", "--target", "wasm32-wasip2"];
        step(workspace, &[&wasm[..], &["--", "--deny", "warnings"]].concat())?;
    }
    step(SDK, &["clippy", "--quiet", "--all-targets", "--all-features", "--", "--deny", "warnings"])?;
    rustdoc(".", &["--workspace", "--document-private-items"])?;
    rustdoc("guests", &["--workspace", "--document-private-items", "--release", "--target", "wasm32-wasip2"])?;
    rustdoc(SDK, &["--all-features"])?;
    tools::cargo_tool("cargo-deny", tools::CARGO_DENY)?;
    for workspace in WORKSPACES.iter().chain([&SDK]) {
        // The check is offline; what no build on this platform needed must be there all the same.
        step(workspace, &["fetch", "--quiet", "--locked"])?;
        step(workspace, &["deny", "--offline", "--log-level", "error", "check", "bans", "licenses", "sources"])?;
    }
    eprintln!("lint: nothing to complain about");
    Ok(())
}

fn rustdoc(folder: &str, args: &[&str]) -> Result<()> {
    checked(folder, &[&["doc", "--quiet", "--no-deps"], args].concat(), &[("RUSTDOCFLAGS", "--deny warnings")])
}

fn step(folder: &str, args: &[&str]) -> Result<()> {
    checked(folder, args, &[])
}

fn checked(folder: &str, args: &[&str], variables: &[(&str, &str)]) -> Result<()> {
    let mut command = process::command("cargo");
    command.current_dir(process::root().join(folder)).args(args).envs(variables.iter().copied());
    if folder != "." {
        command.env_remove("CARGO_TARGET_DIR");
    }
    if process::finish(command).is_err() {
        bail!("in {folder}: cargo {} found something to mend (see above)", args.join(" "));
    }
    Ok(())
}
