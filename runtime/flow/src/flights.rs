//! Records that a session of a sink has in hand, by the tokens that it was given for them. What was written together and is
//! answered together costs no more than one record.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

use ferrule_model::record::{Batch, Column};

use crate::sink::Origin;

/// One write.
#[derive(Debug)]
struct Flight {
    origin: Arc<Origin>,
    /// The records' ids, in order.
    ids: Vec<Range<u64>>,
    count: u32,
    /// Columns without their bytes, for the records' sizes: a write that is answered late keeps no bytes.
    columns: [Column; 3],
    /// The rows without an answer, in order.
    open: Vec<Range<u32>>,
}

/// The writes of one session, in order.
#[derive(Debug)]
pub(crate) struct Flights {
    /// By the token of the first record; the others follow.
    flights: BTreeMap<u64, Flight>,
    next_token: u64,
    open: usize,
}

/// Records of one write that were answered.
#[derive(Debug)]
pub(crate) struct Landed<'a> {
    pub(crate) origin: &'a Arc<Origin>,
    pub(crate) ids: Range<u64>,
    pub(crate) bytes: u64,
}

impl Default for Flights {
    fn default() -> Self {
        Self { flights: BTreeMap::new(), next_token: 1, open: 0 }
    }
}

impl Flights {
    /// Records without an answer.
    pub(crate) fn open(&self) -> usize {
        self.open
    }

    /// The token that the next record gets.
    pub(crate) fn next_token(&self) -> u64 {
        self.next_token
    }

    /// Records are written; their tokens begin at [`next_token`](Self::next_token).
    pub(crate) fn begin(&mut self, origin: Arc<Origin>, ids: Vec<Range<u64>>, records: Batch) {
        let count = records.count;
        let columns =
            [records.payload, records.key, records.headers].map(|column| Column::new(Vec::new(), column.ends));
        let flight = Flight { origin, ids, count, columns, open: std::iter::once(0..count).collect() };
        self.flights.insert(self.next_token, flight);
        self.next_token += u64::from(count);
        self.open += count as usize;
    }

    /// Neighbouring tokens were answered. Says which records these are, and how many of the tokens name none without answer.
    pub(crate) fn land(&mut self, tokens: Range<u64>, mut landed: impl FnMut(Landed<'_>)) -> u64 {
        let mut known = 0;
        let mut closed = Vec::new();
        let first = self.flights.range(..=tokens.start).next_back().map_or(tokens.start, |(first, _)| *first);
        for (&first, flight) in self.flights.range_mut(first..tokens.end) {
            let from = (tokens.start.max(first) - first).min(u64::from(flight.count));
            let until = (tokens.end - first).min(u64::from(flight.count));
            for rows in flight.take(from as u32..until as u32) {
                known += u64::from(rows.end - rows.start);
                flight.tell(&rows, &mut landed);
            }
            if flight.open.is_empty() {
                closed.push(first);
            }
        }
        self.open -= known as usize;
        for first in closed {
            self.flights.remove(&first);
        }
        (tokens.end - tokens.start) - known
    }

    /// Ends the session: the records that have no answer, write by write.
    pub(crate) fn end(&mut self) -> Vec<(Arc<Origin>, Vec<u64>)> {
        let flights = std::mem::take(&mut self.flights);
        self.open = 0;
        let lost = flights.into_values().map(|flight| {
            let mut ids = Vec::new();
            for rows in &flight.open {
                flight.tell(rows, &mut |landed: Landed<'_>| ids.extend(landed.ids));
            }
            (flight.origin, ids)
        });
        lost.collect()
    }
}

impl Flight {
    /// Takes what is open of these rows.
    fn take(&mut self, rows: Range<u32>) -> Vec<Range<u32>> {
        if let [all] = self.open.as_slice()
            && *all == rows
        {
            return std::mem::take(&mut self.open);
        }
        let mut taken = Vec::new();
        let mut rest = Vec::with_capacity(self.open.len() + 1);
        for open in self.open.drain(..) {
            let both = open.start.max(rows.start)..open.end.min(rows.end);
            if both.is_empty() {
                rest.push(open);
                continue;
            }
            rest.extend([open.start..both.start, both.end..open.end].into_iter().filter(|part| !part.is_empty()));
            taken.push(both);
        }
        self.open = rest;
        taken
    }

    /// Says which records these rows are: neighbouring ids together.
    fn tell(&self, rows: &Range<u32>, landed: &mut impl FnMut(Landed<'_>)) {
        let mut before = 0;
        for ids in &self.ids {
            let count = (ids.end - ids.start) as u32;
            let part = rows.start.max(before)..rows.end.min(before + count);
            if !part.is_empty() {
                let first = ids.start + u64::from(part.start - before);
                let rows = part.start as usize..part.end as usize;
                let bytes = self.columns.iter().map(|column| column.size_of(&rows) as u64).sum();
                let ids = first..first + u64::from(part.end - part.start);
                landed(Landed { origin: &self.origin, ids, bytes });
            }
            before += count;
        }
    }
}

/// Numbers as ranges of neighbours, in their order.
pub(crate) fn ranges(numbers: &[u64]) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    for &number in numbers {
        match ranges.last_mut() {
            Some(last) if last.end == number => last.end += 1,
            _ => ranges.push(number..number + 1),
        }
    }
    ranges
}

#[cfg(test)]
mod tests {
    use tokio::sync::mpsc;

    use super::*;

    fn flights() -> (Flights, Arc<Origin>) {
        let (reply, _) = mpsc::unbounded_channel();
        let origin = Arc::new(Origin { reply, sink: 0 });
        let mut flights = Flights::default();
        flights.begin(origin.clone(), vec![10..12, 20..22], Batch::of(["a", "bb", "ccc", "dddd"]).unwrap());
        flights.begin(origin.clone(), std::iter::once(30..31).collect(), Batch::of(["e"]).unwrap());
        (flights, origin)
    }

    fn land(flights: &mut Flights, tokens: Range<u64>) -> (Vec<(Range<u64>, u64)>, u64) {
        let mut landed = Vec::new();
        let unknown = flights.land(tokens, |part| landed.push((part.ids, part.bytes)));
        (landed, unknown)
    }

    #[test]
    fn what_is_answered_together_is_told_together() {
        let (mut flights, _) = flights();
        assert_eq!(land(&mut flights, 1..6), (vec![(10..12, 3), (20..22, 7), (30..31, 1)], 0));
        assert_eq!((flights.open(), flights.next_token()), (0, 6));
        assert_eq!(land(&mut flights, 1..6), (vec![], 5), "each is answered once");
    }

    #[test]
    fn answers_come_in_any_order_and_what_has_none_is_told_at_the_end() {
        let (mut flights, _) = flights();
        assert_eq!(land(&mut flights, 2..4), (vec![(11..12, 2), (20..21, 3)], 0));
        assert_eq!(land(&mut flights, 3..9), (vec![(21..22, 4), (30..31, 1)], 4));
        assert_eq!(flights.open(), 1);
        let lost: Vec<Vec<u64>> = flights.end().into_iter().map(|(_, ids)| ids).collect();
        assert_eq!(lost, [vec![10]]);
        assert_eq!(flights.open(), 0);
        assert_eq!(ranges(&[5, 6, 8, 9, 1]), [5..7, 8..10, 1..2]);
    }
}
