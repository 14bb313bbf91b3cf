//! What the project needs on a machine, installed when it is missing.

use crate::process;
use anyhow::{Context as _, Result};
use std::fs;

/// The version of cargo-component that the project is tried with.
pub(crate) const CARGO_COMPONENT: &str = "0.21.1";
/// The version of cargo-deny that the project is tried with.
pub(crate) const CARGO_DENY: &str = "0.20.2";

/// The version of nats-server that the project is tried with, as a Go module.
const NATS_SERVER: &str = "github.com/nats-io/nats-server/v2@v2.15.2";

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

/// nats-server for the tests and benchmarks of the log, built from its Go module into `target/tools`. Tests that need it say so in
/// one line when it is not there.
pub(crate) fn nats_server() {
    let tools = process::target().join("tools");
    let stamp = tools.join("nats-server.version");
    if tools.join("nats-server").is_file() && fs::read_to_string(&stamp).is_ok_and(|built| built == NATS_SERVER) {
        return;
    }
    if process::output("go", &["version"]).is_none() {
        eprintln!("skipped: nats-server needs Go to be built; the tests of the log in NATS will not run");
        return;
    }
    eprintln!("building {NATS_SERVER} (half a minute)");
    let mut command = process::command("go");
    command.args(["install", NATS_SERVER]).env("GOBIN", &tools);
    let built = fs::create_dir_all(&tools).is_ok() && process::finish(command).is_ok();
    if !built || fs::write(&stamp, NATS_SERVER).is_err() {
        eprintln!("skipped: nats-server could not be built here; the tests of the log in NATS will not run");
    }
}
