//! One message of a stream: records, and what a runtime needs to go on after them.

use bytes::{Buf, BufMut, Bytes};
use ferrule_model::record::Batch;

use crate::embedded::body;

/// The version of the layout of a message.
const VERSION: u8 = 1;

/// Bytes that a message has beside its records and its position, NATS's headers included, and then some.
pub(super) const OVERHEAD: usize = 8 << 10;
/// Bytes that a record may have beside payload, key and headers: its ids, and what the layout needs.
pub(super) const BESIDE: usize = 4 << 10;
/// Bytes that a position may have.
pub(super) const POSITION_LIMIT: usize = 8 << 10;

/// Where a message is in its stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Mark {
    /// JetStream's number of the message.
    pub(super) sequence: u64,
    /// The offset of its first record.
    pub(super) first: u64,
    /// The offset after its last record.
    pub(super) end: u64,
    /// Bytes of records ever appended before it.
    pub(super) before: u64,
    /// Bytes of its records.
    pub(super) size: u64,
    /// When it was appended, in milliseconds since 1970.
    pub(super) appended_ms: i64,
}

/// A message. Every one carries the position that holds after it, so that the newest one says all that a writer has to know.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    pub(super) mark: Mark,
    /// Which runtime wrote it.
    pub(super) writer: String,
    /// The number of the message among those of its writer.
    pub(super) id: u64,
    pub(super) position: Option<Bytes>,
    pub(super) records: Batch,
}

impl Frame {
    /// The message's content.
    pub(super) fn encode(&self) -> Bytes {
        let Self { mark, writer, id, position, records } = self;
        let mut out = Vec::with_capacity(64 + writer.len() + body::encoded_len(records));
        out.put_u8(VERSION);
        out.put_u64_le(mark.first);
        out.put_u64_le(mark.end - mark.first);
        out.put_u64_le(mark.before);
        out.put_u64_le(mark.size);
        out.put_i64_le(mark.appended_ms);
        out.put_u64_le(*id);
        out.put_u16_le(writer.len() as u16);
        out.put_slice(writer.as_bytes());
        body::encode(&mut out, records, position.as_deref());
        out.into()
    }

    /// Reads a message's content; what is wrong with it, and its mark as far as it can be told, when it is none.
    pub(super) fn decode(sequence: u64, mut bytes: Bytes) -> Result<Self, Broken> {
        let mut mark = Mark { sequence, ..Mark::default() };
        let mut head = || -> Result<(String, u64, Option<Bytes>), Option<u8>> {
            let version = bytes.try_get_u8().map_err(|_| None)?;
            if version != VERSION {
                return Err(Some(version));
            }
            mark.first = bytes.try_get_u64_le().map_err(|_| None)?;
            mark.end = mark.first.saturating_add(bytes.try_get_u64_le().map_err(|_| None)?);
            mark.before = bytes.try_get_u64_le().map_err(|_| None)?;
            mark.size = bytes.try_get_u64_le().map_err(|_| None)?;
            mark.appended_ms = bytes.try_get_i64_le().map_err(|_| None)?;
            let id = bytes.try_get_u64_le().map_err(|_| None)?;
            let length = bytes.try_get_u16_le().map_err(|_| None)?.into();
            let writer = (bytes.len() >= length).then(|| bytes.split_to(length)).ok_or(None)?;
            let (_, position) = body::decode_head(&bytes).ok_or(None)?;
            Ok((String::from_utf8_lossy(&writer).into_owned(), id, position.map(Bytes::from)))
        };
        let (writer, id, position) = match head() {
            Ok(head) => head,
            Err(Some(version)) => {
                let detail = format!("it is in version {version} of the layout, and this Ferrule reads {VERSION}");
                return Err(Broken { mark, detail });
            }
            Err(None) => return Err(Broken { mark, detail: "it ends within its head".into() }),
        };
        let count = u32::try_from(mark.end - mark.first).ok();
        let records = count.and_then(|count| body::decode(&bytes, count));
        let Some(records) = records else {
            return Err(Broken { mark, detail: "it ends within its columns".into() });
        };
        records.check().map_err(|error| Broken { mark, detail: error.to_string() })?;
        let (count, size) = (records.len() as u64, records.size() as u64);
        if count != mark.end - mark.first || size != mark.size {
            let detail = format!("it has {count} records of {size} bytes, and says otherwise");
            return Err(Broken { mark, detail });
        }
        Ok(Self { mark, writer, id, position, records })
    }

    /// Bytes of records ever appended before `offset`, which is within the message.
    pub(super) fn before(&self, offset: u64) -> u64 {
        let rows = offset.clamp(self.mark.first, self.mark.end) - self.mark.first;
        self.mark.before + self.records.slice(0..rows as usize).size() as u64
    }
}

/// A message that is none of ours, or damaged.
#[derive(Clone, Debug)]
pub(super) struct Broken {
    pub(super) mark: Mark,
    pub(super) detail: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame() -> Frame {
        let records = Batch::of(["a", "bcd"]).unwrap();
        let mark = Mark { sequence: 9, first: 5, end: 7, before: 50, size: 4, appended_ms: 77 };
        Frame { mark, writer: "somebody".into(), id: 3, position: Some(Bytes::from_static(b"p")), records }
    }

    #[test]
    fn a_message_comes_back_as_it_was() {
        let read = Frame::decode(9, frame().encode()).unwrap();
        assert_eq!(read.mark, frame().mark);
        assert_eq!((read.writer.as_str(), read.id, read.position.as_deref()), ("somebody", 3, Some(&b"p"[..])));
        assert_eq!(read.records, frame().records);
        assert_eq!((read.before(5), read.before(6), read.before(7)), (50, 51, 54));
    }

    #[test]
    fn what_is_cut_or_newer_is_told() {
        let bytes = frame().encode();
        for end in 0..bytes.len() {
            assert!(Frame::decode(9, bytes.slice(..end)).is_err(), "cut at {end}");
        }
        let newer = [&[2], &bytes[1..]].concat();
        let broken = Frame::decode(9, newer.into()).unwrap_err();
        assert!(broken.detail.contains("version 2"), "{}", broken.detail);
    }
}
