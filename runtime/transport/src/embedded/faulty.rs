//! A disk in memory that fails as disks do, by a seed: short writes, errors, no room, syncs that fail and lose, power cuts,
//! flipped bits.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

use super::disk::{Disk, DiskFile};

/// Numbers from a seed (SplitMix64).
#[derive(Debug)]
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }

    /// True so many times in a thousand.
    pub(super) fn chance(&mut self, per_mille: u64) -> bool {
        self.next() % 1000 < per_mille
    }
}

/// What may go wrong, each so many times in a thousand.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Faults {
    pub(super) short_write: u64,
    pub(super) write_error: u64,
    pub(super) no_room: u64,
    pub(super) sync_error: u64,
    pub(super) folder_error: u64,
    pub(super) read_error: u64,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

impl Change {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Write(at, bytes) => {
                to.resize(to.len().max(at + bytes.len()), 0);
                to[*at..at + bytes.len()].copy_from_slice(bytes);
            }
            Self::Truncate(len) => to.truncate(*len),
        }
    }
}

#[derive(Clone, Debug, Default)]
struct Inode {
    /// What the process sees.
    now: Vec<u8>,
    /// What is on disk.
    disk: Vec<u8>,
    /// What a sync puts on disk.
    dirty: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Naming {
    Link(String, usize),
    Unlink(String),
    Rename(String, String),
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<String, usize>) {
        match self {
            Self::Link(name, inode) => {
                names.insert(name.clone(), *inode);
            }
            Self::Unlink(name) => {
                names.remove(name);
            }
            Self::Rename(from, to) => {
                if let Some(inode) = names.remove(from) {
                    names.insert(to.clone(), inode);
                }
            }
        }
    }
}

struct Disks {
    dice: Dice,
    faults: Faults,
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    names_on_disk: BTreeMap<String, usize>,
    naming: Vec<Naming>,
}

/// The disk. Cloning shares it.
#[derive(Clone)]
pub(super) struct FaultyDisk(Arc<Mutex<Disks>>);

struct FaultyFile(FaultyDisk, usize);

fn error(what: &str) -> io::Error {
    match what {
        "no room" => io::ErrorKind::StorageFull.into(),
        _ => io::Error::other(what.to_owned()),
    }
}

impl FaultyDisk {
    pub(super) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(Disks {
            dice: Dice(seed),
            faults: Faults::default(),
            inodes: Vec::new(),
            names: BTreeMap::new(),
            names_on_disk: BTreeMap::new(),
            naming: Vec::new(),
        })))
    }

    fn lock(&self) -> MutexGuard<'_, Disks> {
        self.0.lock().unwrap()
    }

    pub(super) fn set(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// What was not synced is there in part, or not: any of the writes, each up to any byte, and any of the names.
    pub(super) fn cut_power(&self) {
        let mut guard = self.lock();
        let Disks { dice, inodes, names, names_on_disk, naming, .. } = &mut *guard;
        for change in std::mem::take(naming) {
            if dice.chance(500) {
                change.apply(names_on_disk);
            }
        }
        names.clone_from(names_on_disk);
        for inode in inodes {
            for change in std::mem::take(&mut inode.dirty) {
                match change {
                    Change::Write(at, mut bytes) if dice.chance(700) => {
                        if dice.chance(500) {
                            bytes.truncate(dice.below(bytes.len() + 1));
                        }
                        if dice.chance(300) {
                            // A page in its middle is not there.
                            let from = dice.below(bytes.len());
                            let until = (from + dice.below(64)).min(bytes.len());
                            bytes[from..until].fill(0);
                        }
                        Change::Write(at, bytes).apply(&mut inode.disk);
                    }
                    Change::Truncate(len) if dice.chance(500) => Change::Truncate(len).apply(&mut inode.disk),
                    _ => {}
                }
            }
            inode.now.clone_from(&inode.disk);
        }
    }

    /// Flips a bit of a file, whatever is seen of it.
    pub(super) fn flip(&self, name: &str, at: u64, bit: u32) {
        let mut disks = self.lock();
        let inode = disks.names[name];
        let at = usize::try_from(at).unwrap();
        disks.inodes[inode].now[at] ^= 1 << bit;
    }

    pub(super) fn bytes(&self, name: &str) -> Vec<u8> {
        let disks = self.lock();
        disks.inodes[disks.names[name]].now.clone()
    }

    pub(super) fn overwrite(&self, name: &str, bytes: &[u8]) {
        let mut disks = self.lock();
        let inode = disks.names[name];
        disks.inodes[inode].now = bytes.to_vec();
    }
}

impl Disks {
    fn fail(&mut self, per_mille: u64, what: &str) -> io::Result<()> {
        if self.dice.chance(per_mille) { Err(error(what)) } else { Ok(()) }
    }
}

impl Disk for FaultyDisk {
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut disks = self.lock();
        let fault = disks.faults.folder_error;
        disks.fail(fault, "no room")?;
        let inode = disks.inodes.len();
        disks.inodes.push(Inode::default());
        disks.names.insert(name.to_owned(), inode);
        disks.naming.push(Naming::Link(name.to_owned(), inode));
        Ok(Arc::new(FaultyFile(self.clone(), inode)))
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let disks = self.lock();
        let inode = disks.names.get(name).copied().ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(FaultyFile(self.clone(), inode)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut disks = self.lock();
        let fault = disks.faults.folder_error;
        disks.fail(fault, "renaming failed")?;
        let naming = Naming::Rename(from.to_owned(), to.to_owned());
        naming.apply(&mut disks.names);
        disks.naming.push(naming);
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut disks = self.lock();
        let fault = disks.faults.folder_error;
        disks.fail(fault, "removing failed")?;
        disks.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        disks.naming.push(Naming::Unlink(name.to_owned()));
        Ok(())
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.lock().names.keys().cloned().collect())
    }

    fn sync_dir(&self) -> io::Result<()> {
        let mut guard = self.lock();
        let fault = guard.faults.folder_error;
        guard.fail(fault, "syncing the folder failed")?;
        let Disks { names_on_disk, naming, .. } = &mut *guard;
        for change in std::mem::take(naming) {
            change.apply(names_on_disk);
        }
        Ok(())
    }

    fn place(&self, name: &str) -> String {
        format!("disk/{name}")
    }
}

impl DiskFile for FaultyFile {
    fn write_at(&self, position: u64, bytes: &[u8]) -> io::Result<usize> {
        let mut guard = self.0.lock();
        let Disks { dice, faults, inodes, .. } = &mut *guard;
        let short = dice.chance(faults.short_write);
        let failure = if dice.chance(faults.write_error) {
            Some("the write failed")
        } else {
            dice.chance(faults.no_room).then_some("no room")
        };
        // A write that fails may have written some of it.
        let len = if short || failure.is_some() { dice.below(bytes.len() + 1) } else { bytes.len() };
        let len = if failure.is_none() { len.max(1) } else { len };
        let change = Change::Write(usize::try_from(position).unwrap(), bytes[..len].to_vec());
        let inode = &mut inodes[self.1];
        if len > 0 {
            change.apply(&mut inode.now);
            inode.dirty.push(change);
        }
        failure.map_or(Ok(len), |failure| Err(error(failure)))
    }

    fn read_at(&self, position: u64, bytes: &mut [u8]) -> io::Result<usize> {
        let mut disks = self.0.lock();
        let fault = disks.faults.read_error;
        disks.fail(fault, "reading failed")?;
        let rest = disks.inodes[self.1].now.get(usize::try_from(position).unwrap()..).unwrap_or_default();
        let len = rest.len().min(bytes.len());
        bytes[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn sync(&self) -> io::Result<()> {
        let mut guard = self.0.lock();
        let Disks { dice, faults, inodes, .. } = &mut *guard;
        let inode = &mut inodes[self.1];
        let dirty = std::mem::take(&mut inode.dirty);
        if dice.chance(faults.sync_error) {
            // What failed is forgotten: the next sync says that all is well.
            for change in dirty.iter().filter(|_| dice.chance(500)) {
                change.apply(&mut inode.disk);
            }
            return Err(error("syncing failed"));
        }
        for change in dirty {
            change.apply(&mut inode.disk);
        }
        Ok(())
    }

    fn truncate(&self, len: u64) -> io::Result<()> {
        let mut guard = self.0.lock();
        let fault = guard.faults.write_error;
        guard.fail(fault, "cutting failed")?;
        let inode = &mut guard.inodes[self.1];
        let change = Change::Truncate(usize::try_from(len).unwrap());
        change.apply(&mut inode.now);
        inode.dirty.push(change);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().inodes[self.1].now.len() as u64)
    }
}
