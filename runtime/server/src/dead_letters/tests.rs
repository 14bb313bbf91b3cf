//! What the store of dead letters promises: nothing acknowledged is lost, whatever was cut off when the process died.

use bytes::Bytes;
use ferrule_flow::LetterCode;
use ferrule_model::record::RecordAddress;

use super::*;

fn letter(id: &str) -> DeadLetter {
    DeadLetter {
        id: RecordId::of_upstream(&Uid::from("s"), id.as_bytes()),
        address: Some(RecordAddress { stream: Uid::from("s"), partition: 0, offset: u64::MAX }),
        stream: Uid::from("s"),
        pipeline: Some(Uid::from("p-uid")),
        pipeline_name: "p".to_owned(),
        step: "sink".to_owned(),
        component: "sha256:0".to_owned(),
        code: LetterCode::Rejected,
        reason: "not JSON".to_owned(),
        attempts: 3,
        time_ms: 1,
        timestamp_ns: Some(-1),
        payload: Bytes::copy_from_slice(id.as_bytes()),
        key: Bytes::new(),
        headers: Bytes::from_static(b"\x00\x00"),
        truncated: 0,
    }
}

fn letters(range: std::ops::Range<u32>) -> Vec<DeadLetter> {
    range.map(|n| letter(&n.to_string())).collect()
}

fn open(folder: &Path) -> DeadLetterStore {
    DeadLetterStore::open_with(folder, 1 << 20, 4_000).unwrap()
}

/// The numbers, and the payloads as they are read back.
fn all(store: &DeadLetterStore) -> Vec<(u64, String)> {
    let read = |entry: Entry| {
        let letter = store.read(entry.number).unwrap().unwrap();
        assert_eq!(letter, self::letter(std::str::from_utf8(&letter.payload).unwrap()));
        (entry.number, String::from_utf8(letter.payload.to_vec()).unwrap())
    };
    store.select(|_| true).into_iter().map(read).collect()
}

fn numbers(store: &DeadLetterStore) -> Vec<u64> {
    store.select(|_| true).iter().map(|entry| entry.number).collect()
}

/// Files with this ending, by name.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.to_str().unwrap().contains(ending));
    files.sort();
    files
}

#[test]
fn letters_are_there_after_opening_again_and_numbers_are_never_used_twice() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("dead-letters");
    let store = open(&folder);
    store.append(letters(0..2)).unwrap();
    drop(store);
    let store = open(&folder);
    store.append(letters(2..3)).unwrap();
    assert_eq!(all(&store), [(1, "0".to_owned()), (2, "1".to_owned()), (3, "2".to_owned())]);
    assert_eq!(store.count(), 3);
    assert_eq!(store.remove(&[1, 2, 3, 9]).unwrap(), (3, vec![]));
    assert_eq!((store.count(), store.read(2).unwrap()), (0, None));
    drop(store);
    let store = open(&folder);
    store.append(letters(7..8)).unwrap();
    assert_eq!(all(&store), [(4, "7".to_owned())]);
}

#[test]
fn what_is_removed_stays_removed_and_its_bytes_come_free() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    for n in 0..40 {
        store.append(letters(n..n + 1)).unwrap();
    }
    let full = store.bytes();
    assert!(files(place.path(), ".letters").len() > 2);
    let odd: Vec<u64> = (1..=40).filter(|number| number % 2 == 1).collect();
    assert_eq!(store.remove(&odd).unwrap().0, 20);
    let even: Vec<u64> = (1..=40).filter(|number| number % 2 == 0).collect();
    assert_eq!(numbers(&store), even);
    assert!(store.bytes() < full / 4 * 3, "{} of {full}", store.bytes());
    drop(store);
    let store = open(place.path());
    assert_eq!(numbers(&store), even);
    all(&store);
    store.remove(&even).unwrap();
    assert_eq!(files(place.path(), ".letters").len(), 1);
    assert_eq!(files(place.path(), ".gone").len(), 0);
    assert_eq!(numbers(&open(place.path())), [0; 0]);
}

#[test]
fn a_cut_at_any_byte_keeps_every_letter_before_it_and_moves_the_rest_aside() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    let mut ends = vec![store.bytes()];
    for n in 0..3 {
        store.append(letters(n..n + 1)).unwrap();
        ends.push(store.bytes());
    }
    drop(store);
    let content = fs::read(&files(place.path(), ".letters")[0]).unwrap();
    for cut in 0..content.len() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join(format!("{:020}.letters", 1));
        fs::write(&path, &content[..cut]).unwrap();
        let store = open(place.path());
        let whole = ends.iter().filter(|end| **end <= cut as u64).count().saturating_sub(1);
        assert_eq!(all(&store).len(), whole, "cut at {cut}");
        let end = ends[whole] as usize;
        let aside = files(place.path(), ".torn-at-");
        assert_eq!(aside.len(), usize::from(cut > end), "cut at {cut}");
        if let Some(aside) = aside.first() {
            assert_eq!(fs::read(aside).unwrap(), content[end..cut]);
        }
        store.append(letters(9..10)).unwrap();
        let after = all(&store);
        assert_eq!(after.last().unwrap(), &(whole as u64 + 1, "9".to_owned()), "cut at {cut}");
        drop(store);
        assert_eq!(all(&open(place.path())), after, "cut at {cut}");
    }
}

#[test]
fn a_cut_in_the_list_of_what_is_gone_brings_back_at_most_what_was_not_acknowledged() {
    let place = tempfile::tempdir().unwrap();
    // Large enough that nothing is written anew.
    let store = DeadLetterStore::open_with(place.path(), 1 << 20, 1 << 20).unwrap();
    store.append(letters(0..40)).unwrap();
    for number in [3, 5, 7] {
        store.remove(&[number]).unwrap();
    }
    drop(store);
    let list = files(place.path(), ".gone")[0].clone();
    let content = fs::read(&list).unwrap();
    for cut in 0..=content.len() {
        fs::write(&list, &content[..cut]).unwrap();
        let store = DeadLetterStore::open_with(place.path(), 1 << 20, 1 << 20).unwrap();
        let gone = cut.saturating_sub(12) / 16;
        let expected: Vec<u64> = (1..=40).filter(|number| ![3, 5, 7][..gone].contains(number)).collect();
        assert_eq!(numbers(&store), expected, "cut at {cut}");
        store.remove(&[20]).unwrap();
        drop(store);
        let store = DeadLetterStore::open_with(place.path(), 1 << 20, 1 << 20).unwrap();
        assert_eq!(store.count() as usize, expected.len() - 1, "cut at {cut}");
    }
}

#[test]
fn damage_in_the_middle_costs_one_letter_and_is_told_until_somebody_has_seen_to_it() {
    let place = tempfile::tempdir().unwrap();
    let store = open(place.path());
    store.append(letters(0..3)).unwrap();
    drop(store);
    let path = files(place.path(), ".letters")[0].clone();
    let content = fs::read(&path).unwrap();
    let frame = (content.len() - 12) / 3;
    for at in 12 + frame..12 + 2 * frame {
        let place = tempfile::tempdir().unwrap();
        let mut damaged = content.clone();
        damaged[at] ^= 0x20;
        fs::write(place.path().join(path.file_name().unwrap()), &damaged).unwrap();
        let store = open(place.path());
        let left: Vec<u64> = all(&store).iter().map(|(number, _)| *number).collect();
        assert_eq!(left, [1, 3], "damaged at {at}");
        let alerts = store.alerts();
        assert_eq!(alerts.len(), 1);
        assert_eq!((alerts[0].severity.as_str(), alerts[0].name.as_str()), ("critical", "dead-letters-damaged"));
        drop(store);
        // The file was written anew without the damage, so that only the copy is left to see to.
        assert_eq!(open(place.path()).alerts().len(), 1);
        let aside = files(place.path(), ".damaged-at-");
        assert_eq!(fs::read(&aside[0]).unwrap(), damaged[12 + frame..12 + 2 * frame]);
        fs::remove_file(&aside[0]).unwrap();
        let store = open(place.path());
        assert!(store.alerts().is_empty());
        store.append(letters(5..6)).unwrap();
        assert_eq!(numbers(&store), [1, 3, 4]);
    }
}

#[test]
fn a_letter_that_is_damaged_while_the_server_runs_is_an_error_and_never_another_letter() {
    let place = tempfile::tempdir().unwrap();
    let store = Arc::new(open(place.path()));
    store.append(letters(0..2)).unwrap();
    let path = files(place.path(), ".letters")[0].clone();
    let mut content = fs::read(&path).unwrap();
    let last = content.len() - 1;
    content[last] ^= 1;
    fs::write(&path, content).unwrap();
    assert!(store.read(2).unwrap_err().to_string().contains("dead letter 2 in"));
    let claimed = store.claim(&[1, 2]);
    assert_eq!((claimed.letters.len(), claimed.damaged.len()), (1, 1));
    drop(claimed);
    assert_eq!(store.remove(&[2]).unwrap().0, 1);
}

#[test]
fn the_file_of_the_first_release_is_taken_over_once() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path().join("dead-letters");
    let old = place.path().join("dead-letters.log");
    first_format::write(&old, &letters(0..5));
    let content = fs::read(&old).unwrap();
    let store = open(&folder);
    assert_eq!(all(&store).len(), 5);
    assert!(!old.exists());
    drop(store);
    // As if it had ended before the old file was deleted.
    fs::write(&old, &content).unwrap();
    assert_eq!(all(&open(&folder)).len(), 5);

    // A torn end is moved aside, as that release did it.
    let place = tempfile::tempdir().unwrap();
    let (folder, old) = (place.path().join("dead-letters"), place.path().join("dead-letters.log"));
    fs::write(&old, &content[..content.len() - 1]).unwrap();
    assert_eq!(all(&open(&folder)).len(), 4);
    assert_eq!(files(place.path(), "damaged-at-").len(), 1);
}

#[test]
fn files_of_something_else_and_of_newer_releases_are_refused_and_left_alone() {
    for (name, content, words) in [
        ("dead-letters.log", &b"some text that is long enough"[..], "not a file of dead letters"),
        ("dead-letters.log", b"FERRULDL\x09\0\0\0", "newer release"),
        ("dead-letters/00000000000000000001.letters", b"some text that is long enough", "not a file of dead letters"),
        (
            "dead-letters/00000000000000000001.letters",
            b"FERRULDL\x09\0\0\0",
            "format 9 of dead letters; this one reads up to 2",
        ),
    ] {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("dead-letters");
        fs::create_dir(&folder).unwrap();
        fs::write(place.path().join(name), content).unwrap();
        let error = DeadLetterStore::open(&folder, 1 << 20).unwrap_err().to_string();
        assert!(error.contains(words) && error.contains(name), "{error}");
        assert_eq!(fs::read(place.path().join(name)).unwrap(), content);
    }
}

#[test]
fn at_the_bound_letters_are_refused_until_there_is_room() {
    let place = tempfile::tempdir().unwrap();
    let store = Arc::new(DeadLetterStore::open_with(place.path(), 10 << 10, 4_000).unwrap());
    // Each counts 1 KiB, small as it is.
    store.append(letters(0..10)).unwrap();
    assert_eq!(store.alerts()[0].name, "dead-letters-nearly-full");
    let error = store.append(letters(10..11)).unwrap_err().to_string();
    assert!(error.contains("FE0513") && error.contains("ferrule deadletter"), "{error}");
    assert_eq!(store.alerts()[0].name, "dead-letters-full");
    assert_eq!(store.count(), 10);

    // A replay makes room for those that are given up again.
    let claimed = store.claim(&[1, 2]);
    store.append(letters(0..2)).unwrap();
    drop(claimed);
    assert_eq!(store.count(), 10);
    store.append(letters(10..11)).unwrap_err();

    store.remove(&[3]).unwrap();
    assert!(store.alerts().iter().all(|alert| alert.name != "dead-letters-full"));
    store.append(letters(10..11)).unwrap();
    drop(store);
    assert_eq!(DeadLetterStore::open_with(place.path(), 10 << 10, 4_000).unwrap().count(), 10);
}

#[test]
fn a_letter_that_is_replayed_belongs_to_one_replay_and_is_replaced_when_it_comes_again() {
    let place = tempfile::tempdir().unwrap();
    let store = Arc::new(open(place.path()));
    store.append(letters(0..3)).unwrap();
    let first = store.claim(&[1, 2, 77]);
    assert_eq!((first.letters.len(), &first.busy[..]), (2, &[][..]));
    let second = store.claim(&[2, 3]);
    assert_eq!((second.letters.len(), &second.busy[..]), (1, &[2][..]));
    assert_eq!(store.remove(&[1, 3]).unwrap(), (0, vec![1, 3]));
    drop(second);
    assert_eq!(store.remove(&[3]).unwrap(), (1, vec![]));

    let again = DeadLetter { attempts: 4, time_ms: 9, reason: "still not".into(), ..letter("0") };
    store.append(vec![again]).unwrap();
    assert_eq!(numbers(&store), [2, 4]);
    let replaced = store.read(4).unwrap().unwrap();
    assert_eq!((replaced.attempts, replaced.reason.as_str()), (4, "still not"));
    first.finish([1, 2].into()).unwrap();
    drop(first);
    assert_eq!(numbers(&store), [4]);

    // Without a replay the same record given up twice is two letters: a source may really have sent it twice.
    store.append(letters(0..1)).unwrap();
    assert_eq!(numbers(&store), [4, 5]);
}
