//! Reads a backup: makes a data folder of it, or only looks whether one could be made.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::{FORMAT, HEAD, Head, SUMS, Sum, Sums, hex};
use crate::folder;

/// The largest of the two entries that are read into memory.
const LARGEST_NOTE: u64 = 64 << 20;

/// Why no data folder is made of a backup. Nothing is left of the attempt.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The file is something else, is cut off, or was changed.
    #[error("this is not a usable backup: {0}")]
    NotABackup(String),
    /// A newer release wrote it.
    #[error(
        "the backup was written by release {release} in a newer format ({what} {found}; this release knows up to {known}): use that release"
    )]
    Newer {
        /// The release that wrote it.
        release: String,
        /// Which format.
        what: &'static str,
        /// Its number.
        found: u32,
        /// The newest that this release knows.
        known: u32,
    },
    /// There is something where the folder is to be.
    #[error("{} is there already, and a backup is restored only where nothing is", .0.display())]
    NotEmpty(PathBuf),
    /// The folder cannot be written.
    #[error("{} cannot be written: {source}", path.display())]
    Disk {
        /// Which.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// What was in a backup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// The release that wrote it.
    pub release: String,
    /// When it was made, in milliseconds since 1970.
    pub made_ms: i64,
    /// Where records were on their way. Only those of `embedded` are in the backup.
    pub transport: String,
    /// Whether the key to the secrets is in it.
    pub secret_key: bool,
    /// Its files.
    pub files: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Makes the data folder `to` from a backup. It appears when everything in the backup is as it was written, and not before.
/// Blocks on both.
pub fn restore(backup: impl Read, to: &Path) -> Result<Restored, RestoreError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| RestoreError::Disk { path, source }
    };
    match fs::read_dir(to).map(Iterator::count) {
        Ok(1..) => return Err(RestoreError::NotEmpty(to.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(RestoreError::NotEmpty(to.to_owned()));
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(to)(error)),
        _ => {}
    }
    let parent = match to.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    fs::DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(failed(parent))?;
    // Beside its place, and removed unless it gets there.
    let beside = tempfile::Builder::new().prefix(".restoring-").tempdir_in(parent).map_err(failed(parent))?;
    let restored = read(backup, Some(beside.path()))?;
    let format = beside.path().join("format");
    folder::write_durably(&format, format!("{}\n", restored.1).as_bytes()).map_err(failed(&format))?;
    fs::rename(beside.path(), to).map_err(failed(to))?;
    // It is not where it would be removed any more.
    let _ = beside.keep();
    File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed(parent))?;
    Ok(restored.0)
}

/// Reads a backup to its end and checks all of it, and makes nothing.
pub fn check_backup(backup: impl Read) -> Result<Restored, RestoreError> {
    read(backup, None).map(|(restored, _)| restored)
}

/// What was in it, and the format of the data folder.
fn read(backup: impl Read, to: Option<&Path>) -> Result<(Restored, u32), RestoreError> {
    let broken = |error: io::Error| RestoreError::NotABackup(error.to_string());
    let mut tar = tar::Archive::new(backup);
    let mut found = Sums::new();
    let mut head: Option<Head> = None;
    for entry in tar.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let name = String::from_utf8(entry.path_bytes().into_owned())
            .map_err(|_| RestoreError::NotABackup("it has an entry without a readable name".to_owned()))?;
        match &head {
            None => {
                let (read, sum) = first(&name, &mut entry)?;
                found.insert(name, sum);
                head = Some(read);
                continue;
            }
            Some(head) if name == SUMS => {
                let (content, _) = note(&mut entry)?;
                return last(head, &content, &found);
            }
            Some(_) => {}
        }
        let path = to.map(|to| Ok(to.join(place(&name, entry.header().entry_type())?))).transpose()?;
        let sum = extract(&mut entry, path.as_deref())?;
        if found.insert(name.clone(), sum).is_some() {
            return Err(RestoreError::NotABackup(format!("{name} is in it twice")));
        }
    }
    Err(RestoreError::NotABackup("it is cut off, or is something else: its last entry is not there".to_owned()))
}

/// The first entry says what this is.
fn first(name: &str, entry: &mut impl Read) -> Result<(Head, Sum), RestoreError> {
    if name != HEAD {
        return Err(RestoreError::NotABackup(format!("it begins with {name}, where a backup begins with {HEAD}")));
    }
    let (content, sum) = note(entry)?;
    let head: Head =
        serde_json::from_slice(&content).map_err(|error| RestoreError::NotABackup(format!("{HEAD}: {error}")))?;
    for (what, found, known) in [("backup", head.backup, FORMAT), ("data folder", head.folder, folder::FORMAT)] {
        if found > known {
            return Err(RestoreError::Newer { release: head.release, what, found, known });
        }
    }
    Ok((head, sum))
}

/// The last entry says what there must have been.
fn last(head: &Head, content: &[u8], found: &Sums) -> Result<(Restored, u32), RestoreError> {
    let sums: Sums =
        serde_json::from_slice(content).map_err(|error| RestoreError::NotABackup(format!("{SUMS}: {error}")))?;
    for (name, sum) in &sums {
        match found.get(name) {
            Some(found) if found == sum => {}
            Some(found) if found.bytes != sum.bytes => {
                let (found, wanted) = (found.bytes, sum.bytes);
                return Err(RestoreError::NotABackup(format!("{name} has {found} bytes instead of {wanted}")));
            }
            Some(_) => return Err(RestoreError::NotABackup(format!("{name} is not what was written"))),
            None => return Err(RestoreError::NotABackup(format!("{name} is missing"))),
        }
    }
    if let Some(name) = found.keys().find(|name| !sums.contains_key(*name)) {
        return Err(RestoreError::NotABackup(format!("{name} does not belong to it")));
    }
    let restored = Restored {
        release: head.release.clone(),
        made_ms: head.made_ms,
        transport: head.transport.clone(),
        secret_key: head.secret_key,
        files: sums.len() as u64,
        bytes: sums.values().map(|sum| sum.bytes).sum(),
    };
    Ok((restored, head.folder))
}

/// Where an entry goes: only where backups have something, and never out of the folder.
fn place(name: &str, kind: tar::EntryType) -> Result<PathBuf, RestoreError> {
    let parts: Vec<&str> = name.split('/').collect();
    let plain = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.contains('\0');
    let known = match parts.as_slice() {
        ["store.redb" | "secret.key"] => true,
        ["log" | "dead-letters" | "components", file] => plain(file),
        _ => false,
    };
    if known && kind.is_file() {
        Ok(parts.iter().collect())
    } else {
        Err(RestoreError::NotABackup(format!("{name} does not belong into a data folder")))
    }
}

fn note(entry: &mut impl Read) -> Result<(Vec<u8>, Sum), RestoreError> {
    let mut content = Vec::new();
    entry.take(LARGEST_NOTE).read_to_end(&mut content).map_err(|error| RestoreError::NotABackup(error.to_string()))?;
    let sum = Sum { bytes: content.len() as u64, sha256: hex(Sha256::digest(&content)) };
    Ok((content, sum))
}

/// Reads an entry to its end, into a file if there is one to be.
fn extract(entry: &mut impl Read, path: Option<&Path>) -> Result<Sum, RestoreError> {
    let failed = |source: io::Error| RestoreError::Disk { path: path.unwrap_or(Path::new("")).to_owned(), source };
    let mut file = None;
    if let Some(path) = path {
        if let Some(folder) = path.parent() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
        }
        let options = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).clone();
        file = Some(options.open(path).map_err(failed)?);
    }
    let mut hash = Sha256::new();
    let mut bytes = 0;
    let mut buffer = vec![0; 128 << 10];
    loop {
        let read = match entry.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(RestoreError::NotABackup(error.to_string())),
        };
        let piece = buffer.get(..read).unwrap_or_default();
        hash.update(piece);
        bytes += read as u64;
        if let Some(file) = &mut file {
            file.write_all(piece).map_err(failed)?;
        }
    }
    if let Some(file) = file {
        file.sync_all().map_err(failed)?;
    }
    Ok(Sum { bytes, sha256: hex(hash.finalize()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A backup with these files after its head, and sums that say `sums` of them.
    fn made(head: &Head, files: &[(&str, &str)], with_sums: bool) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut sums = Sums::new();
        let head = serde_json::to_string(head).unwrap();
        let mut add = |name: &str, content: &str| {
            let mut header = tar::Header::new_gnu();
            // As a hostile hand would: the library itself refuses to write such names.
            header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(content.len() as u64);
            header.set_cksum();
            tar.append(&header, content.as_bytes()).unwrap();
        };
        for (name, content) in std::iter::once(&(HEAD, head.as_str())).chain(files) {
            add(name, content);
            let sum = Sum { bytes: content.len() as u64, sha256: hex(Sha256::digest(content)) };
            sums.insert((*name).to_owned(), sum);
        }
        if with_sums {
            add(SUMS, &serde_json::to_string(&sums).unwrap());
        }
        tar.into_inner().unwrap()
    }

    fn head() -> Head {
        let (release, transport) = ("0.1.0".to_owned(), "embedded".to_owned());
        Head { backup: FORMAT, folder: folder::FORMAT, release, made_ms: 7, transport, secret_key: false }
    }

    #[test]
    fn what_is_no_whole_backup_is_refused_and_leaves_nothing() {
        let place = tempfile::tempdir().unwrap();
        let to = place.path().join("data");
        let files = [("store.redb", "store"), ("log/1.seg", "journal"), ("components/a.wasm", "component")];
        let good = made(&head(), &files, true);
        let mut changed = good.clone();
        let at = changed.windows(7).position(|bytes| bytes == b"journal").unwrap();
        changed[at] ^= 1;
        let mut newer = head();
        newer.folder += 1;
        for (backup, says) in [
            (b"hello".to_vec(), "not a usable backup"),
            (Vec::new(), "its last entry is not there"),
            (made(&head(), &files, false), "its last entry is not there"),
            (good[..at].to_vec(), "not a usable backup"),
            (changed, "log/1.seg is not what was written"),
            (made(&newer, &files, true), "newer format (data folder 3"),
            (made(&head(), &[("../../escape", "x")], true), "../../escape does not belong"),
            (made(&head(), &[("/escape", "x")], true), "does not belong"),
            (made(&head(), &[("log/../../escape", "x")], true), "does not belong"),
            (made(&head(), &[("log/.", "x")], true), "does not belong"),
            (made(&head(), &[("store.redb", "x"), ("store.redb", "x")], true), "store.redb"),
        ] {
            let error = restore(backup.as_slice(), &to).unwrap_err().to_string();
            assert!(error.contains(says), "{error}\nand not: {says}");
            assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "{says}");
        }
        assert_eq!(check_backup(good.as_slice()).unwrap().files, 4);
        let restored = restore(good.as_slice(), &to).unwrap();
        assert_eq!((restored.made_ms, restored.files), (7, 4));
        assert_eq!(fs::read_to_string(to.join("log/1.seg")).unwrap(), "journal");
        assert_eq!(fs::read_to_string(to.join("format")).unwrap(), format!("{}\n", folder::FORMAT));
        let error = restore(good.as_slice(), &to).unwrap_err();
        assert!(matches!(error, RestoreError::NotEmpty(_)), "{error}");
    }
}
