//! What was accepted against what arrived: the judgement of a run. Pure, so that it is itself tested.

use crate::record::{Records, Stranger};

/// How many examples of one kind of fault are kept to be shown.
const EXAMPLES: usize = 5;

/// Counts arrivals per key.
#[derive(Clone, Debug)]
pub(crate) struct Ledger {
    records: Records,
    keys: Vec<Key>,
    foreign: Vec<String>,
    altered: Vec<String>,
    misordered: Vec<String>,
    counts: Counts,
}

#[derive(Clone, Debug, Default)]
struct Key {
    /// How often each number arrived.
    times: Vec<u32>,
    /// The highest number that arrived.
    highest: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    arrived: u64,
    distinct: u64,
    duplicates: u64,
    foreign: u64,
    altered: u64,
    misordered: u64,
}

/// The judgement: the counts, and the first few examples of what must not be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Records that the upstream side accepted.
    pub(crate) accepted: u64,
    /// Arrivals, duplicates included.
    pub(crate) arrived: u64,
    /// Arrivals of a record that had arrived before.
    pub(crate) duplicates: u64,
    /// Accepted records that never arrived.
    pub(crate) lost: u64,
    /// First arrivals of a record after a later one of its key.
    pub(crate) misordered: u64,
    /// Arrivals that were never sent.
    pub(crate) foreign: u64,
    /// Arrivals whose bytes are not those that were sent.
    pub(crate) altered: u64,
    /// Examples, each a sentence.
    pub(crate) examples: Vec<String>,
}

impl Ledger {
    /// Nothing arrived yet.
    pub(crate) fn new(records: Records) -> Ledger {
        Ledger {
            records,
            keys: vec![Key::default(); records.keys],
            foreign: Vec::new(),
            altered: Vec::new(),
            misordered: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// A payload arrived where records of `expected_key` arrive, as far as the place tells the key.
    pub(crate) fn payload(&mut self, payload: &[u8], expected_key: Option<usize>) {
        match self.records.recognise(payload) {
            Ok((key, _)) if expected_key.is_some_and(|expected| expected != key) => {
                self.foreign(format!("a record of key {key} at the place of key {expected_key:?}"));
            }
            Ok((key, number)) => self.record(key, number),
            Err(Stranger::Foreign(shown)) => self.foreign(shown),
            Err(Stranger::Altered(shown)) => self.altered(shown),
        }
    }

    /// A record arrived whole.
    pub(crate) fn record(&mut self, key: usize, number: u64) {
        let Some(entry) = self.keys.get_mut(key) else { return self.foreign(format!("key {key}")) };
        self.counts.arrived += 1;
        let place = usize::try_from(number).unwrap_or(usize::MAX);
        if entry.times.len() <= place {
            // A number far beyond everything must not take the memory; no run sends so many.
            if place > 1 << 28 {
                return self.foreign(format!("number {number} of key {key}"));
            }
            entry.times.resize(place + 1, 0);
        }
        entry.times[place] += 1;
        if entry.times[place] > 1 {
            self.counts.duplicates += 1;
            return;
        }
        self.counts.distinct += 1;
        match entry.highest {
            Some(highest) if highest > number => {
                self.counts.misordered += 1;
                keep(&mut self.misordered, || format!("key {key}: {number} came first after {highest}"));
            }
            _ => entry.highest = Some(number),
        }
    }

    /// Something that was never sent arrived.
    pub(crate) fn foreign(&mut self, shown: String) {
        self.counts.foreign += 1;
        keep(&mut self.foreign, || format!("foreign: {shown}"));
    }

    /// A record with other bytes arrived.
    pub(crate) fn altered(&mut self, shown: String) {
        self.counts.altered += 1;
        keep(&mut self.altered, || format!("altered: {shown}"));
    }

    /// How many different records arrived.
    pub(crate) fn distinct(&self) -> u64 {
        self.counts.distinct
    }

    /// How many duplicates arrived so far.
    pub(crate) fn duplicates(&self) -> u64 {
        self.counts.duplicates
    }

    /// Whether this record arrived.
    pub(crate) fn has(&self, key: usize, number: u64) -> bool {
        let times = self.keys.get(key).and_then(|entry| entry.times.get(usize::try_from(number).ok()?));
        times.is_some_and(|times| *times > 0)
    }

    /// The judgement when the first `accepted[key]` numbers of each key were accepted, and nothing else was sent.
    pub(crate) fn judge(&self, accepted: &[u64]) -> Verdict {
        let mut verdict = Verdict {
            accepted: accepted.iter().sum(),
            arrived: self.counts.arrived,
            duplicates: self.counts.duplicates,
            misordered: self.counts.misordered,
            foreign: self.counts.foreign,
            altered: self.counts.altered,
            ..Verdict::default()
        };
        let mut lost = Vec::new();
        for (key, entry) in self.keys.iter().enumerate() {
            let accepted = accepted.get(key).copied().unwrap_or(0);
            for number in (0..accepted).filter(|number| !self.has(key, *number)) {
                verdict.lost += 1;
                keep(&mut lost, || format!("lost: number {number} of key {key}"));
            }
            let beyond = entry.times.iter().skip(usize::try_from(accepted).unwrap_or(usize::MAX));
            verdict.foreign += beyond.filter(|times| **times > 0).count() as u64;
        }
        verdict.examples = [lost, self.misordered.clone(), self.foreign.clone(), self.altered.clone()].concat();
        verdict
    }
}

impl Verdict {
    /// What must not be, in words; nothing when all is well. `bound` is the most duplicates that can be explained.
    pub(crate) fn faults(&self, bound: u64) -> Vec<String> {
        let mut faults = Vec::new();
        let mut fault = |count: u64, what: &str| {
            if count > 0 {
                faults.push(format!("{count} {what}"));
            }
        };
        fault(self.lost, "accepted records are lost");
        fault(self.misordered, "records are out of order within their key");
        fault(self.foreign, "arrivals were never sent");
        fault(self.altered, "arrivals are altered");
        if self.duplicates > bound {
            faults
                .push(format!("{} duplicates, and only {bound} are explained by what was in flight", self.duplicates));
        }
        faults
    }
}

fn keep(examples: &mut Vec<String>, example: impl FnOnce() -> String) {
    if examples.len() < EXAMPLES {
        examples.push(example());
    }
}

#[cfg(test)]
mod tests {
    use super::{Ledger, Verdict};
    use crate::record::Records;

    const RECORDS: Records = Records { seed: 1, keys: 2 };

    fn judged(arrivals: &[(usize, u64)], accepted: &[u64]) -> Verdict {
        let mut ledger = Ledger::new(RECORDS);
        for (key, number) in arrivals {
            ledger.payload(&RECORDS.bytes(*key, *number), Some(*key));
        }
        ledger.judge(accepted)
    }

    #[test]
    fn everything_once_and_in_order_is_well() {
        let verdict = judged(&[(0, 0), (1, 0), (0, 1), (1, 1)], &[2, 2]);
        assert_eq!((verdict.accepted, verdict.arrived), (4, 4));
        assert_eq!(verdict.faults(0), Vec::<String>::new());
    }

    #[test]
    fn a_lost_record_is_named() {
        let verdict = judged(&[(0, 0), (0, 2), (1, 0)], &[3, 1]);
        assert_eq!(verdict.faults(0), ["1 accepted records are lost"]);
        assert_eq!(verdict.examples, ["lost: number 1 of key 0"]);
        assert_eq!(judged(&[(0, 0)], &[3, 0]).lost, 2, "the last ones count too");
        assert_eq!(judged(&[], &[3, 1]).lost, 4);
    }

    #[test]
    fn duplicates_are_counted_and_bounded_and_do_not_break_the_order() {
        let verdict = judged(&[(0, 0), (0, 1), (0, 2), (0, 1), (0, 2), (0, 3)], &[4, 0]);
        assert_eq!((verdict.duplicates, verdict.misordered), (2, 0));
        assert_eq!(verdict.faults(2), Vec::<String>::new());
        assert_eq!(verdict.faults(1), ["2 duplicates, and only 1 are explained by what was in flight"]);
    }

    #[test]
    fn the_first_arrival_after_a_later_one_is_out_of_order() {
        let verdict = judged(&[(0, 1), (0, 0), (1, 0)], &[2, 1]);
        assert_eq!(verdict.faults(0), ["1 records are out of order within their key"]);
    }

    #[test]
    fn what_was_never_sent_is_foreign() {
        assert_eq!(judged(&[(0, 0), (0, 1)], &[1, 0]).foreign, 1, "a number beyond what was sent");
        let mut ledger = Ledger::new(RECORDS);
        ledger.payload(b"hello", None);
        ledger.payload(&RECORDS.bytes(0, 0), Some(1));
        let mut altered = RECORDS.bytes(1, 0);
        altered[20] ^= 1;
        ledger.payload(&altered, Some(1));
        let verdict = ledger.judge(&[0, 0]);
        assert_eq!(verdict.foreign + verdict.altered, 3, "{:?}", verdict.examples);
        assert_eq!(verdict.lost, 0);
    }
}
