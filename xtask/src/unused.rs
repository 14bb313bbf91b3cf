//! Dependencies that no file of their package names: a newcomer waits for every one of them.

use crate::process;
use anyhow::{Context as _, Result};
use std::fs;
use std::path::Path;

/// Dependencies that are used without being named, and the words by which they are known then.
const KNOWN_BY: &[(&str, &[&str])] = &[
    ("serde", &["Deserialize", "Serialize"]),
    ("schemars", &["JsonSchema"]),
    // Named by what its sibling generates.
    ("tonic-prost", &["include_proto"]),
];

/// A line for each dependency, of whatever kind, that the sources of its package do not name.
pub(crate) fn dependencies(workspaces: &[&str]) -> Result<Vec<String>> {
    let mut unused = Vec::new();
    for workspace in workspaces {
        let manifest = process::root().join(workspace).join("Cargo.toml").display().to_string();
        let arguments = ["metadata", "--format-version", "1", "--no-deps", "--offline", "--manifest-path", &manifest];
        let metadata = process::output("cargo", &arguments).context("cargo metadata did not answer")?;
        let metadata: serde_json::Value = serde_json::from_str(&metadata)?;
        for package in metadata["packages"].as_array().context("cargo metadata lists no packages")? {
            let name = package["name"].as_str().unwrap_or_default();
            let folder = Path::new(package["manifest_path"].as_str().unwrap_or_default()).parent();
            let sources = sources(folder.context("a package has no folder")?)?;
            for dependency in package["dependencies"].as_array().into_iter().flatten() {
                let called = dependency["rename"].as_str().or(dependency["name"].as_str()).unwrap_or_default();
                if !is_used(called, &sources) {
                    unused.push(format!("{name} names {called} among its dependencies and uses it nowhere"));
                }
            }
        }
    }
    Ok(unused)
}

/// All Rust sources of a package, in one text.
fn sources(package: &Path) -> Result<String> {
    let mut text = String::new();
    let mut folders = vec![package.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default();
            if path.is_dir() && name != "target" && !path.join("Cargo.toml").exists() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                text.push_str(&fs::read_to_string(&path)?);
            }
        }
    }
    Ok(text)
}

fn is_used(dependency: &str, sources: &str) -> bool {
    let known = KNOWN_BY.iter().find(|(name, _)| *name == dependency).map_or(&[][..], |(_, words)| words);
    has_word(sources, &dependency.replace('-', "_")) || known.iter().any(|word| has_word(sources, word))
}

fn has_word(text: &str, word: &str) -> bool {
    let inner = |character: char| character.is_alphanumeric() || character == '_';
    text.match_indices(word).any(|(at, _)| {
        let (before, after) = (&text[..at], &text[at + word.len()..]);
        !before.chars().next_back().is_some_and(inner) && !after.chars().next().is_some_and(inner)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dependency_is_used_where_its_name_stands_as_a_word() {
        assert!(is_used("serde-json", "let value = serde_json::json!({});"));
        assert!(!is_used("serde-json", "let my_serde_json2 = 1;"));
        assert!(is_used("serde", "#[derive(Deserialize)]"), "known by its derives");
        assert!(!is_used("uuid", "fn uuid_of() {}"));
    }
}
