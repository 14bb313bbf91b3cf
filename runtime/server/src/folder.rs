//! The data folder: what is where, and in which format.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use crate::error::StartError;

/// The format of the folder as a whole. It grows when what is in it moves or changes meaning. Format 1 had its dead letters in
/// one file, which is taken over when they are opened.
pub(crate) const FORMAT: u32 = 2;

/// What is where in the data folder.
///
/// ```text
/// format             the format of this folder, a number
/// store.redb         desired and observed state (its lock keeps a second server out)
/// components/        the files that were registered, by digest
/// components/compiled/   their compiled forms; may be deleted at any time
/// dead-letters/      records given up, and why
/// log/               records on their way, where they are kept on this machine's disk
/// secret.key         what secrets are sealed with; readable by its owner alone
/// owner              names this server among those that share a log elsewhere; made when it is first needed
/// ferrule.sock       where the command line finds the server
/// ```
#[derive(Debug, Clone)]
pub(crate) struct DataFolder {
    root: PathBuf,
}

impl DataFolder {
    /// Makes the folder, readable by its owner alone, or checks that this release understands it.
    pub(crate) fn open(root: &Path) -> Result<Self, StartError> {
        let failed = |what, path: &Path| {
            let path = path.to_owned();
            move |source| StartError::Folder { what, path, source }
        };
        make(root).map_err(failed("the data folder", root))?;
        let folder = Self { root: root.to_owned() };
        let format = folder.root.join("format");
        let write_format = |path: &Path| {
            write_durably(path, format!("{FORMAT}\n").as_bytes()).map_err(failed("the format file", path))
        };
        match fs::read_to_string(&format) {
            Ok(text) => {
                let found: u32 = text.trim().parse().map_err(|_| {
                    failed("the format file", &format)(io::Error::new(io::ErrorKind::InvalidData, "not a number"))
                })?;
                if found > FORMAT {
                    return Err(StartError::NewerFolder { path: folder.root, found, known: FORMAT });
                }
                if found < FORMAT {
                    // First, so that no older release looks for what has moved.
                    write_format(&format)?;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                write_format(&format)?;
            }
            Err(error) => return Err(failed("the format file", &format)(error)),
        }
        for part in [folder.components(), folder.compiled()] {
            make(&part).map_err(failed("the folder", &part))?;
        }
        Ok(folder)
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.root.join("store.redb")
    }

    pub(crate) fn components(&self) -> PathBuf {
        self.root.join("components")
    }

    pub(crate) fn compiled(&self) -> PathBuf {
        self.root.join("components").join("compiled")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    /// The name under which this folder's server writes to a log elsewhere: the same for as long as the folder lives, wherever it
    /// is copied to.
    pub(crate) fn owner(&self) -> Result<String, StartError> {
        let path = self.root.join("owner");
        let failed = |source| StartError::Folder { what: "the name of the server", path: path.clone(), source };
        match fs::read_to_string(&path) {
            Ok(text) if !text.trim().is_empty() => return Ok(text.trim().to_owned()),
            Ok(_) => return Err(failed(io::Error::new(io::ErrorKind::InvalidData, "the file is empty"))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let owner = uuid::Uuid::new_v4().simple().to_string();
        write_durably(&path, format!("{owner}\n").as_bytes()).map_err(failed)?;
        Ok(owner)
    }

    pub(crate) fn secret_key(&self) -> PathBuf {
        self.root.join("secret.key")
    }

    pub(crate) fn dead_letters(&self) -> PathBuf {
        self.root.join("dead-letters")
    }
}

/// Compiled forms are machine code that is run as it is, so nobody else may write here.
fn make(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o022 != 0 {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            format!("others may write to it (mode {:o}); run chmod go-w on it", mode & 0o777),
        ));
    }
    Ok(())
}

/// Whether a file of this name is one that is still being written by [`write_durably`].
pub(crate) fn is_part(name: &str) -> bool {
    name.ends_with(".part")
}

/// Writes a file, readable by its owner alone, so that after a crash there is all of it or nothing: beside its place, flushed, then
/// renamed.
pub(crate) fn write_durably(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = path.parent().ok_or_else(|| io::Error::other("the path has no folder"))?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let beside = folder.join(name);
    let written = (|| {
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&beside, path)?;
        fs::File::open(folder)?.sync_all()
    })();
    if written.is_err() {
        // What is left of the attempt; that it stays behind is no worse than the error being reported.
        let _ = fs::remove_file(&beside);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_once_and_a_newer_one_refused() {
        let place = tempfile::tempdir().unwrap();
        let root = place.path().join("a/b");
        let folder = DataFolder::open(&root).unwrap();
        assert!(folder.compiled().is_dir());
        assert_eq!(fs::metadata(&root).unwrap().permissions().mode() & 0o777, 0o700);
        DataFolder::open(&root).unwrap();

        fs::write(root.join("format"), "1\n").unwrap();
        DataFolder::open(&root).unwrap();
        assert_eq!(fs::read_to_string(root.join("format")).unwrap(), "2\n");
        fs::write(root.join("format"), "3\n").unwrap();
        let error = DataFolder::open(&root).unwrap_err();
        assert!(matches!(error, StartError::NewerFolder { found: 3, .. }), "{error}");
        fs::write(root.join("format"), "?").unwrap();
        assert!(DataFolder::open(&root).unwrap_err().to_string().contains("not a number"));
    }

    #[test]
    fn a_folder_keeps_the_name_of_its_server() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let owner = |place: &tempfile::TempDir| DataFolder::open(&place.path().join("data")).unwrap().owner().unwrap();
        assert_eq!(owner(&one), owner(&one));
        assert_ne!(owner(&one), owner(&two));
    }

    #[test]
    fn a_folder_that_others_may_write_to_is_refused() {
        let place = tempfile::tempdir().unwrap();
        fs::set_permissions(place.path(), fs::Permissions::from_mode(0o777)).unwrap();
        let error = DataFolder::open(place.path()).unwrap_err();
        assert!(error.to_string().contains("chmod go-w"), "{error}");
    }
}
