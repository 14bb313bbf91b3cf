//! Formatting, clippy, rustdoc, the arrows between crates, licences and bans: all without warnings.

use crate::{arrows, process, tools};
use anyhow::{Result, bail};

/// The workspaces of the repository: the native one and those of guests.
pub(crate) const WORKSPACES: [&str; 4] = [".", "guests", "tests/guests", "tests/bench/guests"];

/// Runs every check and stops at the first that fails.
pub(crate) fn all() -> Result<()> {
    tools::wasm_targets()?;
    for workspace in WORKSPACES {
        step(workspace, &["fmt", "--all", "--check"])?;
    }
    step("sdk/rust", &["fmt", "--check"])?;
    arrows::check()?;
    step(".", &["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"])?;
    for workspace in &WORKSPACES[1..] {
        step(workspace, &["clippy", "--quiet", "--release", "--target", "wasm32-wasip2", "--", "--deny", "warnings"])?;
    }
    rustdoc()?;
    tools::cargo_tool("cargo-deny", tools::CARGO_DENY)?;
    for workspace in [".", "guests"] {
        // The check is offline; what no build on this platform needed must be there all the same.
        step(workspace, &["fetch", "--quiet", "--locked"])?;
        step(workspace, &["deny", "--offline", "--log-level", "error", "check", "bans", "licenses", "sources"])?;
    }
    eprintln!("lint: nothing to complain about");
    Ok(())
}

fn rustdoc() -> Result<()> {
    let mut command = process::command("cargo");
    command.args(["doc", "--quiet", "--workspace", "--no-deps", "--document-private-items"]);
    command.env("RUSTDOCFLAGS", "--deny warnings");
    process::finish(command)
}

fn step(folder: &str, args: &[&str]) -> Result<()> {
    let mut command = process::command("cargo");
    command.current_dir(process::root().join(folder)).args(args);
    if folder != "." {
        command.env_remove("CARGO_TARGET_DIR");
    }
    if process::finish(command).is_err() {
        bail!("in {folder}: cargo {} found something to mend (see above)", args.join(" "));
    }
    Ok(())
}
