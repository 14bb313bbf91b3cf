//! Moves the few records that are still held in an old segment to the head of the journal, so that the segment can go.

use std::collections::{BTreeSet, VecDeque};

use super::disk::read_up_to;
use super::frame::frame_at;
use super::state::{Core, Item, Segment, Shared};
use super::stream::{Chunk, Spot, Stream};
use super::writer::Writer;

/// Bytes that are moved at once, so that appends need not wait long.
const STEP_BYTES: u64 = 1 << 20;

/// A segment may be compacted when at most one part in so many of it is held.
const WORTH: u64 = 4;

/// A compaction that is under way.
pub(super) struct Compaction {
    segments: BTreeSet<u64>,
    /// What is left to be moved: stream, and first offset.
    left: VecDeque<(u32, u64)>,
    moved: u64,
}

impl Writer {
    /// Puts frames of a segment that is to go among what is written next, if one is to go. `busy` is what is written anyway.
    pub(super) fn compact(&mut self, shared: &Shared, busy: usize) {
        if self.roll {
            return;
        }
        if self.compaction.is_none() && self.look {
            self.look = false;
            // More than the snapshot that begins the next segment takes.
            let least = shared.options.segment_bytes / 2 + 2 * self.preamble;
            self.compaction = shared.lock().worth_compacting(self.number, least);
            if let Some(Compaction { segments, left, .. }) = &self.compaction {
                tracing::info!(segments = segments.len(), frames = left.len(), "compaction began");
            }
        }
        let Some(compaction) = &mut self.compaction else { return };
        let limit = if busy == 0 { STEP_BYTES } else { STEP_BYTES / 4 };
        let mut bytes = 0;
        while bytes < limit {
            let Some((number, first)) = compaction.left.pop_front() else {
                if !self.pending.is_empty() {
                    // What was taken out last is written first.
                    return;
                }
                tracing::info!(bytes = compaction.moved, "what is held in old segments is moved");
                self.compaction = None;
                // The next segment's snapshot says that nothing is looked for in the old one, which goes then.
                self.roll = true;
                return;
            };
            let (chunk, file) = {
                let mut core = shared.lock();
                let stream = core.streams.get_mut(&number);
                let chunk = stream.and_then(|stream| stream.chunk_mut(first).map(|chunk| *chunk));
                let chunk = chunk.filter(|chunk| compaction.segments.contains(&chunk.spot.segment));
                let file = |chunk: Chunk| Some((chunk, core.segments.get(&chunk.spot.segment)?.file.clone()));
                let Some(found) = chunk.and_then(file) else { continue };
                found
            };
            let read = read_up_to(&*file, chunk.spot.position, chunk.length as usize);
            let Some((header, body)) = read.as_deref().ok().and_then(|bytes| frame_at(bytes).ok()) else {
                // Whoever reads it is told. Its segment stays.
                let Spot { segment, position } = chunk.spot;
                tracing::warn!(segment, position, "a frame cannot be read, and its segment is not compacted");
                shared.lock().spoilt.insert(segment);
                continue;
            };
            bytes += u64::from(chunk.length);
            compaction.moved += u64::from(chunk.length);
            self.pending.push_back(Item::Moved(Box::new(header), body.to_vec(), chunk.spot));
        }
    }
}

impl Core {
    /// The segments before `active` of which little is held, if at least so many bytes come free, and what is to be moved.
    fn worth_compacting(&self, active: u64, least: u64) -> Option<Compaction> {
        let worth = |(number, segment): &(&u64, &Segment)| {
            **number < active && segment.live <= segment.len / WORTH && !self.spoilt.contains(*number)
        };
        let free: u64 = self.segments.iter().filter(worth).map(|(_, segment)| segment.len - segment.live).sum();
        if free < least {
            return None;
        }
        let segments: BTreeSet<u64> = self.segments.iter().filter(worth).map(|(number, _)| *number).collect();
        let within = |chunk: &&Chunk| segments.contains(&chunk.spot.segment);
        let of = |(number, stream): (&u32, &Stream)| {
            let number = *number;
            stream.chunks.iter().filter(within).map(|chunk| (number, chunk.first)).collect::<Vec<_>>()
        };
        let left = self.streams.iter().flat_map(of).collect();
        Some(Compaction { segments, left, moved: 0 })
    }

    /// A frame was written again at `spot`; it is there now, unless it went or moved meanwhile.
    pub(super) fn replace(&mut self, header: &super::frame::Header, old: Spot, spot: Spot) {
        let chunk = self.streams.get_mut(&header.stream).and_then(|stream| stream.chunk_mut(header.first));
        if chunk.is_some_and(|chunk| chunk.spot == old) {
            self.place(header, spot);
        }
    }
}
