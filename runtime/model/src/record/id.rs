//! Where a record is, and what it is called.

use std::fmt;

use uuid::Uuid;

use crate::ids::Uid;

/// The namespace of record ids, so that they collide with no other use of version 5 UUIDs.
const NAMESPACE: Uuid = Uuid::from_u128(0x6f3d_41b7_7d0c_4d0e_9a44_5e5d_3b0a_f1c1);

/// The place of a record in the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordAddress {
    /// The stream that took it in.
    pub stream: Uid,
    /// The partition; 0 unless the stream has more.
    pub partition: u32,
    /// The place within the partition, from 0.
    pub offset: u64,
}

impl fmt::Display for RecordAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.stream, self.partition, self.offset)
    }
}

/// The id of a record, stable over redelivery: 16 bytes, written as 32 hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RecordId([u8; 16]);

impl RecordId {
    /// The id of a record of `stream` that the outside system calls `upstream_id`.
    pub fn of_upstream(stream: &Uid, upstream_id: &[u8]) -> Self {
        Self::derive(&[b"u", stream.as_str().as_bytes(), b"\0", upstream_id])
    }

    /// The id of a record that the outside system has no name for.
    pub fn of_address(address: &RecordAddress) -> Self {
        Self::derive(&[
            b"a",
            address.stream.as_str().as_bytes(),
            b"\0",
            &address.partition.to_le_bytes(),
            &address.offset.to_le_bytes(),
        ])
    }

    /// The id of the output number `ordinal` that step `step` of a pipeline makes of this record.
    pub fn child(&self, step: u32, ordinal: u32) -> Self {
        Self::derive(&[b"c", &self.0, &step.to_le_bytes(), &ordinal.to_le_bytes()])
    }

    /// The id as bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// The id as 32 hexadecimal digits, without an allocation.
    pub fn to_hex(&self) -> [u8; 32] {
        let mut hex = [0; 32];
        Uuid::from_bytes(self.0).simple().encode_lower(&mut hex);
        hex
    }

    fn derive(parts: &[&[u8]]) -> Self {
        let name = parts.concat();
        Self(Uuid::new_v5(&NAMESPACE, &name).into_bytes())
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&Uuid::from_bytes(self.0).simple(), f)
    }
}

/// The text is no record id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no record id; one has 32 hexadecimal digits")]
pub struct NotARecordId(String);

impl std::str::FromStr for RecordId {
    type Err = NotARecordId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let id = Uuid::try_parse(text).map_err(|_| NotARecordId(text.to_owned()))?;
        Ok(Self(id.into_bytes()))
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_stable_and_differ_by_everything_that_names_a_record() {
        let stream = Uid::new("s");
        let address = RecordAddress { stream: stream.clone(), partition: 0, offset: 7 };
        let id = RecordId::of_address(&address);
        assert_eq!(id, RecordId::of_address(&address));
        assert_eq!(id.to_string().len(), 32);
        assert_eq!(id.to_string().as_bytes(), id.to_hex());
        let others = [
            RecordId::of_address(&RecordAddress { offset: 8, ..address.clone() }),
            RecordId::of_address(&RecordAddress { partition: 1, ..address }),
            RecordId::of_upstream(&stream, b"7"),
            RecordId::of_upstream(&Uid::new("t"), b"7"),
            id.child(0, 0),
            id.child(0, 1),
            id.child(1, 0),
        ];
        for (index, other) in others.iter().enumerate() {
            assert_ne!(*other, id);
            assert!(!others[..index].contains(other));
        }
    }
}
