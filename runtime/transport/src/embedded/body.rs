//! The body of a batch frame: the position of the source and the columns in the layout of the contract, so that reading slices
//! the bytes and rebuilds nothing record by record. The log at NATS writes the same.

use std::sync::Arc;

use bytes::Bytes;
use ferrule_model::record::{Batch, BatchError, Column};

use super::wire::{Wire, put_optional, put_u16, put_u64};

/// The byte columns in the order in which they are stored; bit n of the mask says whether column n is there.
fn columns(batch: &Batch) -> [&Column; 5] {
    [&batch.payload, &batch.key, &batch.headers, &batch.upstream_ids, &batch.record_ids]
}

const TIMESTAMPS: u16 = 1 << 5;
const TOKENS: u16 = 1 << 6;
const ATTEMPTS: u16 = 1 << 7;

/// Whether a batch can be stored: its columns hold together, and a frame can count its bytes.
pub(crate) fn check(batch: &Batch) -> Result<(), BatchError> {
    let rows = batch.len();
    let names = ["payload", "key", "headers", "upstream-ids", "record-ids"];
    let mut bytes = rows * 20;
    for (name, column) in names.into_iter().zip(columns(batch)).chain(batch.extra.iter().map(|(_, c)| ("extra", c))) {
        column.check(name, rows)?;
        bytes += column.bytes.len() + rows * 4;
    }
    let lists =
        [("timestamps", batch.timestamps.len()), ("tokens", batch.tokens.len()), ("attempts", batch.attempts.len())];
    for (column, found) in lists {
        if found != 0 && found != rows {
            return Err(BatchError::Rows { column, found, expected: rows });
        }
    }
    if bytes > 1 << 30 || batch.extra.len() > 1 << 15 { Err(BatchError::TooLarge) } else { Ok(()) }
}

fn put_list<const N: usize, T: Copy>(out: &mut Vec<u8>, list: &[T], bytes: impl Fn(T) -> [u8; N]) {
    let start = out.len();
    out.resize(start + list.len() * N, 0);
    let places = out.get_mut(start..).unwrap_or_default().chunks_exact_mut(N);
    for (place, item) in places.zip(list) {
        place.copy_from_slice(&bytes(*item));
    }
}

fn put_column(out: &mut Vec<u8>, column: &Column) {
    put_list(out, &column.ends, u32::to_le_bytes);
    out.extend_from_slice(&column.bytes);
}

/// How many bytes [`encode`] appends without a position.
pub(crate) fn encoded_len(batch: &Batch) -> usize {
    let columns = columns(batch).into_iter().chain(batch.extra.iter().map(|(_, column)| column));
    17 + columns.map(|column| column.bytes.len() + 4 * column.len()).sum::<usize>()
        + 4 * batch.extra.len()
        + 8 * (batch.timestamps.len() + batch.tokens.len())
        + 4 * batch.attempts.len()
}

/// Appends the body.
pub(crate) fn encode(out: &mut Vec<u8>, batch: &Batch, position: Option<&[u8]>) {
    put_u64(out, batch.size() as u64);
    put_optional(out, position);
    let mut mask = 0;
    for (bit, column) in columns(batch).into_iter().enumerate() {
        mask |= u16::from(!column.is_absent()) << bit;
    }
    for (bit, there) in
        [(TIMESTAMPS, batch.timestamps.len()), (TOKENS, batch.tokens.len()), (ATTEMPTS, batch.attempts.len())]
    {
        mask |= if there == 0 { 0 } else { bit };
    }
    put_u16(out, mask);
    put_u16(out, u16::try_from(batch.extra.len()).unwrap_or(u16::MAX));
    for column in columns(batch).into_iter().filter(|column| !column.is_absent()) {
        put_column(out, column);
    }
    put_list(out, &batch.timestamps, i64::to_le_bytes);
    put_list(out, &batch.tokens, u64::to_le_bytes);
    put_list(out, &batch.attempts, u32::to_le_bytes);
    for (number, column) in &batch.extra {
        put_u16(out, *number);
        put_u16(out, u16::from(!column.is_absent()));
        if !column.is_absent() {
            put_column(out, column);
        }
    }
}

/// What comes before the columns: bytes of payload, key and headers, and the position.
pub(crate) fn decode_head(body: &[u8]) -> Option<(u64, Option<Vec<u8>>)> {
    let mut wire = Wire(body);
    Some((wire.u64()?, wire.optional()?))
}

fn list<const N: usize, T>(wire: &mut Wire<'_>, rows: usize, of: impl Fn([u8; N]) -> T) -> Option<Arc<[T]>> {
    let bytes = wire.take(rows.checked_mul(N)?)?;
    Some(bytes.as_chunks::<N>().0.iter().map(|chunk| of(*chunk)).collect())
}

fn column(whole: &Bytes, wire: &mut Wire<'_>, rows: usize) -> Option<Column> {
    let ends = list(wire, rows, u32::from_le_bytes)?;
    let bytes = wire.take(ends.last().copied().unwrap_or_default() as usize)?;
    Some(Column { bytes: whole.slice_ref(bytes), ends })
}

/// The batch in `body`, sharing its bytes.
pub(crate) fn decode(body: &Bytes, count: u32) -> Option<Batch> {
    let rows = count as usize;
    let mut wire = Wire(body);
    wire.u64()?;
    wire.optional()?;
    let (mask, extra) = (wire.u16()?, wire.u16()?);
    let mut batch = Batch { count, ..Batch::default() };
    let places =
        [&mut batch.payload, &mut batch.key, &mut batch.headers, &mut batch.upstream_ids, &mut batch.record_ids];
    for (bit, place) in places.into_iter().enumerate() {
        if mask & (1 << bit) != 0 {
            *place = column(body, &mut wire, rows)?;
        }
    }
    if mask & TIMESTAMPS != 0 {
        batch.timestamps = list(&mut wire, rows, i64::from_le_bytes)?;
    }
    if mask & TOKENS != 0 {
        batch.tokens = list(&mut wire, rows, u64::from_le_bytes)?;
    }
    if mask & ATTEMPTS != 0 {
        batch.attempts = list(&mut wire, rows, u32::from_le_bytes)?;
    }
    for _ in 0..extra {
        let (number, there) = (wire.u16()?, wire.u16()?);
        let column = if there == 0 { Column::default() } else { column(body, &mut wire, rows)? };
        batch.extra.push((number, column));
    }
    wire.0.is_empty().then_some(batch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_comes_back() {
        let column = |rows: [&str; 2]| Column::of(rows).unwrap();
        let full = Batch {
            count: 2,
            payload: column(["a", ""]),
            key: column(["", "key"]),
            headers: Column::default(),
            timestamps: vec![-1, i64::MIN].into(),
            tokens: vec![u64::MAX, 0].into(),
            upstream_ids: column(["u", "v"]),
            record_ids: column(["", ""]),
            attempts: vec![1, 2].into(),
            extra: vec![(7, column(["x", "yy"])), (8, Column::default())],
        };
        for batch in [full, Batch::of(["", ""]).unwrap(), Batch { count: 3, ..Batch::default() }, Batch::default()] {
            check(&batch).unwrap();
            let mut out = Vec::new();
            encode(&mut out, &batch, None);
            assert_eq!(out.len(), encoded_len(&batch));
            out.clear();
            encode(&mut out, &batch, Some(b"position"));
            let body = Bytes::from(out);
            assert_eq!(decode_head(&body), Some((batch.size() as u64, Some(b"position".to_vec()))));
            assert_eq!(decode(&body, batch.count), Some(batch));
            assert_eq!(decode(&body.slice(..body.len() - 1), 2), None);
        }
    }
}
