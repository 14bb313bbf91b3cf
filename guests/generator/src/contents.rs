//! What a record holds: its number, a value that looks like a reading, and filling up to its size.

use std::io::Write;

use schemars::JsonSchema;
use serde::Deserialize;

/// What a record looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    /// `{"sequence":7,"value":21.07,"filling":"…"}`
    #[default]
    Json,
    /// The number in 20 digits, a space, and filling.
    Text,
}

/// Makes contents, each from the seed and its number alone.
#[derive(Debug)]
pub(crate) struct Contents {
    format: Format,
    size: usize,
    seed: u64,
    /// Letters to fill up with; the same for all records, so that filling costs a copy.
    filling: Vec<u8>,
    record: Vec<u8>,
}

impl Contents {
    pub(crate) fn new(format: Format, size: usize, seed: u64) -> Self {
        let filling = (0..size as u64).map(|at| b'a' + (mix(seed, at) % 26) as u8).collect();
        Self { format, size, seed, filling, record: Vec::with_capacity(size) }
    }

    /// The record of that number.
    pub(crate) fn record(&mut self, number: u64) -> &[u8] {
        let record = &mut self.record;
        record.clear();
        // Writing to a `Vec` cannot fail.
        let _ = match self.format {
            Format::Json => {
                let value = mix(self.seed, number) % 10_000;
                write!(record, r#"{{"sequence":{number},"value":{}.{:02}"#, value / 100, value % 100)
            }
            Format::Text => write!(record, "{number:020} "),
        };
        let tail: (&[u8], &[u8]) = match self.format {
            Format::Json => (br#","filling":""#, br#""}"#),
            Format::Text => (b"", b""),
        };
        match self.size.checked_sub(record.len() + tail.0.len() + tail.1.len()) {
            Some(room) => {
                record.extend_from_slice(tail.0);
                record.extend_from_slice(&self.filling[..room]);
                record.extend_from_slice(tail.1);
            }
            None if self.format == Format::Json => record.push(b'}'),
            None => record.truncate(record.len().min(self.size.max(20))),
        }
        record
    }
}

/// SplitMix64: as good as random, and the same everywhere.
fn mix(seed: u64, number: u64) -> u64 {
    let mut z = seed.wrapping_add(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(contents: &mut Contents, number: u64) -> String {
        String::from_utf8(contents.record(number).to_vec()).unwrap()
    }

    #[test]
    fn a_record_has_its_size() {
        for format in [Format::Json, Format::Text] {
            for size in [60, 100, 1024] {
                let mut contents = Contents::new(format, size, 3);
                for number in [0, 9, 12_345] {
                    assert_eq!(contents.record(number).len(), size, "{format:?}");
                }
            }
        }
    }

    #[test]
    fn a_record_too_small_for_its_number_is_still_whole() {
        let json = text(&mut Contents::new(Format::Json, 5, 0), 77);
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(json["sequence"], 77);
        assert_eq!(text(&mut Contents::new(Format::Text, 5, 0), 77), "00000000000000000077");
    }

    #[test]
    fn json_is_json() {
        let mut contents = Contents::new(Format::Json, 120, 42);
        for number in 0..1000 {
            let json: serde_json::Value = serde_json::from_slice(contents.record(number)).unwrap();
            assert_eq!(json["sequence"], number);
            assert!((0.0..100.0).contains(&json["value"].as_f64().unwrap()));
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_records() {
        let make = |seed| text(&mut Contents::new(Format::Json, 100, seed), 5);
        assert_eq!(make(1), make(1));
        assert_ne!(make(1), make(2));
    }
}
