//! The files below the journal, as a small trait, so that a faulty disk can be put there.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// A folder of files.
pub(crate) trait Disk: Send + Sync {
    /// Makes an empty file; one of that name is emptied.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Opens a file to read it, and to cut it.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Gives a file another name; one of that name is replaced.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// The names of the files.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Makes names survive the end of the machine.
    fn sync_dir(&self) -> io::Result<()>;
    /// What a file is called in messages.
    fn place(&self, name: &str) -> String;
}

/// One file, shared by its writer and its readers.
pub(crate) trait DiskFile: Send + Sync {
    /// Writes some of `bytes`, and says how many.
    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<usize>;
    /// Reads some bytes into `bytes`, and says how many; 0 at the end.
    fn read_at(&self, position: u64, bytes: &mut [u8]) -> io::Result<usize>;
    /// Makes the content survive the end of the machine.
    fn sync(&self) -> io::Result<()>;
    /// Cuts the file.
    fn truncate(&self, len: u64) -> io::Result<()>;
    /// Its bytes.
    fn len(&self) -> io::Result<u64>;
}

/// Writes all of `bytes`.
pub(super) fn write_all(file: &dyn DiskFile, mut position: u64, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(position, bytes) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                position += written as u64;
                bytes = bytes.get(written..).unwrap_or_default();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads up to `len` bytes: fewer only where the file ends.
pub(super) fn read_up_to(file: &dyn DiskFile, position: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(position + filled as u64, rest) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// The whole file.
pub(super) fn read_whole(file: &dyn DiskFile) -> io::Result<Vec<u8>> {
    let len = usize::try_from(file.len()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
    read_up_to(file, 0, len)
}

/// A folder of the operating system.
#[derive(Debug)]
pub(super) struct OsDisk {
    folder: PathBuf,
}

impl OsDisk {
    /// The folder at this path, which is there.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }
}

struct OsFile(File);

impl Disk for OsDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(true).open(self.folder.join(name))?;
        Ok(Arc::new(OsFile(file)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(OsFile(OpenOptions::new().read(true).write(true).open(self.folder.join(name))?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.folder.join(from), self.folder.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.folder.join(name))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        fs::read_dir(&self.folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
    }

    /// Windows keeps names without being told, and cannot open a folder as a file.
    fn sync_dir(&self) -> io::Result<()> {
        if cfg!(unix) { File::open(&self.folder)?.sync_all() } else { Ok(()) }
    }

    fn place(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

impl DiskFile for OsFile {
    #[cfg(unix)]
    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<usize> {
        std::os::unix::fs::FileExt::write_at(&self.0, bytes, position)
    }

    #[cfg(windows)]
    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_write(&self.0, bytes, position)
    }

    #[cfg(unix)]
    fn read_at(&self, position: u64, bytes: &mut [u8]) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(&self.0, bytes, position)
    }

    #[cfg(windows)]
    fn read_at(&self, position: u64, bytes: &mut [u8]) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(&self.0, bytes, position)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}
