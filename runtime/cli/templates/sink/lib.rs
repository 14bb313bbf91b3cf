//! {{summary}}

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use ferrule_sdk::prelude::*;

/// The stream's parameters. Their JSON Schema is made from this type, comments included.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Parameters {
    /// The folder to write to, as an absolute path; somebody must have granted it.
    folder: String,
    /// The file in it.
    #[serde(default = "file")]
    file: String,
}

fn file() -> String {
    "records.txt".to_owned()
}

/// One session of one stream.
struct Lines {
    file: File,
}

impl Sink for Lines {
    type Static = NoParameters;
    type Config = NoParameters;
    type Parameters = Parameters;

    fn about() -> About {
        About::new().capability("write", "{folder}", "the folder to write lines to")
    }

    fn validate(_: &NoParameters, _: &NoParameters, parameters: &Parameters) -> Vec<Problem> {
        let plain = !parameters.file.is_empty() && !parameters.file.contains(['/', '\\']);
        if plain {
            Vec::new()
        } else {
            vec![Problem::stream(
                "/file",
                "expected the name of a file, without a folder",
            )]
        }
    }

    fn open(session: Session<NoParameters, NoParameters, Parameters>) -> Result<Self, Error> {
        let path = Path::new(&session.parameters.folder).join(&session.parameters.file);
        let file = OpenOptions::new().create(true).append(true).open(&path);
        let file = file.map_err(|error| {
            Error::unavailable(format!("cannot open {}: {error}", path.display()))
        })?;
        Ok(Self { file })
    }

    /// Appends one line. A record that is no text, or of more than one line, would break the file: it can never be accepted.
    fn send(&mut self, record: RecordRef<'_>) -> Result<(), Undelivered> {
        let line = line(record.payload()).map_err(Undelivered::reject)?;
        self.file
            .write_all(line.as_bytes())
            .map_err(|error| Undelivered::retry(format!("cannot write: {error}")))
    }

    fn close(&mut self) -> Result<(), Error> {
        self.file.sync_all().map_err(Error::failed)
    }
}

/// A payload as a line.
fn line(payload: &[u8]) -> Result<String, &'static str> {
    let text = std::str::from_utf8(payload).map_err(|_| "expected UTF-8 text")?;
    if text.contains('\n') {
        Err("expected one line")
    } else {
        Ok(format!("{text}\n"))
    }
}

ferrule_sdk::export!(sink: Lines);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_text_without_a_line_end() {
        assert_eq!(line(b"21.5").unwrap(), "21.5\n");
        assert!(line(b"one\ntwo").is_err());
        assert!(line(&[0xff]).is_err());
    }
}
