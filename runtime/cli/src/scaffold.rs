//! The project that `ferrule new` writes, from templates and a copy of the SDK that are part of this binary.

use std::fs;
use std::path::Path;

use crate::exit::{Exit, Failure};

/// The SDK and the contract, by their paths in the repository.
const VENDORED: &[(&str, &[u8])] = &include!(concat!(env!("OUT_DIR"), "/vendored.rs"));

/// Files that every project has.
const COMMON: &[(&str, &str)] = &[
    ("Cargo.toml", include_str!("../templates/common/Cargo.toml")),
    ("rust-toolchain.toml", include_str!("../templates/common/rust-toolchain.toml")),
    ("clippy.toml", include_str!("../templates/common/clippy.toml")),
    (".cargo/config.toml", include_str!("../templates/common/cargo-config.toml")),
    (".gitignore", include_str!("../templates/common/gitignore")),
    (".github/workflows/ci.yml", include_str!("../templates/common/ci.yml")),
    ("justfile", include_str!("../templates/common/justfile")),
    ("README.md", include_str!("../templates/common/README.md")),
    ("LICENSE", include_str!("../../../LICENSE")),
];

/// What a project is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Template {
    Source,
    Sink,
    Connector,
    Function,
}

impl Template {
    fn world(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Sink => "sink",
            Self::Connector => "connector",
            Self::Function => "function",
        }
    }

    fn summary(self) -> &'static str {
        match self {
            Self::Source => "Gives a numbered greeting at regular intervals.",
            Self::Sink => "Appends records as lines to a file.",
            Self::Connector => "Exchanges lines with a TCP server, in both directions.",
            Self::Function => "Keeps records whose value is above a limit.",
        }
    }

    fn files(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Source => &[
                ("src/lib.rs", include_str!("../templates/source/lib.rs")),
                ("tests/records.test.yaml", include_str!("../templates/source/script.test.yaml")),
                ("pipeline.yaml", include_str!("../templates/source/pipeline.yaml")),
            ],
            Self::Sink => &[
                ("src/lib.rs", include_str!("../templates/sink/lib.rs")),
                ("tests/records.test.yaml", include_str!("../templates/sink/script.test.yaml")),
                ("tests/session.yaml", include_str!("../templates/sink/session.yaml")),
                ("pipeline.yaml", include_str!("../templates/sink/pipeline.yaml")),
                ("out/.gitkeep", ""),
            ],
            Self::Connector => &[
                ("src/lib.rs", include_str!("../templates/connector/lib.rs")),
                ("tests/records.test.yaml", include_str!("../templates/connector/script.test.yaml")),
                ("tests/session.yaml", include_str!("../templates/connector/session.yaml")),
                ("pipeline.yaml", include_str!("../templates/connector/pipeline.yaml")),
            ],
            Self::Function => &[
                ("src/lib.rs", include_str!("../templates/function/lib.rs")),
                ("tests/records.test.yaml", include_str!("../templates/function/script.test.yaml")),
                ("tests/session.yaml", include_str!("../templates/function/session.yaml")),
                ("pipeline.yaml", include_str!("../templates/function/pipeline.yaml")),
            ],
        }
    }
}

/// The keywords of Rust, those for later included. Those that mean something in some places only can name a crate.
const KEYWORDS: [&str; 51] = [
    "abstract", "as", "async", "await", "become", "box", "break", "const", "continue", "crate", "do", "dyn", "else",
    "enum", "extern", "false", "final", "fn", "for", "gen", "if", "impl", "in", "let", "loop", "macro", "match", "mod",
    "move", "mut", "override", "priv", "pub", "ref", "return", "self", "static", "struct", "super", "trait", "true",
    "try", "type", "typeof", "unsafe", "unsized", "use", "virtual", "where", "while", "yield",
];

/// Crates that are there already: those that come with Rust, and those that the project uses.
const CRATES: [&str; 8] = ["alloc", "core", "ferrule-sdk", "proc-macro", "schemars", "serde", "std", "test"];

/// Checks the name of a component, by the rule of the contract and so that a crate can have it too.
pub(crate) fn check_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > 63 {
        return Err("it must have 1 to 63 characters");
    }
    if !name.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Err("it must begin with a lower-case letter");
    }
    if !name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-') {
        return Err("it may hold lower-case letters, digits and hyphens only");
    }
    // The rule of the names of WebAssembly packages: each word begins with a letter.
    if name.split('-').any(|word| !word.starts_with(|c: char| c.is_ascii_lowercase())) {
        return Err("after a hyphen comes a letter, and none at the end");
    }
    if KEYWORDS.contains(&name) {
        return Err("it is a keyword of Rust");
    }
    if CRATES.contains(&name) {
        return Err("a crate of that name comes with Rust or is used by the project");
    }
    Ok(())
}

/// Writes the project into `folder`, which must not exist. Gives the number of files.
pub(crate) fn write(template: Template, name: &str, folder: &Path) -> Result<usize, Failure> {
    let fill = |text: &str| {
        text.replace("{{name}}", name)
            .replace("{{crate}}", &name.replace('-', "_"))
            .replace("{{world}}", template.world())
            .replace("{{summary}}", template.summary())
    };
    let own = COMMON.iter().chain(template.files()).map(|(path, text)| ((*path).to_owned(), fill(text).into_bytes()));
    let vendored = VENDORED.iter().map(|(path, bytes)| (format!("vendor/ferrule/{path}"), bytes.to_vec()));
    let mut count = 0;
    for (path, bytes) in own.chain(vendored) {
        let path = folder.join(path);
        write_new(&path, &bytes)
            .map_err(|error| Failure::new(Exit::Failed, format!("cannot write {}: {error}", path.display())))?;
        count += 1;
    }
    Ok(count)
}

fn write_new(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = fs::File::create_new(path)?;
    std::io::Write::write_all(&mut file, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_that_all_sides_accept() {
        for good in ["demo-src", "a", "mqtt5", "x-y2-z"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        let long = "a".repeat(64);
        for bad in [
            "",
            "Demo",
            "9lives",
            "-a",
            "a-",
            "a--b",
            "a-1",
            "a_b",
            "a b",
            "../x",
            "ümlaut",
            "fn",
            "static",
            "yield",
            "gen",
            "test",
            "alloc",
            "serde",
            "ferrule-sdk",
            long.as_str(),
        ] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_project_is_whole_and_never_overwritten() {
        let place = tempfile::tempdir().unwrap();
        for template in [Template::Source, Template::Sink, Template::Connector, Template::Function] {
            let folder = place.path().join(template.world());
            let count = write(template, "demo-src", &folder).unwrap();
            assert!(count > 30, "{count}");
            for path in [
                "src/lib.rs",
                "vendor/ferrule/sdk/rust/Cargo.toml",
                "vendor/ferrule/wit/types.wit",
                "tests/records.test.yaml",
            ] {
                assert!(folder.join(path).is_file(), "{path}");
            }
            let manifest = fs::read_to_string(folder.join("Cargo.toml")).unwrap();
            assert!(manifest.contains("name = \"demo-src\"") && !manifest.contains("{{"), "{manifest}");
            let script = folder.join("tests/records.test.yaml");
            ferrule_testkit::script::Script::read(&script).unwrap();
            let pipeline = fs::read(folder.join("pipeline.yaml")).unwrap();
            let env = |_: &str| Some("/here".to_owned());
            let objects = ferrule_model::document::read_documents("pipeline.yaml", &pipeline, None, &env);
            assert!(objects.is_ok(), "{objects:?}");
            assert!(write(template, "demo-src", &folder).is_err());
        }
    }
}
