//! Lines of a file, in both directions: a source that reads and follows one, and a sink that appends to one.

mod appender;
mod reader;

use std::path::{Component, Path, PathBuf};
use std::{fs, io};

use ferrule_sdk::prelude::*;

use appender::LineSink;
use reader::LineSource;

/// Where the file is. Only the folder is granted, so the file must lie in it.
fn path_in(folder: &str, file: &str) -> Result<PathBuf, Problem> {
    if folder.is_empty() {
        return Err(Problem::stream("/folder", "expected a folder"));
    }
    let plain = Path::new(file).components().all(|part| matches!(part, Component::Normal(_)));
    if file.is_empty() || !plain {
        return Err(Problem::stream("/file", format!("`{file}` is not the name of a file in `folder`")));
    }
    Ok(Path::new(folder).join(file))
}

/// What went wrong with a file. A folder that is not granted is not there at all for a guest, and one that is granted always is: where
/// none of the folders around the file is there, none is granted.
fn at(path: &Path, error: io::Error) -> Error {
    let (mut around, path) = (path.ancestors().skip(1), path.display());
    match error.kind() {
        io::ErrorKind::NotFound if around.all(|folder| fs::metadata(folder).is_err()) => {
            Error::Denied(format!("{path}: its folder is not granted"))
        }
        io::ErrorKind::PermissionDenied => Error::Denied(format!("{path}: {error}")),
        _ => Error::Unavailable(format!("{path}: {error}")),
    }
}

ferrule_sdk::export!(connector: LineSource, LineSink);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_lies_in_its_folder() {
        assert_eq!(path_in("/data", "in/log.txt").unwrap(), Path::new("/data/in/log.txt"));
        for wrong in ["", "..", "../passwd", "/etc/passwd", "a/../../b"] {
            assert_eq!(path_in("/data", wrong).unwrap_err().path, "/file", "{wrong}");
        }
        assert_eq!(path_in("", "x").unwrap_err().path, "/folder");
    }

    /// Nothing is granted to a unit test that runs as WebAssembly.
    #[cfg(target_family = "wasm")]
    #[test]
    fn a_folder_that_is_not_granted_is_told_as_that() {
        let path = Path::new("/nowhere/at/all");
        let error = at(path, std::fs::File::open(path).unwrap_err());
        let denied = "/nowhere/at/all: its folder is not granted";
        assert!(matches!(error, Error::Denied(ref what) if what == denied), "{error}");
    }
}
