//! The sink: each record is a line appended to a file, and delivered when the file has it for good.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use ferrule_sdk::prelude::*;
use ferrule_sdk::status;

use crate::{at, path_in};

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Parameters {
    /// The folder, as an absolute path; to be granted: `read` to a source, `write` to a sink.
    folder: String,
    /// The file, relative to the folder; made if it is not there.
    file: String,
    /// Wait until the disk has each batch. Without it, a power failure may cost records that count as delivered.
    #[serde(default = "yes")]
    sync: bool,
    /// Write records with line ends in them as they are, so that each becomes several lines. Otherwise they are rejected.
    #[serde(default)]
    multiline: bool,
}

const fn yes() -> bool {
    true
}

pub(crate) struct LineSink {
    path: PathBuf,
    file: File,
    sync: bool,
    multiline: bool,
    /// How long the file is after the last complete batch.
    len: u64,
    lines: Vec<u8>,
}

impl LineSink {
    fn open_file(path: PathBuf, sync: bool, multiline: bool) -> Result<Self, Error> {
        let opened =
            File::options().read(true).append(true).create(true).open(&path).map_err(|error| at(&path, error))?;
        let mut sink = Self { path, file: opened, sync, multiline, len: 0, lines: Vec::new() };
        sink.end_last_line().map_err(|error| at(&sink.path, error))?;
        Ok(sink)
    }

    /// A line that was torn by a crash must not be joined with the next one.
    fn end_last_line(&mut self) -> io::Result<()> {
        self.len = self.file.seek(SeekFrom::End(0))?;
        if self.len > 0 {
            let mut last = [0];
            self.file.seek(SeekFrom::End(-1))?;
            self.file.read_exact(&mut last)?;
            if last != *b"\n" {
                self.file.write_all(b"\n")?;
                self.len += 1;
            }
        }
        Ok(())
    }

    fn append(&mut self) -> io::Result<()> {
        self.file.write_all(&self.lines)?;
        self.file.flush()?;
        if self.sync {
            self.file.sync_data()?;
        }
        self.len += self.lines.len() as u64;
        Ok(())
    }
}

impl Sink for LineSink {
    type Static = NoParameters;
    type Config = NoParameters;
    type Parameters = Parameters;

    fn about() -> About {
        About::new().capability("write", "{folder}", "the folder of the file to append to").reads(Columns::PAYLOAD)
    }

    fn validate(_: &NoParameters, _: &NoParameters, parameters: &Parameters) -> Vec<Problem> {
        path_in(&parameters.folder, &parameters.file).err().into_iter().collect()
    }

    fn open(session: Session<NoParameters, NoParameters, Parameters>) -> Result<Self, Error> {
        let Parameters { folder, file, sync, multiline } = session.parameters;
        let sink = Self::open_file(path_in(&folder, &file)?, sync, multiline)?;
        status::healthy(&format!("appending to {}", sink.path.display()));
        Ok(sink)
    }

    fn write(&mut self, records: &Records, outcomes: &mut Outcomes) -> Result<(), Error> {
        self.lines.clear();
        for record in records {
            let payload = record.payload();
            if !self.multiline && payload.contains(&b'\n') {
                outcomes.reject(record, "has a line end in it, and `multiline` is not set");
                continue;
            }
            self.lines.extend_from_slice(payload);
            self.lines.push(b'\n');
            outcomes.delivered(record);
        }
        if let Err(error) = self.append() {
            *outcomes = Outcomes::new();
            // Part of the batch may be in the file, and all of it comes again.
            if let Err(error) = self.file.set_len(self.len) {
                log::warn!("{}: cannot take back half a batch: {error}", self.path.display());
            }
            return Err(at(&self.path, error));
        }
        Ok(())
    }
}

#[cfg(all(test, not(target_family = "wasm")))]
#[allow(clippy::unwrap_used, reason = "a test may fail loudly")]
mod tests {
    use std::fs;

    use super::*;

    fn write(sink: &mut LineSink, payloads: &[&str]) -> Outcomes {
        let records = Records::of(payloads.iter().map(|payload| Record::new(*payload)));
        let mut outcomes = Outcomes::new();
        sink.write(&records, &mut outcomes).unwrap();
        outcomes
    }

    #[test]
    fn records_become_lines() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.txt");
        let mut sink = LineSink::open_file(path.clone(), true, false).unwrap();
        assert_eq!(write(&mut sink, &["one", "", "three"]).delivered_tokens(), [0, 1, 2]);
        drop(sink);
        let mut sink = LineSink::open_file(path.clone(), false, false).unwrap();
        write(&mut sink, &["four"]);
        assert_eq!(fs::read_to_string(path).unwrap(), "one\n\nthree\nfour\n");
    }

    #[test]
    fn a_record_of_several_lines_is_rejected_unless_wanted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.txt");
        let outcomes = write(&mut LineSink::open_file(path.clone(), true, false).unwrap(), &["a\nb", "c"]);
        assert_eq!(outcomes.delivered_tokens(), [1]);
        assert_eq!(outcomes.rejections().map(|(token, _)| token).collect::<Vec<_>>(), [0]);
        write(&mut LineSink::open_file(path.clone(), true, true).unwrap(), &["a\nb"]);
        assert_eq!(fs::read_to_string(path).unwrap(), "c\na\nb\n");
    }

    #[test]
    fn a_write_that_fails_says_nothing_of_any_record() {
        // A device that is always full.
        let Ok(mut sink) = LineSink::open_file("/dev/full".into(), false, false) else { return };
        let mut outcomes = Outcomes::new();
        let records = Records::of(["one", "two"].map(Record::new));
        assert!(matches!(sink.write(&records, &mut outcomes), Err(Error::Unavailable(_))));
        assert!(outcomes.is_empty(), "all of it is offered again, in its order");
    }

    #[test]
    fn a_torn_line_is_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.txt");
        fs::write(&path, "whole\nto").unwrap();
        write(&mut LineSink::open_file(path.clone(), true, false).unwrap(), &["next"]);
        assert_eq!(fs::read_to_string(path).unwrap(), "whole\nto\nnext\n");
    }
}
