//! The arrows between the crates and the house rules that a compiler does not keep; each breach names the rule and its reason.

use crate::{contract, lint, process, unused};
use anyhow::{Context as _, Result, bail};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// A crate, the crates of ours that it may depend on, and why no others.
const ARROWS: &[(&str, &[&str], &str)] = &[
    ("ferrule-model", &[], "the model is what everything else speaks of, so it knows nothing of the rest"),
    ("ferrule-store", &["ferrule-model"], "the store keeps resources and does not know what they mean"),
    ("ferrule-transport", &["ferrule-model"], "the log knows records, and neither pipelines nor guests"),
    ("ferrule-host", &["ferrule-model"], "the host runs guests and knows neither resources' life nor brokers"),
    (
        "ferrule-flow",
        &["ferrule-model", "ferrule-transport", "ferrule-host"],
        "records move without knowing where the plan came from",
    ),
    (
        "ferrule-control",
        &["ferrule-model", "ferrule-store", "ferrule-flow", "ferrule-host"],
        "reconcilers turn desired into observed through handles, and never see the bytes of records",
    ),
    (
        "ferrule-api",
        &["ferrule-model", "ferrule-store"],
        "the surface knows resources; what they do is behind the trait that the server implements",
    ),
    ("ferrule-testkit", &["ferrule-model", "ferrule-host"], "the test kit runs one component, without a platform"),
    (
        "ferrule-server",
        &[
            "ferrule-model",
            "ferrule-store",
            "ferrule-transport",
            "ferrule-host",
            "ferrule-flow",
            "ferrule-control",
            "ferrule-api",
        ],
        "the server wires everything under runtime/ except the command line and the test kit",
    ),
    (
        "ferrule-cli",
        &["ferrule-model", "ferrule-api", "ferrule-server", "ferrule-testkit"],
        "the command line talks to a server, and starts one",
    ),
    ("ferrule-demo", &[], "a sample uses the platform from outside"),
    ("ferrule-suites", &["ferrule-naughty"], "the suites see the platform from outside"),
    (
        "ferrule-naughty",
        &["ferrule-model", "ferrule-host"],
        "hostile guests are tried on the host alone; the suites try a few of them on the whole platform",
    ),
    (
        "ferrule-crash",
        &[],
        "the oracle of the crash runs judges from outside, so it shares no code with what it judges",
    ),
    (
        "ferrule-bench",
        &["ferrule-model", "ferrule-host", "ferrule-transport", "ferrule-flow", "ferrule-naughty", "json-field"],
        "the benchmarks run what records pass through, in one process and without the server around it",
    ),
    (
        "ferrule-fuzz",
        &["ferrule-model", "ferrule-transport", "ferrule-api"],
        "what is fuzzed is what reads bytes of strangers, and nothing around it",
    ),
    ("json-field", &[], "a guest and its native counterpart share it, so it knows neither side"),
    ("xtask", &[], "the project's commands must work before anything else compiles"),
];

/// Who may name a dependency.
enum Place {
    /// These crates and no others.
    Only(&'static [&'static str]),
    /// All crates but these.
    NotIn(&'static [&'static str]),
}

impl Place {
    fn allows(&self, package: &str) -> bool {
        match self {
            Place::Only(crates) => crates.contains(&package),
            Place::NotIn(crates) => !crates.contains(&package),
        }
    }
}

/// Dependencies that belong to one place: by prefix, who may name them, and why.
const PLACES: &[(&str, Place, &str)] = &[
    ("wasmtime", Place::Only(&["ferrule-host"]), "only the host names wasmtime"),
    ("redb", Place::Only(&["ferrule-store"]), "only a backend of the store names its engine"),
    ("async-nats", Place::Only(&["ferrule-transport"]), "only a backend under transport names its broker"),
    (
        "tonic",
        Place::Only(&["ferrule-api", "ferrule-server"]),
        "only the surface, and the server that wires it, name gRPC types",
    ),
    (
        "axum",
        Place::Only(&["ferrule-api", "ferrule-server"]),
        "only the surface, and the server that wires it, name HTTP server types",
    ),
    ("tokio", Place::NotIn(&["ferrule-model"]), "the model has no I/O and no async"),
];

/// What a guest depends on by path besides the SDK and crates of its own workspace, and why.
const SHARED_WITH_GUESTS: &[(&str, &str, &str)] =
    &[("edit", "json-field", "the benchmark compares the same code as a guest and natively")];

/// Checks arrows, places, first lines, the map, and that every dependency is in use.
pub(crate) fn check() -> Result<()> {
    let metadata = process::output("cargo", &["metadata", "--format-version", "1", "--no-deps", "--offline"])
        .context("cargo metadata did not answer")?;
    let breaches: Vec<String> = dependencies(&metadata)?
        .iter()
        .flat_map(|(package, dependencies)| breaches(package, dependencies))
        .chain(breaches_of_guests()?)
        .chain(contract::undocumented_items(&process::root())?)
        .chain(files_without_purpose(&process::root())?)
        .chain(folders_off_the_map(&process::root())?)
        .chain(unused::dependencies(&[&lint::WORKSPACES[..], &[lint::SDK]].concat())?)
        .collect();
    if breaches.is_empty() {
        return Ok(());
    }
    bail!("the house rules (ARCHITECTURE.md) are broken:\n  {}", breaches.join("\n  "))
}

/// For each package of the workspace, the names of what its `[dependencies]` name; what only tests use is free.
fn dependencies(metadata: &str) -> Result<BTreeMap<String, Vec<String>>> {
    let metadata: serde_json::Value = serde_json::from_str(metadata)?;
    let packages = metadata["packages"].as_array().context("cargo metadata lists no packages")?;
    let mut all = BTreeMap::new();
    for package in packages {
        let name = package["name"].as_str().unwrap_or_default().to_owned();
        let dependencies = package["dependencies"].as_array().into_iter().flatten();
        let named = dependencies.filter(|dependency| dependency["kind"].is_null());
        all.insert(name, named.filter_map(|dependency| Some(dependency["name"].as_str()?.to_owned())).collect());
    }
    Ok(all)
}

fn breaches(package: &str, dependencies: &[String]) -> Vec<String> {
    let Some((_, allowed, reason)) = ARROWS.iter().find(|(name, ..)| *name == package) else {
        return vec![format!(
            "{package} has no place on the map: add it to ARROWS in xtask/src/arrows.rs and to ARCHITECTURE.md"
        )];
    };
    let mut breaches = Vec::new();
    for dependency in dependencies {
        let ours = ARROWS.iter().any(|(name, ..)| name == dependency);
        if ours && !allowed.contains(&dependency.as_str()) {
            let allowed = if allowed.is_empty() { "none of ours".to_owned() } else { allowed.join(", ") };
            breaches.push(format!("{package} → {dependency} is not an arrow: {reason} (allowed: {allowed})"));
        }
        for (prefix, place, reason) in PLACES {
            let family = dependency == prefix || dependency.starts_with(&format!("{prefix}-"));
            let judged = package.starts_with("ferrule-") && !package.ends_with("-suites");
            if family && judged && !place.allows(package) {
                breaches.push(format!("{package} names {dependency}: {reason}"));
            }
        }
    }
    breaches
}

/// The arrow guests → sdk, and none from there: what the packages of guests and the SDK depend on by path, tests included.
fn breaches_of_guests() -> Result<Vec<String>> {
    let mut all = Vec::new();
    for workspace in lint::WORKSPACES[1..].iter().chain([&lint::SDK]) {
        let folder = process::root().join(workspace);
        let manifest = folder.join("Cargo.toml").display().to_string();
        let arguments = ["metadata", "--format-version", "1", "--no-deps", "--offline", "--manifest-path", &manifest];
        let metadata = process::output("cargo", &arguments).context("cargo metadata did not answer")?;
        let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
        for package in metadata["packages"].as_array().context("cargo metadata lists no packages")? {
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            let dependencies = package["dependencies"].as_array().into_iter().flatten();
            let ours = dependencies.filter(|dependency| dependency["path"].is_string());
            let ours: Vec<_> = ours.map(|one| (text(&one["name"]), PathBuf::from(text(&one["path"])))).collect();
            all.extend(guest_breaches(&text(&package["name"]), &folder, &ours));
        }
    }
    Ok(all)
}

/// What is wrong with the dependencies by path of a package in a workspace of guests.
fn guest_breaches(package: &str, workspace: &Path, dependencies: &[(String, PathBuf)]) -> Vec<String> {
    let allowed = |name: &str, path: &Path| {
        let shared = SHARED_WITH_GUESTS.iter().any(|(guest, with, _)| (*guest, *with) == (package, name));
        name == "ferrule-sdk" || path.starts_with(workspace) || shared
    };
    let breaches = dependencies.iter().filter(|(name, path)| !allowed(name, path));
    let told = breaches.map(|(name, _)| {
        format!(
            "{package} → {name} is not an arrow: a guest knows the contract through the SDK, and neither the runtime nor other guests \
             (allowed: ferrule-sdk, and crates of its own workspace)"
        )
    });
    told.collect()
}

/// Every Rust file opens with `//!` and its one purpose.
fn files_without_purpose(root: &Path) -> Result<Vec<String>> {
    let mut breaches = Vec::new();
    for folder in ["runtime", "guests", "sdk", "samples", "tests", "xtask"] {
        rust_files(&root.join(folder), &mut |path| {
            let text = fs::read_to_string(path)?;
            if !text.starts_with("//!") {
                let path = path.strip_prefix(root).unwrap_or(path).display();
                breaches.push(format!("{path} does not open with `//!` and its purpose"));
            }
            Ok(())
        })?;
    }
    Ok(breaches)
}

fn rust_files(folder: &Path, visit: &mut impl FnMut(&Path) -> Result<()>) -> Result<()> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    entries.sort();
    for path in entries {
        if path.is_dir() {
            let name = path.file_name().unwrap_or_default();
            if name != "target" && name != "templates" {
                rust_files(&path, visit)?;
            }
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            visit(&path)?;
        }
    }
    Ok(())
}

/// ARCHITECTURE.md names every crate of the runtime and every folder of the top level.
fn folders_off_the_map(root: &Path) -> Result<Vec<String>> {
    let map = fs::read_to_string(root.join("ARCHITECTURE.md")).context("there is no ARCHITECTURE.md")?;
    let mut breaches = Vec::new();
    for (parent, prefix) in [(root.to_path_buf(), ""), (root.join("runtime"), "runtime/")] {
        for entry in fs::read_dir(parent)? {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let shown = format!("`{prefix}{name}/`");
            if entry.path().is_dir() && !name.starts_with('.') && name != "target" && !map.contains(&shown) {
                breaches.push(format!("ARCHITECTURE.md does not name {shown}"));
            }
        }
    }
    Ok(breaches)
}

#[cfg(test)]
mod tests {
    use super::{breaches, guest_breaches};
    use std::path::Path;

    #[test]
    fn a_wrong_arrow_is_named_with_its_reason() {
        let found = breaches("ferrule-flow", &["ferrule-model".into(), "ferrule-store".into()]);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("ferrule-flow → ferrule-store is not an arrow: records move"), "{found:?}");
    }

    #[test]
    fn wasmtime_outside_the_host_is_named() {
        assert_eq!(
            breaches("ferrule-flow", &["wasmtime-wasi".into()]),
            ["ferrule-flow names wasmtime-wasi: only the host names wasmtime"]
        );
        assert!(breaches("ferrule-host", &["wasmtime-wasi".into()]).is_empty());
    }

    #[test]
    fn the_model_has_no_async() {
        assert_eq!(
            breaches("ferrule-model", &["tokio".into()]),
            ["ferrule-model names tokio: the model has no I/O and no async"]
        );
        assert!(breaches("ferrule-flow", &["tokio".into()]).is_empty());
    }

    #[test]
    fn a_guest_depends_on_the_sdk_and_its_own_workspace_alone() {
        let workspace = Path::new("/r/guests");
        let found =
            |package: &str, name: &str, path: &str| guest_breaches(package, workspace, &[(name.into(), path.into())]);
        assert!(found("jq", "ferrule-sdk", "/r/sdk/rust").is_empty());
        assert!(found("jq", "shared", "/r/guests/shared").is_empty());
        assert!(found("edit", "json-field", "/r/tests/bench/json-field").is_empty(), "an exception with its reason");
        for (name, path) in [("ferrule-model", "/r/runtime/model"), ("json-field", "/r/tests/bench/json-field")] {
            let found = found("jq", name, path);
            assert!(found[0].starts_with(&format!("jq → {name} is not an arrow: a guest knows")), "{found:?}");
        }
    }

    #[test]
    fn a_crate_without_a_place_is_named() {
        assert!(breaches("ferrule-attic", &[])[0].contains("has no place on the map"));
    }

    #[test]
    fn the_house_keeps_its_rules() {
        super::check().unwrap();
    }
}
