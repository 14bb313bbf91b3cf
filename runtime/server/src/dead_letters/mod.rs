//! Records that were given up, kept durably with the reason, until somebody replays or drops them.
//!
//! They are in a folder of files (`segment`), each with what was removed from it; where every letter is, is known in memory.
//! There is a bound: what does not fit is refused, so that the pipeline is held back and nothing is lost.

mod calls;
mod first_format;
mod frame;
mod replay;
mod segment;
#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use ferrule_api::report::Alert;
use ferrule_flow::{DeadLetter, DeadLetters};
use ferrule_model::Uid;
use ferrule_model::record::RecordId;
use sha2::{Digest, Sha256};

pub(crate) use calls::{drop_letters, list};
pub(crate) use replay::replay;
pub(crate) use segment::Entry;
use segment::{Places, Segment, sync_folder};

/// A file is not added to any more when it is this large.
const SEGMENT_BYTES: u64 = 16 << 20;

/// A letter counts at least so much towards the bound, since what is known of each is in memory.
const LEAST: u64 = 1 << 10;

/// Why letters are not stored.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StoreFailure {
    /// The bound is reached.
    #[error(
        "there are {} of dead letters, and at most {} are kept; the pipeline waits until there is room: replay them after \
         mending (`ferrule deadletter replay`), or keep a copy and drop them (`ferrule deadletter export`, `drop`) [FE0513]",
        mebibytes(*.used), mebibytes(*.bound)
    )]
    Full {
        /// Bytes that are used.
        used: u64,
        /// Bytes that there may be.
        bound: u64,
    },
    /// The disk does not take them.
    #[error("{} cannot be written: {source}", folder.display())]
    Disk {
        /// Where.
        folder: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// The dead letters of a server. What a call did is on the disk when it returns, and every call blocks on the disk.
#[derive(Debug)]
pub(crate) struct DeadLetterStore {
    folder: PathBuf,
    bound: u64,
    segment_bytes: u64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// In the order of their numbers; never empty, and letters are added to the last.
    segments: Vec<Segment>,
    /// The number of the next letter. None is used twice.
    next: u64,
    places: Places,
    /// What the letters count towards the bound.
    used: u64,
    /// Letters that are being replayed now, and what they are.
    replaying: HashMap<u64, Claim>,
    /// Letters were refused since there was room last.
    full: bool,
}

#[derive(Debug)]
struct Claim {
    identity: Identity,
    charge: u64,
}

/// What makes two letters the same record, given up by the same pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Identity([u8; 32]);

impl Identity {
    fn of(letter: &DeadLetter) -> Self {
        let mut hash = Sha256::new();
        hash.update(letter.id.as_bytes());
        hash.update(letter.timestamp_ns.unwrap_or(i64::MIN).to_le_bytes());
        let pipeline = letter.pipeline.as_ref().map_or("", Uid::as_str);
        for part in [pipeline.as_bytes(), letter.step.as_bytes(), &letter.payload, &letter.key, &letter.headers] {
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part);
        }
        Self(hash.finalize().into())
    }
}

impl DeadLetterStore {
    /// Opens the folder, or makes it; takes over the file of the first release that stands beside it (`FOLDER.log`).
    pub(crate) fn open(folder: &Path, bound: u64) -> io::Result<Self> {
        Self::open_with(folder, bound, SEGMENT_BYTES)
    }

    fn open_with(folder: &Path, bound: u64, segment_bytes: u64) -> io::Result<Self> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let mut bases = Vec::new();
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "part") {
                // What is left of writing a file anew.
                fs::remove_file(&path)?;
            } else if let Some(base) = Segment::base_of(&path) {
                bases.push((base, path));
            }
        }
        bases.sort();
        let mut places = Places::default();
        let mut segments = Vec::with_capacity(bases.len().max(1));
        let mut next = 1;
        for (index, (base, path)) in bases.iter().enumerate() {
            let last = index + 1 == bases.len();
            let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
            let (segment, greatest) = Segment::open(path, *base, last, &mut places).map_err(named)?;
            next = next.max(*base).max(greatest + 1);
            segments.push(segment);
        }
        if segments.is_empty() {
            segments.push(Segment::make(folder, next)?);
        }
        let mut state = State { segments, next, places, used: 0, replaying: HashMap::new(), full: false };
        state.used = state.charge();
        let store = Self { folder: folder.to_owned(), bound, segment_bytes, state: Mutex::new(state) };
        store.state().tidy(folder, segment_bytes);
        store.take_over(&folder.with_extension("log"))?;
        Ok(store)
    }

    /// Takes over the letters of the first release, and deletes their file. If it was interrupted, those that are here already
    /// are left out.
    fn take_over(&self, old: &Path) -> io::Result<()> {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", old.display()));
        let letters = first_format::read(old).map_err(named)?;
        if !letters.is_empty() {
            let mut state = self.state();
            let here: HashSet<(RecordId, i64)> =
                state.segments.iter().flat_map(|s| &s.entries).map(|entry| (entry.id, entry.time_ms)).collect();
            let new: Vec<_> =
                letters.into_iter().filter(|letter| !here.contains(&(letter.id, letter.time_ms))).collect();
            tracing::info!(letters = new.len(), "the dead letters of an earlier release are taken over");
            for some in new.chunks(1_000) {
                state.append(&self.folder, self.segment_bytes, some)?;
            }
        }
        match fs::remove_file(old) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(named(error)),
            Ok(()) => old.parent().map_or(Ok(()), sync_folder),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds letters. One that was being replayed is replaced when it comes again. After an error none of them counts.
    pub(crate) fn append(&self, letters: Vec<DeadLetter>) -> Result<(), StoreFailure> {
        let mut state = self.state();
        let mut replaced = BTreeSet::new();
        if !state.replaying.is_empty() {
            let claims: HashMap<Identity, u64> =
                state.replaying.iter().map(|(number, claim)| (claim.identity, *number)).collect();
            replaced.extend(letters.iter().filter_map(|letter| claims.get(&Identity::of(letter))));
        }
        // What is being replayed is removed or replaced soon; were it to count, a full store could never be emptied so. What
        // comes together is stored together: it may go over the bound, or it might never fit.
        let leaving: u64 = state.replaying.values().map(|claim| claim.charge).sum();
        let used = state.used;
        if used.saturating_sub(leaving) >= self.bound {
            state.full = true;
            return Err(StoreFailure::Full { used, bound: self.bound });
        }
        state
            .append(&self.folder, self.segment_bytes, &letters)
            .map_err(|source| StoreFailure::Disk { folder: self.folder.clone(), source })?;
        state.full = false;
        if let Err(error) = state.remove(&self.folder, self.segment_bytes, &replaced) {
            // The new ones are stored; the old ones are offered once more than needed.
            tracing::warn!(%error, "dead letters that were given up again are there twice");
        }
        Ok(())
    }

    /// The files as they are now, with the bytes of each that count. They stay readable when the store removes or replaces them.
    pub(crate) fn freeze(&self) -> io::Result<Vec<(PathBuf, fs::File, u64)>> {
        let mut files = Vec::new();
        for segment in &self.state().segments {
            files.extend(segment.freeze()?);
        }
        Ok(files)
    }

    /// How many letters there are.
    pub(crate) fn count(&self) -> u64 {
        self.state().count()
    }

    /// How many bytes they take on the disk.
    pub(crate) fn bytes(&self) -> u64 {
        self.state().segments.iter().map(|segment| segment.end).sum()
    }

    /// What is known of the letters that `wanted` takes, oldest first.
    pub(crate) fn select(&self, wanted: impl Fn(&Entry) -> bool) -> Vec<Entry> {
        let state = self.state();
        state.segments.iter().flat_map(|segment| &segment.entries).filter(|entry| wanted(entry)).cloned().collect()
    }

    /// A letter; none if it was removed.
    pub(crate) fn read(&self, number: u64) -> io::Result<Option<DeadLetter>> {
        let state = self.state();
        match state.find(number) {
            Some((segment, entry)) => segment.read(entry).map(Some),
            None => Ok(None),
        }
    }

    /// Removes letters, except those that are being replayed. How many there were, and which are being replayed.
    pub(crate) fn remove(&self, numbers: &[u64]) -> io::Result<(u64, Vec<u64>)> {
        let mut state = self.state();
        let (busy, numbers): (Vec<u64>, Vec<u64>) =
            numbers.iter().partition(|number| state.replaying.contains_key(number));
        Ok((state.remove(&self.folder, self.segment_bytes, &numbers.into_iter().collect())?, busy))
    }

    /// Claims letters for a replay: nobody else can replay or remove them until the claim is dropped. Those that are not there
    /// any more are left out.
    pub(crate) fn claim(self: &Arc<Self>, numbers: &[u64]) -> Claimed {
        let mut claimed = Claimed { store: self.clone(), letters: Vec::new(), busy: Vec::new(), damaged: Vec::new() };
        let mut state = self.state();
        for number in numbers {
            if state.replaying.contains_key(number) {
                claimed.busy.push(*number);
                continue;
            }
            let Some((segment, entry)) = state.find(*number) else { continue };
            match segment.read(entry) {
                Ok(letter) => {
                    let charge = charge(u64::from(entry.length));
                    let claim = Claim { identity: Identity::of(&letter), charge };
                    state.replaying.insert(*number, claim);
                    claimed.letters.push((*number, letter));
                }
                Err(error) => claimed.damaged.push(error),
            }
        }
        claimed
    }

    /// What an operator should know.
    pub(crate) fn alerts(&self) -> Vec<Alert> {
        let alert = |severity: &str, name: &str, message: String| Alert {
            severity: severity.to_owned(),
            name: name.to_owned(),
            message,
        };
        let mut alerts = Vec::new();
        let (used, full) = {
            let state = self.state();
            (state.used, state.full)
        };
        if full {
            let full = StoreFailure::Full { used, bound: self.bound };
            alerts.push(alert("critical", "dead-letters-full", full.to_string()));
        } else if used > self.bound / 5 * 4 {
            let text = format!(
                "there are {} of dead letters, and at {} pipelines are held back; `ferrule deadletter list` shows them",
                mebibytes(used),
                mebibytes(self.bound)
            );
            alerts.push(alert("warning", "dead-letters-nearly-full", text));
        }
        for aside in self.damaged() {
            let text = format!(
                "dead letters were damaged on the disk and cannot be read; what is left of them is in {}: delete that file \
                 when you have seen to it",
                aside.display()
            );
            alerts.push(alert("critical", "dead-letters-damaged", text));
        }
        alerts
    }

    /// Files with bytes that were letters and cannot be read.
    fn damaged(&self) -> Vec<PathBuf> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten().flatten();
        let is_aside =
            |path: &PathBuf| path.extension().is_some_and(|e| e.to_string_lossy().starts_with("damaged-at-"));
        entries.map(|entry| entry.path()).filter(is_aside).collect()
    }
}

impl State {
    fn append(&mut self, folder: &Path, segment_bytes: u64, letters: &[DeadLetter]) -> io::Result<()> {
        if self.segments.last().is_none_or(|last| last.end >= segment_bytes) {
            self.segments.push(Segment::make(folder, self.next)?);
        }
        let Some(last) = self.segments.last_mut() else { return Ok(()) };
        last.append(self.next, letters, &mut self.places)?;
        let new = last.entries.iter().rev().take(letters.len());
        self.used += new.map(|entry| charge(u64::from(entry.length))).sum::<u64>();
        self.next += letters.len() as u64;
        Ok(())
    }

    fn remove(&mut self, folder: &Path, segment_bytes: u64, numbers: &BTreeSet<u64>) -> io::Result<u64> {
        if numbers.is_empty() {
            return Ok(0);
        }
        let before = self.count();
        let removed = self.remove_from_files(folder, numbers);
        self.tidy(folder, segment_bytes);
        self.used = self.charge();
        self.full &= self.count() == before;
        removed.map(|()| before - self.count())
    }

    /// Removes letters. Files of which nothing is left go first, so that a full disk can be emptied.
    fn remove_from_files(&mut self, folder: &Path, numbers: &BTreeSet<u64>) -> io::Result<()> {
        let emptied = |segment: &Segment| segment.entries.iter().all(|entry| numbers.contains(&entry.number));
        let mut kept = Vec::with_capacity(self.segments.len());
        let mut outcome = Ok(());
        let last = self.segments.last().map(|segment| segment.base);
        for mut segment in std::mem::take(&mut self.segments) {
            if Some(segment.base) != last && outcome.is_ok() && emptied(&segment) {
                outcome = segment.delete();
                if outcome.is_ok() {
                    continue;
                }
            }
            kept.push(segment);
        }
        self.segments = kept;
        outcome?;
        // The last file is only given up for one that keeps the place in the numbering.
        if let Some(last) = self.segments.last()
            && !last.entries.is_empty()
            && emptied(last)
        {
            let fresh = Segment::make(folder, self.next)?;
            if let Some(mut last) = self.segments.pop() {
                self.segments.push(fresh);
                last.delete()?;
            }
        }
        for segment in &mut self.segments {
            let here: BTreeSet<u64> =
                numbers.iter().copied().filter(|number| segment.find(*number).is_some()).collect();
            if !here.is_empty() {
                segment.remove(&here)?;
            }
        }
        Ok(())
    }

    /// Writes files anew that are damaged, or of which much is gone.
    fn tidy(&mut self, folder: &Path, segment_bytes: u64) {
        let tidied = (|| {
            let waste = segment_bytes / 16;
            if self.segments.last().is_some_and(|last| last.damaged || last.is_sparse(waste)) {
                self.segments.push(Segment::make(folder, self.next)?);
            }
            let sealed = self.segments.len().saturating_sub(1);
            for segment in self.segments.iter_mut().take(sealed) {
                if segment.damaged || segment.is_sparse(1) {
                    segment.compact()?;
                }
            }
            Ok::<(), io::Error>(())
        })();
        if let Err(error) = tidied {
            // Nothing is lost; the files stay larger than they need be.
            tracing::warn!(%error, "files of dead letters were not made smaller");
        }
    }

    fn find(&self, number: u64) -> Option<(&Segment, &Entry)> {
        let index = self.segments.partition_point(|segment| segment.base <= number).checked_sub(1)?;
        let segment = self.segments.get(index)?;
        Some((segment, segment.entries.get(segment.find(number)?)?))
    }

    fn count(&self) -> u64 {
        self.segments.iter().map(|segment| segment.entries.len() as u64).sum()
    }

    /// What the letters count towards the bound.
    fn charge(&self) -> u64 {
        self.segments.iter().flat_map(|segment| &segment.entries).map(|entry| charge(u64::from(entry.length))).sum()
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

fn charge(bytes: u64) -> u64 {
    bytes.max(LEAST)
}

/// Letters that are being replayed. Dropping it lets go of them.
#[derive(Debug)]
pub(crate) struct Claimed {
    store: Arc<DeadLetterStore>,
    /// The letters, each with its number.
    pub(crate) letters: Vec<(u64, DeadLetter)>,
    /// Those that somebody else has claimed.
    pub(crate) busy: Vec<u64>,
    /// Why others cannot be read.
    pub(crate) damaged: Vec<io::Error>,
}

impl Claimed {
    /// Removes letters that are done. Those that were replaced meanwhile are gone already.
    pub(crate) fn finish(&self, numbers: BTreeSet<u64>) -> io::Result<()> {
        self.store.state().remove(&self.store.folder, self.store.segment_bytes, &numbers).map(drop)
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        let mut state = self.store.state();
        for (number, _) in &self.letters {
            state.replaying.remove(number);
        }
    }
}

/// The store as the flow sees it.
#[derive(Debug, Clone)]
pub(crate) struct Durable(pub(crate) Arc<DeadLetterStore>);

#[async_trait]
impl DeadLetters for Durable {
    async fn store(&self, letters: Vec<DeadLetter>) -> Result<(), String> {
        let store = self.0.clone();
        tokio::task::spawn_blocking(move || store.append(letters))
            .await
            .map_err(|error| error.to_string())?
            .map_err(|error| error.to_string())
    }
}
