//! One file of dead letters, what is in it, and the list of those that were removed from it.
//!
//! `NUMBER.letters` (the number of its first letter) has a head of 12 bytes (magic, format) and then frames. Letters are only
//! ever added to the last of these files. `NUMBER.gone` lists those of them that were removed, 16 bytes each: the number and a
//! checksum. A file is written anew, and its list deleted, when too much of it is gone. If the process ends between the two,
//! the list names what is not there, which does no harm.

use std::collections::{BTreeSet, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ferrule_flow::{DeadLetter, LetterCode};
use ferrule_model::Uid;
use ferrule_model::record::RecordId;

use super::frame::{self, Found, checksum, invalid};

const MAGIC: &[u8; 8] = b"FERRULDL";
const GONE_MAGIC: &[u8; 8] = b"FERRULDG";
const FORMAT: u32 = 2;
const HEAD: u64 = 12;
const GONE_ENTRY: usize = 16;

/// What many letters have in common.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) pipeline: Option<Uid>,
    pub(crate) pipeline_name: String,
    pub(crate) stream: Uid,
    pub(crate) step: String,
}

/// Each place once.
#[derive(Debug, Default)]
pub(super) struct Places(HashMap<Arc<Place>, ()>);

impl Places {
    fn of(&mut self, letter: &DeadLetter) -> Arc<Place> {
        let place = Place {
            pipeline: letter.pipeline.clone(),
            pipeline_name: letter.pipeline_name.clone(),
            stream: letter.stream.clone(),
            step: letter.step.clone(),
        };
        if let Some((known, ())) = self.0.get_key_value(&place) {
            return known.clone();
        }
        let place = Arc::new(place);
        self.0.insert(place.clone(), ());
        place
    }
}

/// What is known of a letter without reading it.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) number: u64,
    pub(crate) id: RecordId,
    pub(crate) code: LetterCode,
    pub(crate) time_ms: i64,
    pub(crate) place: Arc<Place>,
    at: u32,
    /// Bytes on the disk.
    pub(crate) length: u32,
}

impl Entry {
    fn new(number: u64, letter: &DeadLetter, frame: &Range<usize>, places: &mut Places) -> io::Result<Self> {
        let short = |n: usize| u32::try_from(n).map_err(|_| invalid("a file of more than 4 GiB"));
        Ok(Self {
            number,
            id: letter.id,
            code: letter.code,
            time_ms: letter.time_ms,
            place: places.of(letter),
            at: short(frame.start)?,
            length: short(frame.len())?,
        })
    }
}

/// One file, with what is left of its letters.
#[derive(Debug)]
pub(super) struct Segment {
    /// The number of its first letter, or, if it has none yet, of the next.
    pub(super) base: u64,
    path: PathBuf,
    file: File,
    /// Up to here the file is whole.
    pub(super) end: u64,
    /// What is left, by number.
    pub(super) entries: Vec<Entry>,
    /// There are bytes in it that are no letters any more.
    pub(super) damaged: bool,
    gone: Gone,
}

impl Segment {
    /// An empty file. Blocks on the disk.
    pub(super) fn make(folder: &Path, base: u64) -> io::Result<Self> {
        let path = folder.join(format!("{base:020}.letters"));
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        let made = file.write_all_at(&head(MAGIC), 0).and_then(|()| file.sync_all());
        if let Err(error) = made.and_then(|()| sync_folder(folder)) {
            // An empty file would be in the way of no one; that it stays is no worse than the error being reported.
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        let gone = Gone::none(&path);
        Ok(Self { base, path, file, end: HEAD, entries: Vec::new(), damaged: false, gone })
    }

    /// The base in the name of such a file.
    pub(super) fn base_of(path: &Path) -> Option<u64> {
        path.file_name()?.to_str()?.strip_suffix(".letters")?.parse().ok()
    }

    /// Opens a file and reads all of it. What is damaged is copied to a file beside it, and told; the torn end of the last
    /// file is cut off, since what it held was never acknowledged. The greatest number that was ever in it comes with it.
    pub(super) fn open(path: &Path, base: u64, last: bool, places: &mut Places) -> io::Result<(Self, u64)> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        let content = fs::read(path)?;
        if (content.len() as u64) < HEAD && last {
            file.set_len(0)?;
            file.write_all_at(&head(MAGIC), 0)?;
            file.sync_all()?;
            let gone = Gone::none(path);
            let path = path.to_owned();
            return Ok((Self { base, path, file, end: HEAD, entries: Vec::new(), damaged: false, gone }, 0));
        }
        check_head(&content, MAGIC)?;
        let (gone, removed) = Gone::open(path)?;
        let mut greatest = removed.last().copied().unwrap_or_default();
        let mut entries = Vec::new();
        let mut end = HEAD;
        let (mut failed, mut damaged) = (Ok(()), false);
        frame::scan(&content, HEAD as usize, |found| {
            let told = match found {
                Found::Letter(number, letter, frame) => {
                    end = frame.end as u64;
                    greatest = greatest.max(number);
                    if removed.contains(&number) {
                        return;
                    }
                    Entry::new(number, &letter, &frame, places).map(|entry| entries.push(entry))
                }
                Found::Torn(range) if last => {
                    tracing::warn!(
                        file = %path.display(), at = range.start, bytes = range.len(),
                        "the end of the dead letters was cut off while it was written; it is moved aside"
                    );
                    aside(path, "torn", &content, &range).and_then(|()| {
                        file.set_len(range.start as u64)?;
                        file.sync_all()
                    })
                }
                Found::Torn(range) | Found::Damage(range) => {
                    end = range.end as u64;
                    damaged = true;
                    tracing::error!(
                        file = %path.display(), at = range.start, bytes = range.len(),
                        "dead letters are damaged and cannot be read; the bytes are copied aside"
                    );
                    aside(path, "damaged", &content, &range)
                }
            };
            if let Err(error) = told {
                failed = Err(error);
            }
        });
        failed?;
        entries.sort_by_key(|entry| entry.number);
        Ok((Self { base, path: path.to_owned(), file, end, entries, damaged, gone }, greatest))
    }

    /// Adds letters, the first of which has the number `first`; they are on the disk when it returns. After an error none of
    /// them counts.
    pub(super) fn append(&mut self, first: u64, letters: &[DeadLetter], places: &mut Places) -> io::Result<()> {
        let mut bytes = Vec::new();
        let mut entries = Vec::with_capacity(letters.len());
        let start = usize::try_from(self.end).map_err(io::Error::other)?;
        for (number, letter) in (first..).zip(letters) {
            let frame = frame::encode(number, letter, &mut bytes)?;
            entries.push(Entry::new(number, letter, &(frame.start + start..frame.end + start), places)?);
        }
        let written = self.file.write_all_at(&bytes, self.end).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // A later append starts at `end` again; should the process die before, opening the file cuts it there.
            let _ = self.file.set_len(self.end);
            return Err(error);
        }
        self.end += bytes.len() as u64;
        self.entries.extend(entries);
        Ok(())
    }

    /// Its files as they are now, with the bytes of each that count.
    pub(super) fn freeze(&self) -> io::Result<Vec<(PathBuf, File, u64)>> {
        let mut files = vec![(self.path.clone(), File::open(&self.path)?, self.end)];
        if self.gone.file.is_some() {
            files.push((self.gone.path.clone(), File::open(&self.gone.path)?, self.gone.end));
        }
        Ok(files)
    }

    /// Where the letter is in `entries`.
    pub(super) fn find(&self, number: u64) -> Option<usize> {
        self.entries.binary_search_by_key(&number, |entry| entry.number).ok()
    }

    /// A letter as it was stored.
    pub(super) fn read(&self, entry: &Entry) -> io::Result<DeadLetter> {
        let mut bytes = vec![0; entry.length as usize];
        self.file.read_exact_at(&mut bytes, u64::from(entry.at))?;
        let damaged = |error: io::Error| {
            let place = format!("{} at byte {}", self.path.display(), entry.at);
            io::Error::new(error.kind(), format!("dead letter {} in {place} is damaged: {error}", entry.number))
        };
        match frame::decode(&bytes) {
            Ok((number, letter)) if number == entry.number => Ok(letter),
            Ok(_) => Err(damaged(invalid("another letter is in its place"))),
            Err(error) => Err(damaged(error)),
        }
    }

    /// Removes letters that are in it; it is on the disk when it returns.
    pub(super) fn remove(&mut self, numbers: &BTreeSet<u64>) -> io::Result<()> {
        self.gone.add(numbers)?;
        self.entries.retain(|entry| !numbers.contains(&entry.number));
        Ok(())
    }

    /// Bytes of what is left.
    pub(super) fn live(&self) -> u64 {
        self.entries.iter().map(|entry| u64::from(entry.length)).sum()
    }

    /// Whether it is worth while to write it anew: so many bytes could be saved, and a quarter of what is left.
    pub(super) fn is_sparse(&self, least: u64) -> bool {
        let live = self.live();
        let waste = self.end - HEAD - live;
        waste >= least && waste > live / 4
    }

    /// Writes the file anew with what is left. Not for the last file, whose list of what is gone keeps numbers from being used
    /// again.
    pub(super) fn compact(&mut self) -> io::Result<()> {
        let folder = self.path.parent().ok_or_else(|| io::Error::other("the path has no folder"))?.to_owned();
        let part = self.path.with_extension("part");
        let written = (|| {
            let mut content = head(MAGIC).to_vec();
            let mut entries = Vec::with_capacity(self.entries.len());
            for entry in &self.entries {
                let at = u32::try_from(content.len()).map_err(io::Error::other)?;
                let mut bytes = vec![0; entry.length as usize];
                self.file.read_exact_at(&mut bytes, u64::from(entry.at))?;
                content.extend_from_slice(&bytes);
                entries.push(Entry { at, ..entry.clone() });
            }
            let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&part)?;
            file.write_all(&content)?;
            file.sync_all()?;
            fs::rename(&part, &self.path)?;
            Ok((file, content.len() as u64, entries))
        })();
        match written {
            Ok((file, end, entries)) => {
                (self.file, self.end, self.entries, self.damaged) = (file, end, entries, false);
            }
            Err(error) => {
                let _ = fs::remove_file(&part);
                return Err(error);
            }
        }
        sync_folder(&folder)?;
        self.gone.delete()
    }

    /// Deletes the file and its list.
    pub(super) fn delete(&mut self) -> io::Result<()> {
        remove_if_there(&self.path)?;
        if let Some(folder) = self.path.parent() {
            sync_folder(folder)?;
        }
        self.gone.delete()
    }
}

/// The list of what was removed from a file.
#[derive(Debug)]
struct Gone {
    path: PathBuf,
    file: Option<File>,
    end: u64,
}

impl Gone {
    fn none(letters: &Path) -> Self {
        Self { path: letters.with_extension("gone"), file: None, end: 0 }
    }

    /// Reads the list, if there is one. An entry that was cut off was never acknowledged: its letter is there again.
    fn open(letters: &Path) -> io::Result<(Self, BTreeSet<u64>)> {
        let mut gone = Self::none(letters);
        let content = match fs::read(&gone.path) {
            Ok(content) => content,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((gone, BTreeSet::new())),
            Err(error) => return Err(error),
        };
        if (content.len() as u64) < HEAD {
            return Ok((gone, BTreeSet::new()));
        }
        check_head(&content, GONE_MAGIC)?;
        let mut numbers = BTreeSet::new();
        gone.end = HEAD;
        for (index, entry) in content.get(HEAD as usize..).unwrap_or_default().chunks_exact(GONE_ENTRY).enumerate() {
            let (number, sum) = entry.split_at(8);
            let Some(number) = number.try_into().ok().map(u64::from_le_bytes).filter(|_| checksum(number) == sum)
            else {
                continue;
            };
            numbers.insert(number);
            gone.end = HEAD + ((index + 1) * GONE_ENTRY) as u64;
        }
        gone.file = Some(OpenOptions::new().write(true).open(&gone.path)?);
        Ok((gone, numbers))
    }

    fn add(&mut self, numbers: &BTreeSet<u64>) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(numbers.len() * GONE_ENTRY);
        for number in numbers {
            bytes.extend_from_slice(&number.to_le_bytes());
            bytes.extend_from_slice(&checksum(&number.to_le_bytes()));
        }
        if self.file.is_none() {
            let file = OpenOptions::new().write(true).create(true).truncate(true).open(&self.path)?;
            file.write_all_at(&head(GONE_MAGIC), 0)?;
            file.sync_all()?;
            if let Some(folder) = self.path.parent() {
                sync_folder(folder)?;
            }
            (self.file, self.end) = (Some(file), HEAD);
        }
        let Some(file) = &self.file else { return Ok(()) };
        let written = file.write_all_at(&bytes, self.end).and_then(|()| file.sync_data());
        if let Err(error) = written {
            // What was written of it, if anything, is written over by the next, or takes effect early; it was asked for.
            let _ = file.set_len(self.end);
            return Err(error);
        }
        self.end += bytes.len() as u64;
        Ok(())
    }

    fn delete(&mut self) -> io::Result<()> {
        (self.file, self.end) = (None, 0);
        remove_if_there(&self.path)
    }
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn head(magic: &[u8; 8]) -> [u8; HEAD as usize] {
    let mut head = [0; HEAD as usize];
    let (left, right) = head.split_at_mut(magic.len());
    left.copy_from_slice(magic);
    right.copy_from_slice(&FORMAT.to_le_bytes());
    head
}

fn check_head(content: &[u8], magic: &[u8; 8]) -> io::Result<()> {
    let (head, _) = content.split_at_checked(HEAD as usize).ok_or_else(|| invalid("its head is cut off"))?;
    let (found, format) = head.split_at(magic.len());
    if found != magic {
        return Err(invalid("it is not a file of dead letters"));
    }
    match format.try_into().map(u32::from_le_bytes) {
        Ok(FORMAT) => Ok(()),
        Ok(newer) if newer > FORMAT => Err(invalid(format!(
            "it was written by a newer release (format {newer} of dead letters; this one reads up to {FORMAT}); use that release, or an \
             empty data folder"
        ))),
        _ => Err(invalid("it does not say its format")),
    }
}

/// Copies damaged bytes to a file of their own, once, so that nothing is thrown away.
fn aside(path: &Path, what: &str, content: &[u8], range: &Range<usize>) -> io::Result<()> {
    let aside = path.with_extension(format!("{what}-at-{}", range.start));
    if aside.exists() {
        return Ok(());
    }
    let mut file = File::create(&aside)?;
    file.write_all(content.get(range.clone()).unwrap_or_default())?;
    file.sync_all()
}

pub(super) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
