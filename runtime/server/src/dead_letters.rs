//! Records that were given up, kept durably with the reason.
//!
//! One file: a head of 12 bytes (magic, format), then frames. A frame is the length of its body (u32), the first 8 bytes of
//! the body's SHA-256, and the body: the length of a JSON head (u32), that head, and the record's bytes in the order that
//! the head gives lengths for. Integers are little-endian. A frame that was cut off by a crash is moved aside when the file
//! is opened: its record was not acknowledged, so it comes again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use ferrule_flow::{DeadLetter, DeadLetters, LetterCode};
use ferrule_model::Uid;
use ferrule_model::record::RecordAddress;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

const MAGIC: &[u8; 8] = b"FERRULDL";
const FORMAT: u32 = 1;
const HEAD: u64 = 12;
const FRAME_HEAD: usize = 12;

/// The largest body that is believed: a record has at most a few MiB, so a larger length is damage.
const LARGEST_BODY: u32 = 64 * 1024 * 1024;

/// The part of a letter that is JSON; the bytes follow in the order of the lengths.
#[derive(Serialize, Deserialize)]
struct Head {
    id: String,
    /// Stream, partition and offset.
    address: Option<(Uid, u32, u64)>,
    stream: Uid,
    pipeline: Option<Uid>,
    pipeline_name: String,
    step: String,
    component: String,
    /// Absent in letters that were written before there were codes.
    #[serde(default)]
    code: Option<String>,
    reason: String,
    attempts: u32,
    time_ms: i64,
    timestamp_ns: Option<i64>,
    truncated: u64,
    payload: u32,
    key: u32,
    headers: u32,
}

/// The file of dead letters. Appending is durable when it returns.
#[derive(Debug)]
pub(crate) struct DeadLetterFile {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    /// Up to here the file is whole.
    end: u64,
    count: u64,
}

impl DeadLetterFile {
    /// Opens the file, or makes it. Blocks on the disk.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let length = file.metadata()?.len();
        if length < HEAD {
            file.set_len(0)?;
            file.seek(SeekFrom::Start(0))?;
            file.write_all(MAGIC)?;
            file.write_all(&FORMAT.to_le_bytes())?;
            file.sync_all()?;
            if let Some(folder) = path.parent() {
                File::open(folder)?.sync_all()?;
            }
        } else {
            check_head(&mut file)?;
        }
        let mut frames = Frames::new(file.try_clone()?, file.metadata()?.len())?;
        let mut count = 0;
        let damage = loop {
            match frames.next_body() {
                Ok(Some(_)) => count += 1,
                Ok(None) => break None,
                Err(error) if error.kind() == io::ErrorKind::InvalidData => break Some(error),
                Err(error) => return Err(error),
            }
        };
        let end = frames.at;
        if let Some(damage) = damage {
            set_aside(path, &mut file, end, &damage)?;
        }
        Ok(Self { path: path.to_owned(), state: Mutex::new(State { file, end, count }) })
    }

    /// Adds letters; they are on the disk when it returns. Blocks on the disk. After an error none of them counts.
    pub(crate) fn append(&self, letters: &[DeadLetter]) -> io::Result<()> {
        let mut bytes = Vec::new();
        for letter in letters {
            encode(letter, &mut bytes)?;
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let end = state.end;
        state.file.seek(SeekFrom::Start(end))?;
        let written = state.file.write_all(&bytes).and_then(|()| state.file.sync_data());
        if let Err(error) = written {
            // A later append starts at `end` again; should the process die before, opening the file cuts it there.
            let _ = state.file.set_len(end);
            return Err(error);
        }
        state.end += bytes.len() as u64;
        state.count += letters.len() as u64;
        Ok(())
    }

    /// How many letters there are.
    pub(crate) fn count(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).count
    }

    /// How many bytes they take.
    pub(crate) fn bytes(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).end
    }

    /// The letters that were there when this was called, oldest first. Blocks on the disk.
    pub(crate) fn read(&self) -> io::Result<impl Iterator<Item = io::Result<DeadLetter>> + Send + use<>> {
        let end = self.bytes();
        let mut frames = Frames::new(File::open(&self.path)?, end)?;
        let mut failed = false;
        Ok(std::iter::from_fn(move || {
            if failed {
                return None;
            }
            let letter = frames.next_body().and_then(|body| body.map(|body| decode(&body)).transpose());
            failed = letter.is_err();
            letter.transpose()
        }))
    }
}

/// The file as the flow sees it.
#[derive(Debug, Clone)]
pub(crate) struct Durable(pub(crate) Arc<DeadLetterFile>);

#[async_trait]
impl DeadLetters for Durable {
    async fn store(&self, letters: Vec<DeadLetter>) -> Result<(), String> {
        let file = self.0.clone();
        tokio::task::spawn_blocking(move || file.append(&letters))
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error| format!("{} cannot be written: {error}", self.0.path.display()))
    }
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

fn check_head(file: &mut File) -> io::Result<()> {
    let mut head = [0; HEAD as usize];
    file.seek(SeekFrom::Start(0))?;
    file.read_exact(&mut head)?;
    let (magic, format) = head.split_at(MAGIC.len());
    if magic != MAGIC {
        return Err(invalid("it is not a file of dead letters"));
    }
    match format.try_into().map(u32::from_le_bytes) {
        Ok(FORMAT) => Ok(()),
        _ => Err(invalid("it was written by a newer release")),
    }
}

/// Moves what is behind `end` to a file of its own, so that nothing is thrown away.
fn set_aside(path: &Path, file: &mut File, end: u64, damage: &io::Error) -> io::Result<()> {
    let mut rest = Vec::new();
    file.seek(SeekFrom::Start(end))?;
    file.read_to_end(&mut rest)?;
    let aside = path.with_extension(format!("damaged-at-{end}"));
    fs::write(&aside, &rest)?;
    file.set_len(end)?;
    file.sync_all()?;
    tracing::warn!(
        file = %path.display(), aside = %aside.display(), bytes = rest.len(), reason = %damage,
        "the file of dead letters ended in a damaged frame, which was moved aside"
    );
    Ok(())
}

fn encode(letter: &DeadLetter, bytes: &mut Vec<u8>) -> io::Result<()> {
    let length = |part: &[u8]| u32::try_from(part.len()).map_err(|_| invalid("a record of more than 4 GiB"));
    let head = Head {
        id: letter.id.to_string(),
        address: letter.address.as_ref().map(|at| (at.stream.clone(), at.partition, at.offset)),
        stream: letter.stream.clone(),
        pipeline: letter.pipeline.clone(),
        pipeline_name: letter.pipeline_name.clone(),
        step: letter.step.clone(),
        component: letter.component.clone(),
        code: Some(letter.code.to_string()),
        reason: letter.reason.clone(),
        attempts: letter.attempts,
        time_ms: letter.time_ms,
        timestamp_ns: letter.timestamp_ns,
        truncated: letter.truncated,
        payload: length(&letter.payload)?,
        key: length(&letter.key)?,
        headers: length(&letter.headers)?,
    };
    let head = serde_json::to_vec(&head)?;
    let mut body = Vec::with_capacity(4 + head.len() + letter.payload.len() + letter.key.len());
    body.extend_from_slice(&length(&head)?.to_le_bytes());
    body.extend_from_slice(&head);
    body.extend_from_slice(&letter.payload);
    body.extend_from_slice(&letter.key);
    body.extend_from_slice(&letter.headers);
    let size = length(&body)?;
    if size > LARGEST_BODY {
        return Err(invalid(format!("a record of {size} bytes; at most {LARGEST_BODY} are kept")));
    }
    bytes.extend_from_slice(&size.to_le_bytes());
    bytes.extend_from_slice(&checksum(&body));
    bytes.extend_from_slice(&body);
    Ok(())
}

fn checksum(body: &[u8]) -> [u8; 8] {
    let mut short = [0; 8];
    short.copy_from_slice(&Sha256::digest(body)[..8]);
    short
}

fn decode(body: &[u8]) -> io::Result<DeadLetter> {
    let mut rest = body;
    let mut take = |count: u32| -> io::Result<&[u8]> {
        let (taken, left) = rest.split_at_checked(count as usize).ok_or_else(|| invalid("a frame ends early"))?;
        rest = left;
        Ok(taken)
    };
    let length = take(4)?.try_into().map(u32::from_le_bytes).map_err(|_| invalid("a frame ends early"))?;
    let head: Head = serde_json::from_slice(take(length)?)?;
    let mut part = |count| take(count).map(Bytes::copy_from_slice);
    Ok(DeadLetter {
        id: head.id.parse().map_err(|_| invalid("a record id cannot be read"))?,
        address: head.address.map(|(stream, partition, offset)| RecordAddress { stream, partition, offset }),
        stream: head.stream,
        pipeline: head.pipeline,
        pipeline_name: head.pipeline_name,
        step: head.step,
        component: head.component,
        code: head.code.and_then(|code| code.parse().ok()).unwrap_or_default(),
        reason: head.reason,
        attempts: head.attempts,
        time_ms: head.time_ms,
        timestamp_ns: head.timestamp_ns,
        truncated: head.truncated,
        payload: part(head.payload)?,
        key: part(head.key)?,
        headers: part(head.headers)?,
    })
}

/// Reads frames one after another up to `end`.
struct Frames {
    file: BufReader<File>,
    at: u64,
    end: u64,
}

impl Frames {
    fn new(file: File, end: u64) -> io::Result<Self> {
        let mut file = BufReader::new(file);
        file.seek(SeekFrom::Start(HEAD))?;
        Ok(Self { file, at: HEAD, end })
    }

    /// The next body; none at the end. `InvalidData` if what is there is no whole frame; `at` stays before it.
    fn next_body(&mut self) -> io::Result<Option<Vec<u8>>> {
        let left = self.end.saturating_sub(self.at);
        if left == 0 {
            return Ok(None);
        }
        if left < FRAME_HEAD as u64 {
            return Err(invalid("a frame's head is cut off"));
        }
        let mut size = [0; 4];
        let mut sum = [0; 8];
        self.file.read_exact(&mut size)?;
        self.file.read_exact(&mut sum)?;
        let size = u32::from_le_bytes(size);
        if size > LARGEST_BODY || u64::from(size) > left - FRAME_HEAD as u64 {
            return Err(invalid("a frame is cut off"));
        }
        let mut body = vec![0; size as usize];
        self.file.read_exact(&mut body)?;
        if checksum(&body) != sum {
            return Err(invalid("a frame's checksum does not match"));
        }
        self.at += FRAME_HEAD as u64 + u64::from(size);
        Ok(Some(body))
    }
}

#[cfg(test)]
mod tests {
    use ferrule_model::record::RecordId;

    use super::*;

    fn letter(id: &str) -> DeadLetter {
        DeadLetter {
            id: RecordId::of_upstream(&Uid::from("s"), id.as_bytes()),
            address: Some(RecordAddress { stream: Uid::from("s"), partition: 0, offset: u64::MAX }),
            stream: Uid::from("s"),
            pipeline: None,
            pipeline_name: "p".to_owned(),
            step: "sink".to_owned(),
            component: "sha256:0".to_owned(),
            code: LetterCode::Rejected,
            reason: "not JSON".to_owned(),
            attempts: 3,
            time_ms: 1,
            timestamp_ns: Some(-1),
            payload: Bytes::from_static(&[0, 255, 10]),
            key: Bytes::new(),
            headers: Bytes::from_static(b"\x00\x00"),
            truncated: 7,
        }
    }

    fn all(file: &DeadLetterFile) -> Vec<DeadLetter> {
        file.read().unwrap().map(Result::unwrap).collect()
    }

    #[test]
    fn letters_are_there_after_opening_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dead-letters.log");
        let file = DeadLetterFile::open(&path).unwrap();
        assert!(all(&file).is_empty());
        file.append(&[letter("a"), letter("b")]).unwrap();
        drop(file);
        let file = DeadLetterFile::open(&path).unwrap();
        file.append(&[letter("c")]).unwrap();
        assert_eq!(all(&file), [letter("a"), letter("b"), letter("c")]);
        assert_eq!(file.count(), 3);
        assert_eq!(file.bytes(), fs::metadata(&path).unwrap().len());
    }

    #[test]
    fn a_torn_frame_is_moved_aside_wherever_it_is_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dead-letters.log");
        let file = DeadLetterFile::open(&path).unwrap();
        file.append(&[letter("a")]).unwrap();
        let whole = file.bytes();
        file.append(&[letter("b")]).unwrap();
        drop(file);
        let content = fs::read(&path).unwrap();
        for cut in whole as usize + 1..content.len() {
            fs::write(&path, &content[..cut]).unwrap();
            let file = DeadLetterFile::open(&path).unwrap();
            assert_eq!(all(&file), [letter("a")], "cut at {cut}");
            file.append(&[letter("c")]).unwrap();
            assert_eq!(all(&file), [letter("a"), letter("c")], "cut at {cut}");
        }
        let aside = path.with_extension(format!("damaged-at-{whole}"));
        assert_eq!(fs::read(aside).unwrap(), content[whole as usize..content.len() - 1]);
    }

    #[test]
    fn a_file_of_something_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("dead-letters.log");
        fs::write(&path, "some text that is long enough").unwrap();
        assert!(DeadLetterFile::open(&path).unwrap_err().to_string().contains("not a file of dead letters"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "some text that is long enough");
    }
}
