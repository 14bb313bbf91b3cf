//! A function whose answer breaks the contract; the first byte of the first record says how. The host must refuse each.

use naughty_function::{Batch, Column, Error, Naughty, Transformed, naughty, unchanged};

struct BadAnswer;

impl Naughty for BadAnswer {
    fn apply(records: Batch) -> Result<Transformed, Error> {
        let mut answer = unchanged(records.count);
        match records.payload.bytes.first() {
            Some(b'o') => answer.origins = vec![records.count],
            Some(b'r') => answer.routes = vec![3; records.count as usize],
            Some(b'c') => answer.changes = vec![1; records.count as usize],
            Some(b'a') => answer.also = vec![(0, 99)],
            Some(b'p') => {
                answer.changes = vec![1; records.count as usize];
                answer.payload = Column { bytes: vec![1], ends: vec![200] };
            }
            _ => {}
        }
        Ok(answer)
    }
}

naughty!(BadAnswer);
