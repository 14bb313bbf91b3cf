//! Writes a backup, in pieces, for whoever asked.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::sync::Arc;
use std::time::SystemTime;

use ferrule_api::{Error, Reports};
use sha2::{Digest as _, Sha256};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::{FORMAT, HEAD, Head, SUMS, Sum, Sums, hex};
use crate::folder;
use crate::platform::{Inner, millis};

/// Bytes of a piece.
const PIECE: usize = 256 << 10;

/// Pieces that wait for the receiver.
const AHEAD: usize = 4;

/// One file of a backup.
struct Part {
    name: String,
    bytes: u64,
    content: Box<dyn Read + Send>,
}

/// The data folder as it is now, with the key to its secrets if `secret_key` is true. A receiver that goes away ends it.
pub(crate) fn backup(inner: Arc<Inner>, secret_key: bool) -> Reports<Vec<u8>> {
    let (pieces, received) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        let mut sink = Pieces { pieces, held: Vec::with_capacity(PIECE) };
        let written = parts(&inner, secret_key).and_then(|parts| {
            write(parts, &head(&inner, secret_key), &mut sink)?;
            sink.pass_on()
        });
        if let Err(error) = written {
            tracing::warn!(%error, "a backup was not completed");
            // Nobody listens if that is why it failed.
            let _ = sink.pieces.blocking_send(Err(Error::Internal(format!("the backup is not complete: {error}"))));
        }
    });
    Box::pin(ReceiverStream::new(received))
}

fn head(inner: &Inner, secret_key: bool) -> Head {
    Head {
        backup: FORMAT,
        folder: folder::FORMAT,
        release: env!("CARGO_PKG_VERSION").to_owned(),
        made_ms: millis(SystemTime::now()),
        transport: inner.log_name.to_owned(),
        secret_key,
    }
}

/// Everything as it is now. The order is what makes it safe, see the module above.
fn parts(inner: &Inner, secret_key: bool) -> io::Result<Vec<Part>> {
    let mut parts = Vec::new();
    for file in inner.journal.iter().flat_map(ferrule_transport::EmbeddedLog::freeze) {
        parts.push(Part { name: format!("log/{}", file.name), bytes: file.len, content: Box::new(file) });
    }
    for (path, file, bytes) in inner.dead_letters.freeze()? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        parts.push(Part { name: format!("dead-letters/{name}"), bytes, content: Box::new(file.take(bytes)) });
    }
    // Without a name, so that nothing is left of it if the process dies.
    let mut store = tempfile::tempfile_in(inner.folder.root())?;
    inner.store_file.copy_into(store.try_clone()?).map_err(io::Error::other)?;
    let bytes = store.seek(io::SeekFrom::End(0))?;
    store.rewind()?;
    parts.push(Part { name: "store.redb".to_owned(), bytes, content: Box::new(store) });
    if secret_key {
        parts.push(Part::of("secret.key", format!("{}\n", inner.secret_key.trim()).into_bytes()));
    }
    // After the store: whatever it names is there.
    let mut components: Vec<_> = fs::read_dir(inner.folder.components())?.collect::<Result<_, _>>()?;
    components.sort_by_key(fs::DirEntry::file_name);
    for entry in components {
        let kind = entry.file_type()?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if kind.is_file() && !folder::is_part(&name) {
            let file = File::open(entry.path())?;
            let bytes = file.metadata()?.len();
            parts.push(Part { name: format!("components/{name}"), bytes, content: Box::new(file) });
        }
    }
    Ok(parts)
}

fn write(parts: Vec<Part>, head: &Head, sink: &mut impl Write) -> io::Result<()> {
    let mut tar = tar::Builder::new(sink);
    let mut sums = Sums::new();
    let head = Part::of(HEAD, serde_json::to_vec_pretty(head)?);
    for part in std::iter::once(head).chain(parts) {
        let name = part.name.clone();
        sums.insert(name, add(&mut tar, part)?);
    }
    add(&mut tar, Part::of(SUMS, serde_json::to_vec_pretty(&sums)?))?;
    tar.finish()
}

impl Part {
    fn of(name: &str, content: Vec<u8>) -> Self {
        Self { name: name.to_owned(), bytes: content.len() as u64, content: Box::new(io::Cursor::new(content)) }
    }
}

fn add(tar: &mut tar::Builder<impl Write>, part: Part) -> io::Result<Sum> {
    let Part { name, bytes, content } = part;
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes);
    header.set_mode(0o600);
    header.set_mtime(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs());
    let mut summed = Summed { content, hash: Sha256::new(), bytes: 0 };
    tar.append_data(&mut header, &name, &mut summed)?;
    if summed.bytes != bytes {
        return Err(io::Error::other(format!("{name} has {} bytes, where there were {bytes}", summed.bytes)));
    }
    Ok(Sum { bytes, sha256: hex(summed.hash.finalize()) })
}

/// Sums up what is read of it.
struct Summed<R> {
    content: R,
    hash: Sha256,
    bytes: u64,
}

impl<R: Read> Read for Summed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.content.read(buffer)?;
        self.hash.update(buffer.get(..read).unwrap_or_default());
        self.bytes += read as u64;
        Ok(read)
    }
}

/// Hands on what is written to it in pieces.
struct Pieces {
    pieces: mpsc::Sender<Result<Vec<u8>, Error>>,
    held: Vec<u8>,
}

impl Pieces {
    fn pass_on(&mut self) -> io::Result<()> {
        if self.held.is_empty() {
            return Ok(());
        }
        let piece = std::mem::replace(&mut self.held, Vec::with_capacity(PIECE));
        self.pieces.blocking_send(Ok(piece)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.held.extend_from_slice(bytes);
        if self.held.len() >= PIECE {
            self.pass_on()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.pass_on()
    }
}
