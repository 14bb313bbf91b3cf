//! Compiled forms of components for commands that need no server: a folder in the user's cache, kept small.
//! See `docs/decisions/0003-compiled-forms.md`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use indicatif::ProgressBar;

use crate::output::Output;

/// How many forms are kept.
const FILES: usize = 64;
/// How many bytes of them.
const BYTES: u64 = 512 << 20;

/// A component of so many bytes takes seconds to compile; smaller ones take a moment, which is not worth a word.
const SLOW: usize = 768 << 10;

/// Says which of these components have to be compiled, as far as that takes seconds: in the spinner, or in one line where there is
/// none. Whether any has to be.
pub(crate) fn announce(output: &Output, spinner: &ProgressBar, folder: Option<&Path>, files: &[PathBuf]) -> bool {
    let mut any = false;
    let mut slow = Vec::new();
    for file in files {
        // What cannot be read is told by whoever needs it.
        let Ok(bytes) = fs::read(file) else { continue };
        if folder.is_some_and(|folder| ferrule_testkit::is_kept(folder, &bytes)) {
            continue;
        }
        any = true;
        if bytes.len() >= SLOW {
            slow.push(file.file_stem().unwrap_or_default().to_string_lossy().into_owned());
        }
    }
    let text = format!("compiling {}", slow.join(", "));
    if slow.is_empty() {
        return any;
    }
    if spinner.is_hidden() {
        output.say(text);
    } else {
        spinner.set_message(text);
    }
    any
}

/// Removes the oldest forms while there are too many, or too large ones. What cannot be removed stays.
pub(crate) fn trim(folder: &Path) {
    trim_to(folder, FILES, BYTES);
}

fn trim_to(folder: &Path, most_files: usize, most_bytes: u64) {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut forms: Vec<(SystemTime, u64, PathBuf)> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "compiled"))
        .filter_map(|path| {
            let metadata = fs::metadata(&path).ok()?;
            Some((metadata.modified().ok()?, metadata.len(), path))
        })
        .collect();
    forms.sort();
    let mut bytes: u64 = forms.iter().map(|(_, len, _)| len).sum();
    let mut files = forms.len();
    for (_, len, path) in forms {
        if files <= most_files && bytes <= most_bytes {
            return;
        }
        if fs::remove_file(path).is_ok() {
            files -= 1;
            bytes -= len;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_oldest_forms_go_first() {
        let folder = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        for (age, name) in [(3, "a.compiled"), (2, "b.compiled"), (1, "c.compiled"), (9, "notes.txt")] {
            let file = fs::File::create(folder.path().join(name)).unwrap();
            file.set_len(10).unwrap();
            file.set_modified(now - Duration::from_secs(age)).unwrap();
        }
        let left = || {
            let entries = fs::read_dir(folder.path()).unwrap();
            let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
            names.sort();
            names
        };
        trim_to(folder.path(), 3, 30);
        assert_eq!(left().len(), 4);
        trim_to(folder.path(), 2, 30);
        assert_eq!(left(), ["b.compiled", "c.compiled", "notes.txt"]);
        trim_to(folder.path(), 2, 19);
        assert_eq!(left(), ["c.compiled", "notes.txt"]);
    }
}
