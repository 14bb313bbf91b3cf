//! Other builds of a component, for swaps: the same code under another digest.

use anyhow::{Context as _, Result};
use std::fs;
use std::path::{Path, PathBuf};

/// How many builds of each component a run swaps among. With three, the next one differs from the one in place whether or not
/// the last swap was carried out before a kill.
pub(crate) const BUILDS: u64 = 3;

/// Writes the builds of `component` into `folder`: each has a custom section of its own at the end, which means nothing.
pub(crate) fn write(component: &Path, folder: &Path) -> Result<Vec<PathBuf>> {
    let code = fs::read(component).with_context(|| format!("could not read {}", component.display()))?;
    let stem = component.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    (0..BUILDS)
        .map(|build| {
            let path = folder.join(format!("{stem}-{build}.wasm"));
            fs::write(&path, [code.as_slice(), &section(build)].concat())?;
            Ok(path)
        })
        .collect()
}

/// A custom section: id 0, its length, the length of its name, the name, the content.
fn section(build: u64) -> Vec<u8> {
    let (name, content) = (b"crash-build", build.to_le_bytes());
    let length = u8::try_from(1 + name.len() + content.len()).unwrap_or_default();
    [&[0, length, u8::try_from(name.len()).unwrap_or_default()], name.as_slice(), &content].concat()
}

#[cfg(test)]
mod tests {
    #[test]
    fn builds_differ_at_their_end_only() {
        let folder = tempfile::tempdir().unwrap();
        let component = folder.path().join("a.wasm");
        std::fs::write(&component, b"code").unwrap();
        let builds = super::write(&component, folder.path()).unwrap();
        let bytes: Vec<_> = builds.iter().map(|path| std::fs::read(path).unwrap()).collect();
        assert!(bytes.iter().all(|bytes| bytes.starts_with(b"code\0\x14\x0bcrash-build") && bytes.len() == 4 + 22));
        assert!(bytes[0] != bytes[1] && bytes[1] != bytes[2] && bytes[0] != bytes[2]);
    }
}
