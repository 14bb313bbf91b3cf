//! Finds the component that a guest's crate built last.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use crate::exit::{Exit, Failure};

/// Where cargo puts components: `cargo build` under the first target, `cargo component build` under the second.
const PLACES: [&str; 4] =
    ["wasm32-wasip2/release", "wasm32-wasip1/release", "wasm32-wasip2/debug", "wasm32-wasip1/debug"];

/// The newest component that the crate around `folder` built.
pub(crate) fn component_of(folder: &Path) -> Result<PathBuf, Failure> {
    let start = folder.canonicalize()?;
    let Some(root) = start.ancestors().find(|path| path.join("Cargo.toml").is_file()) else {
        return Err(Failure::new(Exit::NotFound, format!("{} is in no crate", folder.display()))
            .with_help("run this in a guest's folder, or name the component with --component"));
    };
    let manifest = fs::read_to_string(root.join("Cargo.toml"))?;
    let Some(name) = package_name(&manifest) else {
        return Err(Failure::new(Exit::NotFound, format!("{} names no package", root.join("Cargo.toml").display())));
    };
    let file = format!("{}.wasm", name.replace('-', "_"));
    // A crate of a workspace builds into the workspace's folder, which is further up.
    let newest = root
        .ancestors()
        .map(|path| path.join("target"))
        .flat_map(|target| PLACES.map(|place| target.join(place).join(&file)))
        .filter_map(|path| Some((fs::metadata(&path).and_then(|m| m.modified()).ok()?, path)))
        .max_by_key(|(time, _): &(SystemTime, PathBuf)| *time);
    newest.map(|(_, path)| path).ok_or_else(|| {
        Failure::new(Exit::NotFound, format!("{name} was not built yet: there is no {file} under target/"))
            .with_help("build it with `cargo build --release` or `cargo component build --release`")
    })
}

/// The name in the manifest's `[package]` section.
fn package_name(manifest: &str) -> Option<String> {
    let package = manifest.lines().skip_while(|line| line.trim() != "[package]").skip(1);
    package
        .take_while(|line| !line.trim_start().starts_with('['))
        .find_map(|line| Some(line.split_once('=').filter(|(key, _)| key.trim() == "name")?.1.trim()))
        .map(|value| value.trim_matches('"').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_component_of_the_crate_is_found() {
        let place = tempfile::tempdir().unwrap();
        let manifest =
            "[workspace]\n\n[package]\nedition = \"2024\"\nname = \"demo-src\"\n\n[dependencies]\nname = \"x\"\n";
        assert_eq!(package_name(manifest).as_deref(), Some("demo-src"));
        fs::create_dir_all(place.path().join("tests")).unwrap();
        fs::write(place.path().join("Cargo.toml"), manifest).unwrap();
        let failure = component_of(&place.path().join("tests")).unwrap_err();
        assert!(failure.message.contains("demo_src.wasm"), "{failure}");
        let folder = place.path().join("target/wasm32-wasip1/release");
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("demo_src.wasm"), "").unwrap();
        assert!(component_of(&place.path().join("tests")).unwrap().ends_with("wasm32-wasip1/release/demo_src.wasm"));
    }
}
