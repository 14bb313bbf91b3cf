//! What becomes of frames that the disk may have lost.

use std::io;
use std::sync::Arc;

use super::body;
use super::disk::DiskFile;
use super::frame::{HEADER, Header, Kind, Previous, frame_at, put_frame};
use super::segment::{self, Found};
use super::state::Shared;
use super::stream::Spot;
use super::writer::Writer;

impl Writer {
    /// Writes again what the disk may have lost, to a segment of its own: after a sync that failed, a later one that works says
    /// nothing about what the first was to make last.
    pub(super) fn rescue(&mut self, shared: &Shared) -> io::Result<()> {
        let (number, snapshot, synced) = {
            let core = shared.lock();
            let synced = if core.synced.segment == self.number { core.synced.position } else { self.preamble };
            (self.number + 1, core.snapshot(), synced)
        };
        let mut moved = Vec::new();
        let (bytes, previous) = segment::preamble(number, Some(synced), &snapshot, |bytes, mut previous| {
            for (start, group) in &self.unsynced {
                let mut at = 0;
                while let Some(Ok((header, content))) =
                    group.get(at..).filter(|rest| rest.len() >= HEADER).map(frame_at)
                {
                    // What is no batch is in the snapshot.
                    if start + (at as u64) >= synced && header.kind == Kind::Batch {
                        let position = bytes.len() as u64;
                        let old = start + at as u64 + header.frame_length() as u64;
                        let header = Header { synced: 0, previous, ..header };
                        let header = put_frame(bytes, header, |out| out.extend_from_slice(content));
                        previous = header.as_previous();
                        let size = body::decode_head(content).map_or(0, |(size, _)| size);
                        moved.push((old, Found { header, position, size }));
                    }
                    at += header.frame_length();
                }
            }
            previous
        });
        let file = segment::create(&*shared.disk, number, &bytes)?;
        let len = bytes.len() as u64;
        // The header of the new segment says so too, in case this fails.
        let _ = self.file.truncate(synced);
        self.index.retain(|found| found.position < synced);
        let _ = segment::write_index(&*shared.disk, self.number, synced, &self.index);
        let mut guard = shared.lock();
        let core = &mut *guard;
        if let Some(segment) = core.segments.get_mut(&self.number) {
            segment.len = synced;
        }
        core.begun(number, file.clone(), len);
        self.index.clear();
        for (_, found) in &moved {
            if found.header.count > 0 {
                core.place(&found.header, Spot { segment: number, position: found.position });
                self.index.push(*found);
            }
        }
        for written in &mut core.waiting {
            if let Some((_, found)) =
                moved.iter().find(|(old, _)| *old == written.spot.position && written.spot.segment == self.number)
            {
                written.spot = Spot { segment: number, position: found.position + found.header.frame_length() as u64 };
            }
        }
        core.sync_failed = None;
        core.synced_to(Spot { segment: number, position: len }, shared.now());
        drop(guard);
        self.renumber(number, file, len, previous);
        Ok(())
    }

    /// Goes on in another segment, which is all on disk. What is in the buffer was laid out for the old one.
    fn renumber(&mut self, number: u64, file: Arc<dyn DiskFile>, len: u64, previous: Previous) {
        (self.number, self.file, self.len, self.preamble, self.previous, self.marked) =
            (number, file, len, len, previous, len);
        self.unsynced.clear();
        self.unsynced_bytes = 0;
        for placed in self.placed.drain(..).rev() {
            self.pending.push_front(placed.item);
        }
    }
}
