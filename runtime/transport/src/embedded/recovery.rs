//! What a journal that is opened holds: the last snapshot, the frames after it, and where the records are.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::body;
use super::disk::{Disk, DiskFile, read_up_to, read_whole, write_all};
use super::frame::{HEADER, Kind, MOVED};
use super::options::OpenError;
use super::segment::{self, Fault, Found, START, Scan};
use super::state::{Core, Segment, place};
use super::stream::{Chunk, Damage, Spot, Stream};
use super::wire::Wire;

/// A segment that was found.
struct Part {
    number: u64,
    file: Arc<dyn DiskFile>,
    len: u64,
    before_ends: Option<u64>,
    preamble: u64,
}

/// What is learnt on the way.
#[derive(Default)]
struct Recovery {
    core: Core,
    /// By stream and first offset.
    chunks: HashMap<u32, BTreeMap<u64, Chunk>>,
    /// Where frames could not be read.
    faults: Vec<(Spot, Fault)>,
    /// Streams below this number that are not known were removed.
    known_below: u32,
}

/// Reads what is there.
pub(super) fn recover(disk: &dyn Disk) -> Result<Core, OpenError> {
    let failed = |error| OpenError::Disk { place: disk.place(""), error };
    let names = disk.list().map_err(failed)?;
    let orphan = |name: &String| {
        name.ends_with(".new") || name.strip_suffix(".idx").is_some_and(|stem| !names.contains(&format!("{stem}.seg")))
    };
    for name in names.iter().filter(|name| orphan(name)) {
        disk.remove(name).map_err(failed)?;
    }
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| segment::number_of(name)).collect();
    numbers.sort_unstable();
    let mut recovery = Recovery::default();
    let mut parts = Vec::new();
    for number in numbers {
        let file = disk.open(&segment::name(number)).map_err(failed)?;
        let len = file.len().map_err(failed)?;
        let head = read_up_to(&*file, 0, START as usize + HEADER).map_err(failed)?;
        let start = segment::read_header(disk, number, &head)?;
        if start.damaged {
            recovery.found(format!("{}: its header is damaged", disk.place(&segment::name(number))));
        }
        parts.push(Part { number, file, len, before_ends: start.before_ends, preamble: start.preamble });
    }
    for index in 1..parts.len() {
        let Some((number, Some(ends))) = parts.get(index).map(|part| (part.number, part.before_ends)) else { continue };
        if let Some(before) = parts.get_mut(index - 1).filter(|before| before.number + 1 == number) {
            before.len = before.len.min(ends);
        }
    }
    recovery.read(disk, &parts)?;
    Ok(recovery.finish(disk))
}

impl Recovery {
    fn found(&mut self, finding: String) {
        tracing::warn!("{finding}");
        self.core.findings.push(finding);
    }

    /// Reads the segments: from the last one with a snapshot everything, of those before it the index.
    fn read(&mut self, disk: &dyn Disk, parts: &[Part]) -> Result<(), OpenError> {
        let failed = |error| OpenError::Disk { place: disk.place(""), error };
        let mut scanned: BTreeMap<u64, (Vec<u8>, Scan)> = BTreeMap::new();
        for (index, part) in parts.iter().enumerate().rev() {
            let mut bytes = read_whole(&*part.file).map_err(failed)?;
            bytes.truncate(usize::try_from(part.len).unwrap_or(usize::MAX));
            let mut scan = segment::scan(&bytes);
            if index + 1 == parts.len() {
                self.secure(disk, part, &bytes, &mut scan).map_err(failed)?;
            }
            let whole = scan.frames.first().is_some_and(|found| found.header.kind == Kind::Snapshot);
            scanned.insert(part.number, (bytes, scan));
            if whole {
                break;
            }
        }
        for part in parts {
            let mut len = part.len;
            if let Some((bytes, scan)) = scanned.get(&part.number) {
                len = scan.end;
                self.replay(disk, part.number, bytes, scan);
            } else {
                let frames = segment::read_index(disk, part.number, part.len);
                let frames = match frames {
                    Some(frames) => frames,
                    None => self.index(disk, part).map_err(failed)?,
                };
                for found in &frames {
                    self.chunk(part.number, found);
                }
            }
            self.core.segments.insert(part.number, Segment { file: part.file.clone(), len, live: 0 });
        }
        Ok(())
    }

    /// Makes the index of a segment again.
    fn index(&mut self, disk: &dyn Disk, part: &Part) -> std::io::Result<Vec<Found>> {
        let mut bytes = read_whole(&*part.file)?;
        bytes.truncate(usize::try_from(part.len).unwrap_or(usize::MAX));
        let Scan { mut frames, faults, .. } = segment::scan(&bytes);
        self.damaged(disk, part.number, &faults);
        frames.retain(|found| found.header.kind == Kind::Batch && found.header.count > 0);
        // With a fault in it, it is looked at again each time.
        if faults.is_empty() {
            let _ = segment::write_index(disk, part.number, part.len, &frames);
        }
        Ok(frames)
    }

    /// Cuts the end off that was being written when the process or the machine ended, and makes the rest last: what was not
    /// known to be on disk is written again, because a sync that failed in the last process is not told to this one.
    fn secure(&mut self, disk: &dyn Disk, part: &Part, bytes: &[u8], scan: &mut Scan) -> std::io::Result<()> {
        let snapshots = scan.frames.iter().take_while(|found| found.header.kind == Kind::Snapshot);
        let preamble = snapshots.last().map_or(START, |found| found.position + found.header.frame_length() as u64);
        let synced = scan.synced.max(preamble).max(part.preamble).min(scan.end);
        if let Some(torn) = scan.faults.iter().position(|fault| fault.position >= synced) {
            let at = scan.faults.get(torn).map_or(scan.end, |fault| fault.position);
            let frames = scan.frames.iter().filter(|found| found.position > at).count();
            self.found(format!(
                "{}: a torn end of {} bytes was cut off ({frames} whole frames in it; none of it was known to be on disk)",
                place(disk, Spot { segment: part.number, position: at }),
                scan.end - at,
            ));
            scan.faults.truncate(torn);
            scan.frames.retain(|found| found.position < at);
            scan.end = at;
            part.file.truncate(at)?;
        }
        let range = usize::try_from(synced).unwrap_or(usize::MAX)..usize::try_from(scan.end).unwrap_or(usize::MAX);
        write_all(&*part.file, synced, bytes.get(range).unwrap_or_default())?;
        part.file.sync()
    }

    fn damaged(&mut self, disk: &dyn Disk, number: u64, faults: &[Fault]) {
        for fault in faults {
            let spot = Spot { segment: number, position: fault.position };
            let bytes = fault.until - fault.position;
            self.found(format!("{}: {bytes} bytes are damaged: {}", place(disk, spot), fault.detail));
            self.faults.push((spot, fault.clone()));
        }
    }

    /// Applies what a segment says.
    fn replay(&mut self, disk: &dyn Disk, number: u64, bytes: &[u8], scan: &Scan) {
        self.damaged(disk, number, &scan.faults);
        for found in &scan.frames {
            let start = found.position as usize + HEADER;
            let content = bytes.get(start..start + found.header.length as usize).unwrap_or_default();
            if self.apply(number, found, content).is_none() {
                let spot = Spot { segment: number, position: found.position };
                self.found(format!("{}: a frame says nothing that is understood", place(disk, spot)));
            }
        }
        for lost in scan.faults.iter().flat_map(|fault| &fault.lost) {
            if let Some(stream) = self.core.streams.get_mut(&lost.stream) {
                stream.next = stream.next.max(lost.first + u64::from(lost.count));
            }
        }
    }

    fn apply(&mut self, number: u64, found: &Found, content: &[u8]) -> Option<()> {
        let mut wire = Wire(content);
        let header = found.header;
        let core = &mut self.core;
        match header.kind {
            Kind::Mark => {}
            Kind::Snapshot => {
                core.restore(&mut wire)?;
                self.known_below = core.next_number;
            }
            Kind::Stream => {
                let uid = wire.uid()?;
                if header.stream >= self.known_below && !core.streams.contains_key(&header.stream) {
                    core.next_number = core.next_number.max(header.stream + 1);
                    core.numbers.insert(uid.clone(), header.stream);
                    core.streams.insert(header.stream, Stream::new(uid));
                }
            }
            Kind::Batch => {
                let (_, position) = body::decode_head(content)?;
                if let Some(stream) = core.streams.get_mut(&header.stream) {
                    stream.next = stream.next.max(header.end());
                    stream.last_ms = stream.last_ms.max(header.appended_ms);
                    if position.is_some() && header.flags & MOVED == 0 {
                        stream.position = position;
                    }
                }
                self.chunk(number, found);
            }
            Kind::Cursor => {
                let (name, cursor) = (wire.text()?, wire.cursor()?);
                if let Some(stream) = core.streams.get_mut(&header.stream) {
                    stream.save(name, cursor);
                }
            }
            Kind::Forget => {
                let name = wire.text()?;
                if let Some(stream) = core.streams.get_mut(&header.stream) {
                    stream.forget(&name);
                }
            }
            Kind::Remove => {
                if let Some(stream) = core.streams.remove(&header.stream) {
                    core.numbers.remove(&stream.uid);
                }
            }
            Kind::First => {
                if let Some(stream) = core.streams.get_mut(&header.stream) {
                    stream.first = stream.first.max(header.first);
                }
            }
        }
        Some(())
    }

    fn chunk(&mut self, number: u64, found: &Found) {
        let header = found.header;
        if header.count == 0 {
            return;
        }
        let chunk = Chunk {
            first: header.first,
            count: header.count,
            length: u32::try_from(header.frame_length()).unwrap_or(u32::MAX),
            size: found.size,
            before: 0,
            appended_ms: header.appended_ms,
            spot: Spot { segment: number, position: found.position },
        };
        self.chunks.entry(header.stream).or_default().insert(header.first, chunk);
    }

    /// Puts together where the records are, and which are missing.
    fn finish(mut self, disk: &dyn Disk) -> Core {
        let mut findings = Vec::new();
        for (number, stream) in &mut self.core.streams {
            let mut expected = stream.first;
            let chunks = self.chunks.remove(number).unwrap_or_default();
            let last = chunks.values().next_back().map_or(0, Chunk::end);
            stream.next = stream.next.max(last).max(stream.first);
            for mut chunk in chunks.into_values().filter(|chunk| chunk.end() > stream.first) {
                if chunk.first > expected {
                    stream.damage.push(missing(disk, &self.faults, *number, expected..chunk.first));
                }
                expected = expected.max(chunk.end());
                chunk.before = stream.total;
                stream.total += chunk.size;
                stream.last_ms = stream.last_ms.max(chunk.appended_ms);
                if let Some(segment) = self.core.segments.get_mut(&chunk.spot.segment) {
                    segment.live += u64::from(chunk.length);
                }
                stream.chunks.push_back(chunk);
            }
            if stream.next > expected {
                stream.damage.push(missing(disk, &self.faults, *number, expected..stream.next));
            }
            for Damage { range, place, .. } in &stream.damage {
                findings.push(format!(
                    "{place}: records {} to {} of stream {} are lost",
                    range.start, range.end, stream.uid
                ));
            }
            stream.visible = stream.next;
            stream.written = stream.next;
            stream.written_position.clone_from(&stream.position);
        }
        for finding in findings {
            self.found(finding);
        }
        self.core
    }
}

/// Why records are missing.
fn missing(disk: &dyn Disk, faults: &[(Spot, Fault)], stream: u32, range: std::ops::Range<u64>) -> Damage {
    let lost = |fault: &Fault| {
        fault.lost.iter().any(|lost| {
            lost.stream == stream && lost.first < range.end && lost.first + u64::from(lost.count) > range.start
        })
    };
    let known = faults.iter().find(|(_, fault)| lost(fault)).or_else(|| faults.first());
    match known {
        Some((spot, fault)) => Damage { range, place: place(disk, *spot), detail: fault.detail.to_owned() },
        None => Damage { range, place: disk.place(""), detail: "no file has them".to_owned() },
    }
}

impl Core {
    /// Takes a snapshot for what is there.
    fn restore(&mut self, wire: &mut Wire<'_>) -> Option<()> {
        self.next_number = wire.u32()?;
        self.streams.clear();
        self.numbers.clear();
        for _ in 0..wire.u32()? {
            let (number, uid) = (wire.u32()?, wire.uid()?);
            let mut stream = Stream::new(uid.clone());
            stream.next = wire.u64()?;
            stream.first = wire.u64()?;
            stream.position = wire.optional()?;
            for _ in 0..wire.u32()? {
                let (name, cursor) = (wire.text()?, wire.cursor()?);
                stream.save(name, cursor);
            }
            self.numbers.insert(uid, number);
            self.streams.insert(number, stream);
        }
        Some(())
    }
}
