//! Thousands of seeded lives of a journal on a disk that fails: what was acknowledged is there after each, in order and
//! unaltered, or is reported as damaged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ferrule_model::ids::Uid;
use ferrule_model::record::Batch;
use tokio::sync::oneshot::Receiver;

use super::faulty::{Dice, Faults, FaultyDisk};
use super::options::{OpenError, Options};
use super::reader::{Failure, Plan, read};
use super::state::{Item, Shared, Submitted};
use super::stream::Chunk;
use super::writer::{Step, Writer};
use super::{recovery, segment, sync};
use crate::log::{Bounds, Cursor, Durability, Keep, LogError, ReaderId, StartAt, StreamOptions};

const STREAMS: usize = 3;
const READER: &str = "pipeline";

/// What is read while the disk fails.
const SILENT: &str = "the disk does not answer";

/// What was asked of one stream.
#[derive(Default)]
struct Model {
    /// By offset.
    records: Vec<Vec<u8>>,
    /// After each append, where it ended, its position, and whether it was acknowledged.
    appends: Vec<(u64, Option<Vec<u8>>, bool)>,
    /// The reader's commits, and whether anybody knows which of them last.
    committed: u64,
    /// The commit that is known to be on disk.
    safe: u64,
    waiting: Vec<(usize, Receiver<Result<(), LogError>>)>,
}

struct Life {
    shared: Arc<Shared>,
    writer: Writer,
    /// The streams' numbers and their readers' holds.
    streams: Vec<(u32, u64)>,
}

fn durability(stream: usize) -> Durability {
    if stream == 1 { Durability::System } else { Durability::Disk }
}

fn options() -> Options {
    Options {
        segment_bytes: 3_000,
        cache_bytes: 0,
        unsynced_bytes: 4_000,
        cursor_delay: Duration::ZERO,
        cursor_sync: Duration::ZERO,
        clock: Arc::new(|| 1_000),
        ..Options::new("disk")
    }
}

fn open(disk: &FaultyDisk) -> Life {
    let core = recovery::recover(disk).unwrap();
    let shared = Arc::new(Shared::new(core, Arc::new(disk.clone()), options()));
    let writer = Writer::begin(&shared).unwrap();
    let mut streams = Vec::new();
    for index in 0..STREAMS {
        let mut core = shared.lock();
        let number = core.number(&Uid::new(format!("stream-{index}")));
        let options = StreamOptions {
            bounds: Bounds { records: 10_000, bytes: 1 << 20 },
            keep: Keep { bytes: 300 * index as u64, ..Keep::default() },
            ..StreamOptions::new(durability(index))
        };
        core.configure(number, options, 1_000);
        let stream = core.streams.get_mut(&number).unwrap();
        let (hold, cursor) = stream.open(ReaderId::Named(READER.into()), StartAt::Oldest);
        let mut body = Vec::new();
        super::wire::put_bytes(&mut body, READER.as_bytes());
        super::wire::put_cursor(&mut body, &cursor);
        core.queue.push_back(Item::Control { kind: super::frame::Kind::Cursor, stream: number, first: 0, body });
        streams.push((number, hold));
    }
    Life { shared, writer, streams }
}

impl Life {
    fn submit(&self, dice: &mut Dice, model: &mut Model, index: usize, serial: &mut u64) {
        let rows: Vec<Vec<u8>> = (0..dice.below(5))
            .map(|_| {
                *serial += 1;
                let mut row = serial.to_le_bytes().to_vec();
                row.resize(8 + dice.below(120), u8::try_from(*serial % 251).unwrap());
                row
            })
            .collect();
        let position = (rows.is_empty() || dice.chance(500)).then(|| serial.to_le_bytes().to_vec());
        let submitted = self.shared.submit(self.streams[index].0, Batch::of(&rows).unwrap(), position.clone()).unwrap();
        if let Submitted::Accepted(receipt, done) = submitted {
            assert_eq!(receipt.first_offset, model.records.len() as u64, "offsets have no gaps");
            model.records.extend(rows);
            model.waiting.push((model.appends.len(), done));
            model.appends.push((model.records.len() as u64, position, false));
        }
    }

    fn commit(&self, dice: &mut Dice, model: &mut Model, index: usize) {
        let (number, hold) = self.streams[index];
        let mut core = self.shared.lock();
        let stream = core.streams.get_mut(&number).unwrap();
        let room = stream.visible.saturating_sub(model.committed);
        let low = model.committed + dice.below(usize::try_from(room).unwrap() + 1) as u64;
        stream.holds.get_mut(&hold).unwrap().cursor = Cursor { low, done: Vec::new() };
        model.committed = low;
        core.dirty.insert((number, Some(READER.into())));
        core.trim(number, 1_000);
    }

    /// After a sync: the commits that are on disk.
    fn synced(&self, models: &mut [Model]) {
        let core = self.shared.lock();
        let writing = !self.writer.placed.is_empty() || !self.writer.pending.is_empty() || !core.queue.is_empty();
        if writing || core.synced < core.written || core.sync_failed.is_some() {
            return;
        }
        for (model, (number, _)) in models.iter_mut().zip(&self.streams) {
            if !core.dirty.contains(&(*number, Some(READER.into()))) {
                model.safe = model.committed;
            }
        }
    }

    /// What is held is as it was asked for, or the disk does not answer.
    fn read_right(&self, index: usize, model: &Model, reads_fail: bool, seed: u64) {
        for (chunk, records) in self.read(index) {
            let wanted = &model.records[usize::try_from(chunk.first).unwrap()..];
            match records {
                Ok(records) => {
                    assert!(records.iter().zip(wanted).all(|(r, w)| r.payload == w), "seed {seed}: altered");
                }
                Err(why) => assert!(reads_fail && why == SILENT, "seed {seed}: {why}"),
            }
        }
    }

    /// Every frame that is held, read from the disk: its records, or why not.
    fn read(&self, index: usize) -> Vec<(Chunk, Result<Batch, &'static str>)> {
        let (number, _) = self.streams[index];
        let (chunks, segments) = {
            let core = self.shared.lock();
            let stream = &core.streams[&number];
            let chunks: Vec<Chunk> =
                stream.chunks.iter().filter(|chunk| chunk.end() <= stream.visible).copied().collect();
            (chunks, core.segments.clone())
        };
        let one = |chunk: Chunk| {
            let plan = Plan { file: segments[&chunk.spot.segment].file.clone(), chunks: vec![chunk] };
            let mut read = read(number, &plan);
            match read.failed {
                None => (chunk, Ok(read.found.remove(0).records)),
                Some((_, Failure::Damaged(detail))) => (chunk, Err(detail)),
                Some((_, Failure::Disk(_))) => (chunk, Err(SILENT)),
            }
        };
        chunks.into_iter().map(one).collect()
    }
}

/// What is there after a life: checked against what was asked, which is cut to it.
fn check(life: &Life, models: &mut [Model], power: bool, seed: u64) {
    for (index, model) in models.iter_mut().enumerate() {
        for (append, mut done) in model.waiting.drain(..) {
            model.appends[append].2 |= matches!(done.try_recv(), Ok(Ok(())));
        }
        let found = life.read(index);
        let core = life.shared.lock();
        let stream = &core.streams[&life.streams[index].0];
        let safe = !power || durability(index) == Durability::Disk;
        let acknowledged = model.appends.iter().rposition(|(.., acknowledged)| *acknowledged && safe);
        let least = acknowledged.map_or(0, |append| model.appends[append].0);
        assert!(stream.next >= least, "seed {seed}: {} of {least} acknowledged records of {index}", stream.next);
        assert!(stream.next <= model.records.len() as u64, "seed {seed}: records from nowhere");
        assert!(stream.damage.is_empty(), "seed {seed}: {:?}", stream.damage);
        assert!(stream.first <= model.committed, "seed {seed}: what is not processed is gone");
        let cursor = stream.cursor(READER).unwrap().low;
        assert!(cursor <= model.committed.min(stream.next), "seed {seed}: the cursor is ahead");
        assert!(cursor >= model.safe, "seed {seed}: the cursor is at {cursor}, and was on disk at {}", model.safe);
        let mut next = stream.first;
        for (chunk, records) in &found {
            let records = records.as_ref().unwrap();
            assert!(chunk.first <= next, "seed {seed}: a gap at {next} of {index}");
            for (row, record) in records.iter().enumerate() {
                let wanted = &model.records[usize::try_from(chunk.first).unwrap() + row];
                assert_eq!(record.payload, wanted, "seed {seed}: altered");
            }
            next = chunk.end();
        }
        assert_eq!(next, stream.next, "seed {seed}: the end is missing");
        // The position is that of the last append that is there; those without records leave no trace in the offsets.
        let last = |until: usize| model.appends[..until].iter().rev().find_map(|(_, position, _)| position.clone());
        let sure = acknowledged.map_or(0, |append| append + 1);
        let possible = (sure..=model.appends.len())
            .filter(|until| until.checked_sub(1).map_or(0, |append| model.appends[append].0) == stream.next);
        let possible: Vec<_> = possible.map(last).collect();
        assert!(possible.contains(&stream.position), "seed {seed}: {:?} is none of {possible:?}", stream.position);
        model.records.truncate(usize::try_from(stream.next).unwrap());
        model.appends.clear();
        // Whatever is there now stays: its end was synced when the journal was opened.
        let position = stream.position.clone();
        model.appends.push((stream.next, position, true));
        (model.committed, model.safe) = (cursor, cursor);
    }
}

fn lives(seed: u64) {
    let mut dice = Dice(seed);
    let disk = FaultyDisk::new(seed ^ 0xABCD);
    let mut models: Vec<Model> = (0..STREAMS).map(|_| Model::default()).collect();
    let mut serial = 0;
    let mut life = open(&disk);
    for _ in 0..3 {
        let mut rate = |most: usize| if dice.chance(400) { dice.below(most) as u64 } else { 0 };
        let (short_write, write_error, no_room) = (rate(300), rate(200), rate(200));
        let (sync_error, folder_error, read_error) = (rate(200), rate(200), rate(200));
        disk.set(Faults { short_write, write_error, no_room, sync_error, folder_error, read_error });
        let slow = dice.below(STREAMS + 1);
        for _ in 0..dice.below(160) {
            let index = dice.below(STREAMS);
            match dice.below(8) {
                0..3 => life.submit(&mut dice, &mut models[index], index, &mut serial),
                3 if index != slow => life.commit(&mut dice, &mut models[index], index),
                4 => {
                    sync::step(&life.shared);
                    life.synced(&mut models);
                }
                5 if dice.chance(100) => life.read_right(index, &models[index], read_error > 0, seed),
                5 if dice.chance(200) => life.writer.look = true,
                _ => {
                    life.writer.step(&life.shared, false);
                }
            }
        }
        disk.set(Faults::default());
        let power = dice.chance(600);
        if dice.chance(150) {
            // With a disk that works again, everything gets through.
            loop {
                while life.writer.step(&life.shared, true) == Step::Worked {}
                if life.writer.sync(&life.shared).is_ok() {
                    break;
                }
            }
            for model in &mut models {
                for (append, mut done) in model.waiting.drain(..) {
                    assert!(matches!(done.try_recv(), Ok(Ok(()))), "seed {seed}: never answered");
                    model.appends[append].2 = true;
                }
            }
        }
        drop(life.shared);
        if power {
            disk.cut_power();
        }
        if dice.chance(300) {
            // A disk that cannot be read is no empty journal, and nothing is cut off for it.
            disk.set(Faults { read_error: 300, ..Faults::default() });
            match recovery::recover(&disk) {
                Ok(_) | Err(OpenError::Disk { .. }) => {}
                Err(error) => panic!("seed {seed}: {error}"),
            }
            disk.set(Faults::default());
        }
        life = open(&disk);
        check(&life, &mut models, power, seed);
    }
}

/// How many seeds: `FERRULE_SCHEDULES` for more.
fn seeds() -> u64 {
    std::env::var("FERRULE_SCHEDULES").ok().and_then(|count| count.parse().ok()).unwrap_or(3_000)
}

#[test]
fn nothing_acknowledged_is_lost_on_a_disk_that_fails() {
    for seed in 0..seeds() {
        lives(seed);
    }
}

#[test]
fn a_cursor_gets_to_the_disk_although_nothing_else_does() {
    for seed in 0..seeds() / 10 {
        let mut dice = Dice(seed);
        let (disk, mut life, mut models) = filled(seed);
        for (index, model) in models.iter_mut().enumerate() {
            life.commit(&mut dice, model, index);
        }
        while life.writer.step(&life.shared, false) == Step::Worked {}
        sync::step(&life.shared);
        drop(life);
        disk.cut_power();
        let life = open(&disk);
        let core = life.shared.lock();
        for ((number, _), model) in life.streams.iter().zip(&models) {
            assert_eq!(core.streams[number].cursor(READER).unwrap().low, model.committed, "seed {seed}");
        }
    }
}

/// Fills a journal of several segments, all on disk, with the last mark written.
fn filled(seed: u64) -> (FaultyDisk, Life, Vec<Model>) {
    let mut dice = Dice(seed);
    let disk = FaultyDisk::new(seed);
    let mut models: Vec<Model> = (0..STREAMS).map(|_| Model::default()).collect();
    let mut life = open(&disk);
    let mut serial = 0;
    for _ in 0..40 {
        let index = dice.below(STREAMS);
        life.submit(&mut dice, &mut models[index], index, &mut serial);
        while life.writer.step(&life.shared, true) == Step::Worked {}
        life.writer.sync(&life.shared).unwrap();
    }
    while life.writer.step(&life.shared, true) == Step::Worked {}
    (disk, life, models)
}

#[test]
fn a_flipped_bit_costs_its_own_frame_and_says_so() {
    for seed in 0..seeds() / 3 {
        let mut dice = Dice(seed);
        let (disk, life, models) = filled(seed);
        let (number, len) = {
            let core = life.shared.lock();
            let all: Vec<(u64, u64)> = core.segments.iter().map(|(number, segment)| (*number, segment.len)).collect();
            let (number, len) = all[dice.below(all.len())];
            // What comes after the last mark may as well be torn.
            let marked = if number == core.written.segment { life.writer.marked } else { len };
            (number, marked)
        };
        let at = dice.next() % len;
        let hit: BTreeMap<usize, Chunk> = (0..STREAMS)
            .flat_map(|index| life.read(index).into_iter().map(move |(chunk, _)| (index, chunk)))
            .filter(|(_, chunk)| {
                let from = chunk.spot.position;
                chunk.spot.segment == number && (from..from + u64::from(chunk.length)).contains(&at)
            })
            .collect();
        drop(life);
        disk.flip(&segment::name(number), at, u32::try_from(dice.below(8)).unwrap());
        let life = open(&disk);
        for (index, model) in models.iter().enumerate() {
            let lost = hit.get(&index).map_or(0..0, |chunk| chunk.first..chunk.end());
            let found = life.read(index);
            let core = life.shared.lock();
            let stream = &core.streams[&life.streams[index].0];
            assert_eq!(stream.next, model.records.len() as u64, "seed {seed}: offsets would be used again");
            let mut reported = Vec::new();
            for damage in &stream.damage {
                assert!(damage.place.contains(&segment::name(number)), "seed {seed}: {}", damage.place);
                reported.extend(damage.range.clone());
            }
            for (chunk, records) in &found {
                match records {
                    Ok(records) => assert!(
                        records
                            .iter()
                            .zip(&model.records[usize::try_from(chunk.first).unwrap()..])
                            .all(|(r, m)| r.payload == m),
                        "seed {seed}: altered"
                    ),
                    Err(_) => reported.extend(chunk.first..chunk.end()),
                }
            }
            assert_eq!(reported, lost.collect::<Vec<_>>(), "seed {seed}: stream {index}, segment {number} at {at}");
        }
    }
}

#[test]
fn a_torn_end_is_cut_off_and_said() {
    for seed in 0..seeds() / 10 {
        let mut dice = Dice(seed);
        let (disk, mut life, mut models) = filled(seed);
        let mut serial = 1 << 40;
        let sure = models[1].records.len();
        life.submit(&mut dice, &mut models[1], 1, &mut serial);
        while life.writer.step(&life.shared, true) == Step::Worked {}
        let (number, end) = {
            let core = life.shared.lock();
            (core.written.segment, core.written.position)
        };
        let name = segment::name(number);
        let mut bytes = disk.bytes(&name);
        assert_eq!(bytes.len() as u64, end);
        bytes.truncate(bytes.len() - 1 - dice.below(60));
        disk.overwrite(&name, &bytes);
        drop(life);
        let life = open(&disk);
        let core = life.shared.lock();
        let stream = &core.streams[&life.streams[1].0];
        assert!(stream.next == sure as u64 || models[1].records.len() == sure, "seed {seed}");
        assert!(
            core.findings.iter().any(|finding| finding.contains(&name) && finding.contains("torn end")),
            "{:?}",
            core.findings
        );
    }
}
