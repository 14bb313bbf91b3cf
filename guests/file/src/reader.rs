//! The source: each line of a file is a record, and the position is the offset in bytes of the next line.

use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::time::Duration;

use ferrule_sdk::prelude::*;
use ferrule_sdk::{LineBuffer, status};

use crate::{at, path_in};

const POSITION_VERSION: u8 = 1;

/// How often a followed file is looked at: WASI has nothing to wait on for a file that grows.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// The longest line in one piece: the host's default for the largest record. A longer one comes in pieces.
const LONGEST_LINE: usize = 1024 * 1024;

const CHUNK: usize = 64 * 1024;

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parameters {
    /// The folder, as an absolute path; to be granted: `read` to a source, `write` to a sink.
    folder: String,
    /// The file, relative to the folder.
    file: String,
    /// Go on with what is appended later. Otherwise the source is silent after the last line.
    #[serde(default = "yes")]
    follow: bool,
    /// Where to begin when nothing was read before.
    #[serde(default)]
    from: From,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum From {
    /// With the first line.
    #[default]
    Start,
    /// With the first line that is appended.
    End,
}

const fn yes() -> bool {
    true
}

pub(crate) struct LineSource {
    path: PathBuf,
    follow: bool,
    file: File,
    lines: LineBuffer,
    chunk: Vec<u8>,
    /// Where the next line begins.
    offset: u64,
    /// Up to where the file was read.
    read_to: u64,
}

impl LineSource {
    fn open_at(path: PathBuf, follow: bool, offset: Option<u64>, from: From) -> Result<Self, Error> {
        let file = File::open(&path).map_err(|error| at(&path, error))?;
        let mut source = Self {
            path,
            follow,
            file,
            lines: LineBuffer::new(LONGEST_LINE),
            chunk: vec![0; CHUNK],
            offset: 0,
            read_to: 0,
        };
        let len = source.len()?;
        let offset = offset.unwrap_or(if from == From::End { len } else { 0 });
        if offset > len {
            // Not the file that was read before, or no longer: what is there now was never read.
            log::warn!("{} is shorter than what was read of it; reading it from its start", source.path.display());
            source.seek(0)?;
        } else {
            source.seek(offset)?;
        }
        Ok(source)
    }

    fn len(&self) -> Result<u64, Error> {
        Ok(fs::metadata(&self.path).map_err(|error| at(&self.path, error))?.len())
    }

    fn seek(&mut self, offset: u64) -> Result<(), Error> {
        self.file.seek(SeekFrom::Start(offset)).map_err(|error| at(&self.path, error))?;
        self.lines = LineBuffer::new(LONGEST_LINE);
        self.offset = offset;
        self.read_to = offset;
        Ok(())
    }

    /// Reads a chunk; false at the end of the file.
    fn fill(&mut self) -> Result<bool, Error> {
        let count = self.file.read(&mut self.chunk).map_err(|error| at(&self.path, error))?;
        self.lines.extend(&self.chunk[..count]);
        self.read_to += count as u64;
        Ok(count > 0)
    }

    /// At the end of what was read: whether more has come since, or another, shorter file, which is read from its start.
    fn has_more(&mut self) -> Result<bool, Error> {
        match self.len() {
            Ok(len) if len < self.read_to => {
                log::info!("{} was cut off; reading it from its start", self.path.display());
                self.file = File::open(&self.path).map_err(|error| at(&self.path, error))?;
                self.seek(0)?;
                Ok(true)
            }
            // WASI ends the stream of a file at its end for good; what came since is in another one, which seeking makes.
            Ok(len) if len > self.read_to => {
                self.file.seek(SeekFrom::Start(self.read_to)).map_err(|error| at(&self.path, error))?;
                Ok(true)
            }
            Ok(_) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl Source for LineSource {
    type Static = NoParameters;
    type Config = NoParameters;
    type Parameters = Parameters;

    fn about() -> About {
        About::new().capability("read", "{folder}", "the folder of the file to read")
    }

    fn validate(_: &NoParameters, _: &NoParameters, parameters: &Parameters) -> Vec<Problem> {
        path_in(&parameters.folder, &parameters.file).err().into_iter().collect()
    }

    fn open(session: Session<NoParameters, NoParameters, Parameters>) -> Result<Self, Error> {
        let Parameters { folder, file, follow, from } = session.parameters;
        let offset = session.position.as_deref().map(decode_position).transpose()?;
        let source = Self::open_at(path_in(&folder, &file)?, follow, offset, from)?;
        status::healthy(&format!("reading {} from byte {}", source.path.display(), source.offset));
        Ok(source)
    }

    fn replayable(&self) -> bool {
        true
    }

    fn read(&mut self, wait: &Wait) -> Result<Option<Record<'_>>, Error> {
        while !self.lines.has_line() {
            if self.fill()? {
                continue;
            }
            if !self.follow {
                break;
            }
            if self.has_more()? {
                continue;
            }
            let over = wait.remaining().is_some_and(|left| left.is_zero());
            if over || wait.and_at_most(LOOK_AGAIN).sleep() == Ended::Woken {
                return Ok(None);
            }
        }
        let start = self.offset;
        if !self.lines.has_line() {
            // A last line without an end counts only where nothing can be appended to it.
            self.offset = self.read_to;
            return match self.lines.rest() {
                Some(rest) => Ok(Some(Record::new(rest).with_upstream_id(start.to_string()))),
                None => {
                    wait.sleep();
                    Ok(None)
                }
            };
        }
        let line = self.lines.next_line().map(|(line, taken)| {
            self.offset += taken as u64;
            Record::new(line).with_upstream_id(start.to_string())
        });
        Ok(line)
    }

    fn position(&self) -> Option<Vec<u8>> {
        Some(encode_position(self.offset))
    }
}

fn encode_position(offset: u64) -> Vec<u8> {
    let mut position = vec![POSITION_VERSION];
    position.extend_from_slice(&offset.to_le_bytes());
    position
}

fn decode_position(position: &[u8]) -> Result<u64, Error> {
    match position.split_first() {
        Some((&POSITION_VERSION, offset)) if offset.len() == 8 => {
            Ok(offset.iter().rev().fold(0, |offset, byte| offset << 8 | u64::from(*byte)))
        }
        _ => Err(Error::failed("the saved position is of a newer version of this connector, or of another one")),
    }
}

#[cfg(all(test, not(target_family = "wasm")))]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use std::io::Write;

    use super::*;

    struct Scene {
        _folder: tempfile::TempDir,
        path: PathBuf,
    }

    impl Scene {
        fn new(text: &str) -> Self {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("lines.txt");
            fs::write(&path, text).unwrap();
            Self { _folder: folder, path }
        }

        fn append(&self, text: &str) {
            File::options().append(true).open(&self.path).unwrap().write_all(text.as_bytes()).unwrap();
        }

        fn source(&self, follow: bool, offset: Option<u64>, from: From) -> LineSource {
            LineSource::open_at(self.path.clone(), follow, offset, from).unwrap()
        }
    }

    /// What can be read without waiting: lines with their offsets.
    fn lines(source: &mut LineSource) -> Vec<String> {
        let now = Wait::at_most(Duration::ZERO);
        let mut lines = Vec::new();
        while let Some(record) = source.read(&now).unwrap() {
            let id = record.upstream_id().unwrap_or_default();
            lines.push(format!("{}:{}", String::from_utf8_lossy(id), String::from_utf8_lossy(record.payload())));
        }
        lines
    }

    #[test]
    fn lines_are_read_and_gone_on_with() {
        let scene = Scene::new("one\ntwo\r\n\nthr");
        let mut source = scene.source(true, None, From::Start);
        assert_eq!(lines(&mut source), ["0:one", "4:two", "9:"]);
        assert_eq!(source.position(), Some(encode_position(10)));
        scene.append("ee\nfour\n");
        assert_eq!(lines(&mut source), ["10:three", "16:four"]);
        let mut again = scene.source(true, Some(10), From::End);
        assert_eq!(lines(&mut again), ["10:three", "16:four"]);
    }

    #[test]
    fn without_following_the_last_line_needs_no_end() {
        let scene = Scene::new("one\ntwo");
        let mut source = scene.source(false, None, From::Start);
        assert_eq!(lines(&mut source), ["0:one", "4:two"]);
        assert_eq!(source.position(), Some(encode_position(7)));
        assert_eq!(lines(&mut source), [""; 0]);
    }

    #[test]
    fn from_the_end_only_what_is_new() {
        let scene = Scene::new("old\n");
        let mut source = scene.source(true, None, From::End);
        assert_eq!(lines(&mut source), [""; 0]);
        scene.append("new\n");
        assert_eq!(lines(&mut source), ["4:new"]);
    }

    #[test]
    fn a_file_cut_off_is_read_from_its_start() {
        let scene = Scene::new("a long first line\n");
        let mut source = scene.source(true, None, From::Start);
        assert_eq!(lines(&mut source).len(), 1);
        fs::write(&scene.path, "short\n").unwrap();
        assert_eq!(lines(&mut source), ["0:short"]);
        assert_eq!(lines(&mut scene.source(true, Some(99), From::Start)), ["0:short"]);
    }

    #[test]
    fn a_file_that_is_not_there_may_come() {
        let error = LineSource::open_at("/nowhere/at/all".into(), true, None, From::Start).err().unwrap();
        assert!(matches!(error, Error::Unavailable(ref what) if what.starts_with("/nowhere/at/all: ")), "{error}");
    }
}
