//! Little-endian numbers and counted bytes, written and read.

use ferrule_model::ids::Uid;

use crate::log::Cursor;

pub(super) fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_u32(out, u32::try_from(bytes.len()).unwrap_or(u32::MAX));
    out.extend_from_slice(bytes);
}

/// None, or bytes.
pub(super) fn put_optional(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    out.push(u8::from(bytes.is_some()));
    put_bytes(out, bytes.unwrap_or_default());
}

pub(super) fn put_cursor(out: &mut Vec<u8>, cursor: &Cursor) {
    put_u64(out, cursor.low);
    put_u32(out, u32::try_from(cursor.done.len()).unwrap_or(u32::MAX));
    for range in &cursor.done {
        put_u64(out, range.start);
        put_u64(out, range.end);
    }
}

/// What is left of some bytes to be read.
pub(super) struct Wire<'a>(pub(super) &'a [u8]);

impl<'a> Wire<'a> {
    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(head)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (head, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*head)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        Some(self.array::<1>()?[0])
    }

    pub(super) fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.array()?))
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn i64(&mut self) -> Option<i64> {
        Some(i64::from_le_bytes(self.array()?))
    }

    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = self.u32()?;
        self.take(len as usize)
    }

    pub(super) fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }

    pub(super) fn uid(&mut self) -> Option<Uid> {
        Some(Uid::new(self.text()?))
    }

    pub(super) fn optional(&mut self) -> Option<Option<Vec<u8>>> {
        let there = self.u8()? != 0;
        let bytes = self.bytes()?;
        Some(there.then(|| bytes.to_vec()))
    }

    pub(super) fn cursor(&mut self) -> Option<Cursor> {
        let low = self.u64()?;
        let count = self.u32()?;
        let done = (0..count).map(|_| Some(self.u64()?..self.u64()?)).collect::<Option<_>>()?;
        Some(Cursor { low, done })
    }
}
