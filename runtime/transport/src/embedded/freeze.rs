//! The journal as it is at one moment, to be copied while it goes on.

use std::io::{self, Read};
use std::sync::Arc;

use super::disk::DiskFile;
use super::{EmbeddedLog, segment};

/// One file of a journal as it was when [`EmbeddedLog::freeze`] was called. It stays readable when the journal removes the file.
pub struct FrozenFile {
    /// Its name in the log's folder.
    pub name: String,
    /// Its bytes.
    pub len: u64,
    file: Arc<dyn DiskFile>,
    position: u64,
}

impl std::fmt::Debug for FrozenFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FrozenFile").field("name", &self.name).field("len", &self.len).finish_non_exhaustive()
    }
}

impl Read for FrozenFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.len - self.position).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read_at(self.position, buffer.get_mut(..left).unwrap_or_default())?;
        self.position += read as u64;
        Ok(read)
    }
}

impl EmbeddedLog {
    /// The files of the journal as they are now, with every record and cursor that is written at this moment. A log opened on a
    /// copy of them is this log after a crash at this moment that lost nothing. Streams in memory are not in it.
    pub fn freeze(&self) -> Vec<FrozenFile> {
        let core = self.handle.shared.lock();
        let frozen = |(number, found): (&u64, &super::state::Segment)| FrozenFile {
            name: segment::name(*number),
            len: found.len,
            file: found.file.clone(),
            position: 0,
        };
        core.segments.iter().map(frozen).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use ferrule_model::ids::Uid;
    use ferrule_model::record::Batch;

    use super::*;
    use crate::{Durability, EmbeddedOptions, Log as _, ReaderId, StartAt, StreamOptions};

    fn numbers(range: std::ops::Range<u64>) -> Batch {
        Batch::of(range.map(|number| number.to_string())).unwrap()
    }

    #[tokio::test]
    async fn a_frozen_journal_is_what_it_was_whatever_comes_after() {
        let (folder, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let options =
            |place: &std::path::Path| EmbeddedOptions { segment_bytes: 4 << 10, ..EmbeddedOptions::new(place) };
        let log = EmbeddedLog::open(options(folder.path())).unwrap();
        let stream = Uid::random();
        log.configure(&stream, StreamOptions::new(Durability::System));
        let mut reader = log.reader(&stream, ReaderId::Named("one".to_owned()), StartAt::Oldest).await.unwrap();
        for batch in 0..100 {
            log.append(&stream, numbers(batch * 10..batch * 10 + 10), None).await.unwrap();
        }
        let files = log.freeze();
        assert!(files.len() > 1, "{files:?}");
        while reader.position() < 1_000 {
            let entries = reader.next(1_000, 1 << 20).await.unwrap();
            reader
                .commit(&crate::Cursor { low: entries.first_offset + entries.records.len() as u64, done: Vec::new() });
        }
        for batch in 100..300 {
            log.append(&stream, numbers(batch * 10..batch * 10 + 10), None).await.unwrap();
        }
        for mut file in files {
            let mut content = Vec::new();
            file.read_to_end(&mut content).unwrap();
            assert_eq!(content.len() as u64, file.len);
            fs::write(copy.path().join(&file.name), content).unwrap();
        }
        let copied = EmbeddedLog::open(options(copy.path())).unwrap();
        assert_eq!(copied.health().findings, Vec::<String>::new());
        assert_eq!(copied.readers(&stream), ["one"]);
        let mut reader = copied.reader(&stream, ReaderId::Named("one".to_owned()), StartAt::Latest).await.unwrap();
        assert_eq!((reader.position(), reader.lag().records), (0, 1_000));
        assert_eq!(reader.next(1, 1 << 20).await.unwrap().records.payload.get(0), b"0");
    }
}
