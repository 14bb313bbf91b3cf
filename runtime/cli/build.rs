//! Lists the files of the SDK and of the contract, so that `ferrule new` can write a copy of them into a project.

use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// What a project needs of the repository, from its root. Anything else there (build output, lock files) is left out.
const VENDORED: [&str; 4] = ["sdk/rust/Cargo.toml", "sdk/rust/build.rs", "sdk/rust/src", "wit"];

fn main() -> Result<(), Box<dyn Error>> {
    let root = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("../..").canonicalize()?;
    let mut files = Vec::new();
    for part in VENDORED {
        let path = root.join(part);
        println!("cargo:rerun-if-changed={}", path.display());
        collect(&path, &mut files)?;
    }
    println!("cargo:rerun-if-changed=build.rs");
    files.sort();
    let mut code = String::from("[\n");
    for file in &files {
        let name = file.strip_prefix(&root)?;
        writeln!(code, "    ({name:?}, include_bytes!({file:?}).as_slice()),")?;
    }
    code.push_str("]\n");
    fs::write(PathBuf::from(env::var("OUT_DIR")?).join("vendored.rs"), code)?;
    Ok(())
}

fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<(), Box<dyn Error>> {
    if path.is_file() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        collect(&entry?.path(), files)?;
    }
    Ok(())
}
