//! The oracle's records: what record `number` of a key looks like follows from the seed, so nothing is kept to compare with.

use crate::random::{Random, fingerprint};

/// Makes and knows again the records of one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Records {
    pub(crate) seed: u64,
    pub(crate) keys: usize,
}

/// What arrived is not a record of this run, or not as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stranger {
    /// Nothing that was ever sent.
    Foreign(String),
    /// It says which record it is, and has other bytes.
    Altered(String),
}

impl Records {
    /// The bytes of a record: its key, its number, filling of 0 to 480 bytes, and a checksum over all of it.
    pub(crate) fn bytes(&self, key: usize, number: u64) -> Vec<u8> {
        let mut random = Random::new(self.seed, &format!("record {key} {number}"));
        let words = random.below(31);
        let filling: String = (0..words).map(|_| format!("{:016x}", random.next())).collect();
        let sum = fingerprint(format!("{} {key} {number} {filling}", self.seed).as_bytes());
        format!("{{\"key\":\"k{key}\",\"number\":{number},\"sum\":\"{sum:016x}\",\"filling\":\"{filling}\"}}")
            .into_bytes()
    }

    /// Which record this is, after every byte was compared.
    pub(crate) fn recognise(&self, payload: &[u8]) -> Result<(usize, u64), Stranger> {
        let shown = || String::from_utf8_lossy(payload.get(..payload.len().min(120)).unwrap_or_default()).into_owned();
        let value: serde_json::Value = serde_json::from_slice(payload).map_err(|_| Stranger::Foreign(shown()))?;
        let key = value["key"].as_str().and_then(|key| key.strip_prefix('k')?.parse::<usize>().ok());
        let (Some(key), Some(number)) = (key.filter(|key| *key < self.keys), value["number"].as_u64()) else {
            return Err(Stranger::Foreign(shown()));
        };
        if self.bytes(key, number) == payload { Ok((key, number)) } else { Err(Stranger::Altered(shown())) }
    }
}

#[cfg(test)]
mod tests {
    use super::{Records, Stranger};

    const RECORDS: Records = Records { seed: 7, keys: 4 };

    #[test]
    fn a_record_is_known_again() {
        assert_eq!(RECORDS.recognise(&RECORDS.bytes(3, 41)), Ok((3, 41)));
    }

    #[test]
    fn one_changed_byte_is_seen() {
        let mut bytes = RECORDS.bytes(0, 5);
        let place = bytes.len() - 4;
        bytes[place] ^= 1;
        assert!(matches!(RECORDS.recognise(&bytes), Err(Stranger::Altered(_))), "{bytes:?}");
        bytes.pop();
        assert!(matches!(RECORDS.recognise(&bytes), Err(Stranger::Foreign(_))));
    }

    #[test]
    fn records_of_another_run_or_key_are_foreign_or_altered() {
        assert!(RECORDS.recognise(&Records { seed: 8, keys: 4 }.bytes(0, 0)).is_err());
        assert!(matches!(RECORDS.recognise(&Records { seed: 7, keys: 9 }.bytes(8, 0)), Err(Stranger::Foreign(_))));
    }
}
