//! A frame of the journal: a header with two checksums, and a body.
//!
//! The header names the frame before it, so that a damaged header takes no more with it than its own frame, and says up to
//! where the segment was known to be on disk when it was written: damage below that is damage, above it a torn end.

use super::wire::Wire;

/// Bytes of a header.
pub(super) const HEADER: usize = 64;

/// How every frame begins.
const MAGIC: [u8; 2] = [0xFE, 0x1C];

/// What a frame holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Everything but records, as of the start of a segment.
    Snapshot = 1,
    /// The uid of a stream's number.
    Stream = 2,
    /// Records of a stream, and where its source goes on after them.
    Batch = 3,
    /// The cursor of a named reader.
    Cursor = 4,
    /// A named reader that is forgotten.
    Forget = 5,
    /// A stream that is removed.
    Remove = 6,
    /// Everything of a stream before an offset is gone.
    First = 7,
    /// Nothing but how far the segment is on disk.
    Mark = 8,
}

impl Kind {
    fn of(number: u8) -> Option<Self> {
        use Kind::{Batch, Cursor, First, Forget, Mark, Remove, Snapshot, Stream};
        [Snapshot, Stream, Batch, Cursor, Forget, Remove, First, Mark].into_iter().find(|kind| *kind as u8 == number)
    }
}

/// A batch that was written before and is moved to where it lasts: its position is not the stream's newest.
pub(super) const MOVED: u8 = 1;

/// The records of the frame before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Previous {
    pub(super) stream: u32,
    pub(super) count: u32,
    pub(super) first: u64,
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) kind: Kind,
    pub(super) flags: u8,
    /// Bytes of the body.
    pub(super) length: u32,
    pub(super) stream: u32,
    /// Records.
    pub(super) count: u32,
    /// The offset of the first.
    pub(super) first: u64,
    pub(super) appended_ms: i64,
    /// The bytes of the segment that were known to be on disk.
    pub(super) synced: u64,
    pub(super) previous: Previous,
    pub(super) body_crc: u32,
}

impl Header {
    /// The header of a frame of this kind, with the rest to be filled in.
    pub(super) fn new(kind: Kind, stream: u32) -> Self {
        Self {
            kind,
            flags: 0,
            length: 0,
            stream,
            count: 0,
            first: 0,
            appended_ms: 0,
            synced: 0,
            previous: Previous::default(),
            body_crc: 0,
        }
    }

    /// What the next frame says of this one.
    pub(super) fn as_previous(&self) -> Previous {
        let count = if self.kind == Kind::Batch && self.flags & MOVED == 0 { self.count } else { 0 };
        Previous { stream: self.stream, count, first: self.first }
    }

    /// The offset after its records.
    pub(super) fn end(&self) -> u64 {
        self.first.saturating_add(u64::from(self.count))
    }

    /// Bytes of header and body.
    pub(super) fn frame_length(&self) -> usize {
        HEADER + self.length as usize
    }

    pub(super) fn encode(&self) -> [u8; HEADER] {
        let mut out = [0; HEADER];
        let mut at = 0;
        let mut put = |bytes: &[u8]| {
            if let Some(place) = out.get_mut(at..at + bytes.len()) {
                place.copy_from_slice(bytes);
            }
            at += bytes.len();
        };
        put(&MAGIC);
        put(&[self.kind as u8, self.flags]);
        put(&self.length.to_le_bytes());
        put(&self.stream.to_le_bytes());
        put(&self.count.to_le_bytes());
        put(&self.first.to_le_bytes());
        put(&self.appended_ms.to_le_bytes());
        put(&self.synced.to_le_bytes());
        put(&self.previous.first.to_le_bytes());
        put(&self.previous.stream.to_le_bytes());
        put(&self.previous.count.to_le_bytes());
        put(&self.body_crc.to_le_bytes());
        let crc = crc32c::crc32c(out.get(..HEADER - 4).unwrap_or_default());
        if let Some(place) = out.last_chunk_mut::<4>() {
            *place = crc.to_le_bytes();
        }
        out
    }

    /// The header at the start of `bytes`, checked.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let bytes = bytes.get(..HEADER).ok_or("a frame is cut off")?;
        let mut wire = Wire(bytes);
        let cut = "a frame is cut off";
        if wire.take(2).ok_or(cut)? != MAGIC {
            return Err("no frame begins here");
        }
        let (content, crc) = bytes.split_last_chunk::<4>().ok_or(cut)?;
        if crc32c::crc32c(content) != u32::from_le_bytes(*crc) {
            return Err("the checksum of a frame's header does not hold");
        }
        let mut header = Self::new(Kind::of(wire.u8().ok_or(cut)?).ok_or("a frame of unknown kind")?, 0);
        header.flags = wire.u8().ok_or(cut)?;
        header.length = wire.u32().ok_or(cut)?;
        header.stream = wire.u32().ok_or(cut)?;
        header.count = wire.u32().ok_or(cut)?;
        header.first = wire.u64().ok_or(cut)?;
        header.appended_ms = wire.i64().ok_or(cut)?;
        header.synced = wire.u64().ok_or(cut)?;
        header.previous.first = wire.u64().ok_or(cut)?;
        header.previous.stream = wire.u32().ok_or(cut)?;
        header.previous.count = wire.u32().ok_or(cut)?;
        header.body_crc = wire.u32().ok_or(cut)?;
        Ok(header)
    }
}

/// The frame at the start of `bytes`, checked: its header, and its body's bytes.
pub(super) fn frame_at(bytes: &[u8]) -> Result<(Header, &[u8]), &'static str> {
    let header = Header::decode(bytes)?;
    let body = bytes.get(HEADER..header.frame_length()).ok_or("a frame is cut off")?;
    if crc32c::crc32c(body) != header.body_crc {
        return Err("the checksum of a frame does not hold");
    }
    Ok((header, body))
}

/// Appends a frame to `out`, with length and checksums filled in.
pub(super) fn put_frame(out: &mut Vec<u8>, mut header: Header, body: impl FnOnce(&mut Vec<u8>)) -> Header {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    body(out);
    let written = out.get(start + HEADER..).unwrap_or_default();
    header.length = u32::try_from(written.len()).unwrap_or(u32::MAX);
    header.body_crc = crc32c::crc32c(written);
    if let Some(place) = out.get_mut(start..start + HEADER) {
        place.copy_from_slice(&header.encode());
    }
    header
}

/// Where valid frames begin again in `bytes` at or after `from`.
pub(super) fn next_frame(bytes: &[u8], from: usize) -> Option<usize> {
    let rest = bytes.get(from..)?;
    rest.windows(2)
        .enumerate()
        .filter(|(_, two)| *two == MAGIC)
        .map(|(at, _)| from + at)
        .find(|at| bytes.get(*at..).is_some_and(|bytes| frame_at(bytes).is_ok()))
}
