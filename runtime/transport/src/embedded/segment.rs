//! A file of the journal: its name, its header, its frames, and the index that is written when it is full.

use std::io;
use std::sync::Arc;

use super::body;
use super::disk::{Disk, DiskFile, read_whole, write_all};
use super::frame::{HEADER, Header, Kind, Previous, frame_at, next_frame, put_frame};
use super::options::OpenError;
use super::wire::{Wire, put_u32, put_u64};

/// Bytes before the first frame.
pub(super) const START: u64 = 40;

/// The format that this version writes, and the latest that it reads. A segment is never rewritten for a newer format: each names its
/// own, and is read by it.
pub(super) const FORMAT: u32 = 1;

const MAGIC: &[u8; 8] = b"FERRULEJ";
const INDEX_MAGIC: &[u8; 8] = b"FERRULEI";

/// The file of a segment.
pub(super) fn name(number: u64) -> String {
    format!("{number:016}.seg")
}

/// The file of its index.
pub(super) fn index_name(number: u64) -> String {
    format!("{number:016}.idx")
}

/// The segment that a file is, if it is one.
pub(super) fn number_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    if digits.len() == 16 { digits.parse().ok() } else { None }
}

/// What a segment begins with: its header, everything but records, twice, so that one damaged place does not take it away, and
/// what `more` adds. `before_ends` is where the segment before it ends, if not with its file.
pub(super) fn preamble(
    number: u64,
    before_ends: Option<u64>,
    snapshot: &[u8],
    more: impl FnOnce(&mut Vec<u8>, Previous) -> Previous,
) -> (Vec<u8>, Previous) {
    let mut out = vec![0; START as usize];
    let mut previous = Previous::default();
    for _ in 0..2 {
        let header = Header { previous, ..Header::new(Kind::Snapshot, 0) };
        previous = put_frame(&mut out, header, |out| out.extend_from_slice(snapshot)).as_previous();
    }
    let previous = more(&mut out, previous);
    let mut header = Vec::with_capacity(START as usize);
    header.extend_from_slice(MAGIC);
    put_u32(&mut header, FORMAT);
    put_u64(&mut header, number);
    put_u64(&mut header, before_ends.unwrap_or(u64::MAX));
    put_u64(&mut header, out.len() as u64);
    let crc = crc32c::crc32c(&header);
    put_u32(&mut header, crc);
    if let Some(place) = out.get_mut(..START as usize) {
        place.copy_from_slice(&header);
    }
    (out, previous)
}

/// What the header of a segment says.
pub(super) struct Start {
    /// Where the segment before it ends, if not with its file.
    pub(super) before_ends: Option<u64>,
    /// The bytes that were on disk before the segment had its name.
    pub(super) preamble: u64,
    /// Whether the header is damaged.
    pub(super) damaged: bool,
}

/// Reads the header of a segment.
pub(super) fn read_header(disk: &dyn Disk, number: u64, bytes: &[u8]) -> Result<Start, OpenError> {
    let damaged = Start { before_ends: None, preamble: START, damaged: true };
    let Some((content, crc)) = bytes.get(..START as usize).and_then(|bytes| bytes.split_last_chunk::<4>()) else {
        return Ok(damaged);
    };
    let mut wire = Wire(content);
    let magic = wire.take(8).is_some_and(|magic| magic == MAGIC);
    if crc32c::crc32c(content) != u32::from_le_bytes(*crc) {
        let frames = Header::decode(bytes.get(START as usize..).unwrap_or_default()).is_ok();
        return if magic || frames { Ok(damaged) } else { Err(OpenError::Foreign(disk.place(&name(number)))) };
    }
    let (format, found, ends, preamble) = (wire.u32(), wire.u64(), wire.u64(), wire.u64());
    match (format, found, ends, preamble) {
        (Some(format), ..) if format > FORMAT => {
            Err(OpenError::Newer { place: disk.place(&name(number)), found: format, known: FORMAT })
        }
        (Some(1..=FORMAT), Some(found), Some(ends), Some(preamble)) if magic && found == number => {
            Ok(Start { before_ends: (ends != u64::MAX).then_some(ends), preamble, damaged: false })
        }
        _ => Err(OpenError::Foreign(disk.place(&name(number)))),
    }
}

/// Makes a segment that begins with these bytes. It is there as a whole, and on disk, or not at all.
pub(super) fn create(disk: &dyn Disk, number: u64, bytes: &[u8]) -> io::Result<Arc<dyn DiskFile>> {
    let new = format!("{number:016}.new");
    let file = disk.create(&new)?;
    write_all(&*file, 0, bytes)?;
    file.sync()?;
    disk.rename(&new, &name(number))?;
    disk.sync_dir()?;
    Ok(file)
}

/// A frame that was found.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) header: Header,
    pub(super) position: u64,
    /// Bytes of payload, key and headers of its records.
    pub(super) size: u64,
}

/// Where no frame can be read.
#[derive(Clone, Debug)]
pub(super) struct Fault {
    /// Where it begins.
    pub(super) position: u64,
    /// Where frames go on, or the file ends.
    pub(super) until: u64,
    pub(super) detail: &'static str,
    /// The records that are lost there, as far as headers say: their stream and offsets.
    pub(super) lost: Vec<Previous>,
}

/// What is in a segment.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) frames: Vec<Found>,
    pub(super) faults: Vec<Fault>,
    /// The bytes that were known to be on disk.
    pub(super) synced: u64,
    /// Where it ends.
    pub(super) end: u64,
}

/// Finds the frames in the bytes of a segment.
pub(super) fn scan(bytes: &[u8]) -> Scan {
    let mut scan = Scan::default();
    let mut at = START as usize;
    while at < bytes.len() {
        let rest = bytes.get(at..).unwrap_or_default();
        match frame_at(rest) {
            Ok((header, content)) => {
                if let Some(fault) = scan.faults.last_mut().filter(|fault| fault.until == at as u64)
                    && header.previous.count > 0
                    && !fault.lost.contains(&header.previous)
                {
                    fault.lost.push(header.previous);
                }
                let size =
                    if header.kind == Kind::Batch { body::decode_head(content).map_or(0, |(size, _)| size) } else { 0 };
                scan.frames.push(Found { header, position: at as u64, size });
                scan.synced = scan.synced.max(header.synced);
                at += header.frame_length();
            }
            Err(detail) => {
                let header = Header::decode(rest).ok();
                let mut lost = Vec::new();
                let mut from = at + 1;
                if let Some(header) = header {
                    if header.kind == Kind::Batch && header.count > 0 {
                        lost.push(Previous { stream: header.stream, count: header.count, first: header.first });
                    }
                    scan.synced = scan.synced.max(header.synced);
                    let after = at + header.frame_length();
                    if bytes.get(after..).is_some_and(|bytes| frame_at(bytes).is_ok()) {
                        from = after;
                    }
                }
                let until = next_frame(bytes, from).unwrap_or(bytes.len());
                scan.faults.push(Fault { position: at as u64, until: until as u64, detail, lost });
                at = until;
            }
        }
    }
    scan.end = bytes.len() as u64;
    scan
}

/// Writes the index of a segment that is full. It may be lost: it is made again from the segment.
pub(super) fn write_index(disk: &dyn Disk, number: u64, len: u64, frames: &[Found]) -> io::Result<()> {
    let mut out = Vec::with_capacity(40 + frames.len() * 80);
    out.extend_from_slice(INDEX_MAGIC);
    put_u32(&mut out, FORMAT);
    put_u64(&mut out, number);
    put_u64(&mut out, len);
    put_u32(&mut out, u32::try_from(frames.len()).unwrap_or(u32::MAX));
    for frame in frames {
        put_u64(&mut out, frame.position);
        put_u64(&mut out, frame.size);
        out.extend_from_slice(&frame.header.encode());
    }
    let crc = crc32c::crc32c(&out);
    put_u32(&mut out, crc);
    let file = disk.create(&index_name(number))?;
    write_all(&*file, 0, &out)
}

/// The frames of a segment of this length, by its index.
pub(super) fn read_index(disk: &dyn Disk, number: u64, len: u64) -> Option<Vec<Found>> {
    let bytes = read_whole(&*disk.open(&index_name(number)).ok()?).ok()?;
    let (content, crc) = bytes.split_last_chunk::<4>()?;
    if crc32c::crc32c(content) != u32::from_le_bytes(*crc) {
        return None;
    }
    let mut wire = Wire(content);
    let known = wire.take(8)? == INDEX_MAGIC && wire.u32()? == FORMAT && wire.u64()? == number && wire.u64()? == len;
    if !known {
        return None;
    }
    let count = wire.u32()?;
    (0..count)
        .map(|_| {
            let (position, size) = (wire.u64()?, wire.u64()?);
            Some(Found { header: Header::decode(wire.take(HEADER)?).ok()?, position, size })
        })
        .collect()
}
