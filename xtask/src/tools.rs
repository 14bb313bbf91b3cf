//! What the project needs on a machine, installed when it is missing.

use crate::process;
use anyhow::{Context as _, Result};

/// The version of cargo-component that the project is tried with.
pub(crate) const CARGO_COMPONENT: &str = "0.21.1";
/// The version of cargo-deny that the project is tried with.
pub(crate) const CARGO_DENY: &str = "0.20.2";

/// The WebAssembly targets. rust-toolchain.toml names them, but rustup adds them by itself only when it installs the toolchain.
pub(crate) fn wasm_targets() -> Result<()> {
    let wanted = ["wasm32-wasip1", "wasm32-wasip2"];
    let installed = process::output("rustup", &["target", "list", "--installed"]).unwrap_or_default();
    let missing: Vec<&str> =
        wanted.into_iter().filter(|target| !installed.lines().any(|line| line == *target)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    eprintln!("adding the Rust targets {}", missing.join(" and "));
    process::run("rustup", ["target", "add"].into_iter().chain(missing)).context(
        "the guests need these Rust targets; without rustup, install the standard library for them by other means",
    )
}

/// A cargo subcommand at the given version, from the registry unless it is there.
pub(crate) fn cargo_tool(name: &str, version: &str) -> Result<()> {
    let installed = process::output("cargo", &["install", "--list"]).unwrap_or_default();
    if installed.lines().any(|line| line.starts_with(&format!("{name} v{version}:"))) {
        return Ok(());
    }
    eprintln!("installing {name} {version} (some minutes)");
    process::cargo(["install", "--locked", "--quiet", &format!("{name}@{version}")])
}

/// The Mosquitto broker and its clients for the interop tests: Debian's packages, where the machine lets us. Tests that need it
/// say so in one line when it is not there.
pub(crate) fn mosquitto() {
    if process::output("sh", &["-c", "command -v mosquitto || test -x /usr/sbin/mosquitto"]).is_some() {
        return;
    }
    let install = "command -v apt-get && test \"$(id -u)\" = 0 && apt-get update -q && \
                   DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends mosquitto mosquitto-clients";
    eprintln!("installing Mosquitto for the interop tests");
    if process::output("sh", &["-c", install]).is_none() {
        eprintln!(
            "skipped: Mosquitto could not be installed here (needs root and apt-get); its interop tests will not run"
        );
    }
}
