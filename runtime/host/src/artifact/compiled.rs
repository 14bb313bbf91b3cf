//! Compiled forms kept on disk, so that a start does not compile everything again.
//!
//! A compiled form is machine code that this process will run, so a file is taken only from a folder that nobody else can
//! write: see `docs/decisions/0003-compiled-forms.md`. Whatever is wrong with a file or the folder, the component is compiled.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::engine::EngineKind;

/// The beginning of every file, with the version of its form.
const MAGIC: &[u8] = b"ferrule compiled 1\n";

/// Bytes of the checksum that follows.
const CHECKSUM: usize = 32;

/// Compiles an artifact, or takes the form that was compiled before.
pub(super) fn component(
    engine: &Engine,
    kind: EngineKind,
    bytes: &[u8],
    digest: &str,
    folder: Option<&Path>,
) -> wasmtime::Result<Component> {
    let file =
        folder.filter(|folder| is_ours(folder).unwrap_or(false)).map(|folder| folder.join(name(engine, kind, digest)));
    if let Some(component) = file.as_deref().and_then(|file| take(engine, file)) {
        return Ok(component);
    }
    let component = Component::from_binary(engine, bytes)?;
    if let Some(file) = file {
        // A full disk costs time at the next start, and nothing else.
        let _ = component.serialize().map_err(io::Error::other).and_then(|form| keep(&file, &form));
    }
    Ok(component)
}

/// Whether a form of these bytes is in the folder. One of another release counts too: this is for what a person is told to wait for.
pub fn is_kept(folder: &Path, bytes: &[u8]) -> bool {
    let digest = super::digest(bytes);
    let digest = digest.strip_prefix("sha256:").unwrap_or(&digest);
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name()).any(|name| {
        let name = name.to_string_lossy();
        name.starts_with(digest) && name.ends_with(".compiled")
    })
}

/// Engine, its settings and version, and what was compiled.
fn name(engine: &Engine, kind: EngineKind, digest: &str) -> PathBuf {
    let mut settings = DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut settings);
    let digest = digest.strip_prefix("sha256:").unwrap_or(digest);
    format!("{digest}.{}-{:016x}.compiled", kind.name(), settings.finish()).into()
}

/// A part of a file name that no other load has, in this process or another.
fn unique() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Makes the folder if need be, and sees that it belongs to this process' user and that nobody else can write or read it.
fn is_ours(folder: &Path) -> io::Result<bool> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let metadata = std::fs::symlink_metadata(folder)?;
    // What this process makes belongs to its user; that is how the user is known.
    let probe = folder.join(format!(".probe-{}", unique()));
    let made = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&probe)?;
    let user = made.metadata()?.uid();
    std::fs::remove_file(probe)?;
    Ok(metadata.is_dir() && metadata.uid() == user && metadata.mode() & 0o077 == 0)
}

/// The form in a file, when the file is whole and made for this engine.
fn take(engine: &Engine, file: &Path) -> Option<Component> {
    let content = std::fs::read(file).ok()?;
    let rest = content.strip_prefix(MAGIC)?;
    let (checksum, form) = rest.split_at_checked(CHECKSUM)?;
    (Sha256::digest(form).as_slice() == checksum).then_some(())?;
    deserialize(engine, form).ok()
}

fn keep(file: &Path, form: &[u8]) -> io::Result<()> {
    let mut content = Vec::with_capacity(MAGIC.len() + CHECKSUM + form.len());
    content.extend_from_slice(MAGIC);
    content.extend_from_slice(&Sha256::digest(form));
    content.extend_from_slice(form);
    let unfinished = file.with_extension(format!("{}.unfinished", unique()));
    std::fs::write(&unfinished, content)?;
    std::fs::rename(unfinished, file)
}

#[expect(unsafe_code, reason = "docs/decisions/0003-compiled-forms.md: only of files that this user alone can write")]
fn deserialize(engine: &Engine, form: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: the bytes are what `Component::serialize` gave: they come whole (checksum) from a folder that only this
    // process' user can write (`is_ours`). wasmtime itself refuses forms of another version or of other settings.
    unsafe { Component::deserialize(engine, form) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    /// The smallest component there is.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn a_form_is_kept_and_taken_and_a_damaged_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("compiled");
        let engine = Engine::default();
        let load = || component(&engine, EngineKind::Dense, EMPTY, "sha256:00", Some(&folder)).unwrap();
        load();
        let file = folder.join(name(&engine, EngineKind::Dense, "sha256:00"));
        assert!(take(&engine, &file).is_some());

        let mut content = std::fs::read(&file).unwrap();
        *content.last_mut().unwrap() ^= 1;
        std::fs::write(&file, &content).unwrap();
        assert!(take(&engine, &file).is_none());
        load();
        assert!(take(&engine, &file).is_some(), "it was compiled and kept again");
    }

    #[test]
    fn what_is_kept_is_known_by_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("compiled");
        assert!(!is_kept(&folder, EMPTY));
        let digest = crate::artifact::digest(EMPTY);
        component(&Engine::default(), EngineKind::Dense, EMPTY, &digest, Some(&folder)).unwrap();
        assert!(is_kept(&folder, EMPTY) && !is_kept(&folder, b"another"));
    }

    #[test]
    fn a_folder_that_others_can_write_is_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("compiled");
        assert!(is_ours(&folder).unwrap());
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o770)).unwrap();
        assert!(!is_ours(&folder).unwrap());
        component(&Engine::default(), EngineKind::Dense, EMPTY, "sha256:00", Some(&folder)).unwrap();
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 0);
    }
}
