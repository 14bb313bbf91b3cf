//! What a record holds: its number, a value that looks like a reading, and filling up to its size.

use super::Format;
use super::decimal::{Decimal, WIDTH, two};

const SEQUENCE: &[u8] = br#"{"sequence":"#;
const VALUE: &[u8] = br#","value":"#;
const FILLING: &[u8] = br#","filling":""#;
const END: &[u8] = br#""}"#;

/// Makes contents, each from the seed and its number alone. A record is the one before it with other digits.
#[derive(Debug)]
pub(crate) struct Contents {
    format: Format,
    size: usize,
    seed: u64,
    number: Decimal,
    /// The last text.
    text: Vec<u8>,
    /// The last JSON with a value below 10, and the last with a larger one.
    json: [Json; 2],
}

/// A JSON record in which digits are replaced.
#[derive(Debug, Default)]
struct Json {
    record: Vec<u8>,
    /// Digits of its number; 0: it is not made yet.
    digits: usize,
}

impl Contents {
    pub(crate) fn new(format: Format, size: usize, seed: u64) -> Self {
        let number = Decimal::new(0);
        let mut text = Vec::new();
        if format == Format::Text {
            text.extend_from_slice(number.padded());
            text.push(b' ');
            text.extend(filling(seed, size.saturating_sub(text.len())));
            text.truncate(size.max(WIDTH));
        }
        Self { format, size, seed, number, text, json: Default::default() }
    }

    /// The digits of that number, and its record.
    pub(crate) fn record(&mut self, number: u64) -> (&[u8], &[u8]) {
        self.number.set(number);
        match self.format {
            Format::Text => {
                if let Some(digits) = self.text.first_chunk_mut() {
                    *digits = *self.number.padded();
                }
                (self.number.digits(), &self.text)
            }
            Format::Json => {
                let value = mix(self.seed, number) % 10_000;
                let (whole, part) = (value / 100, two(value % 100));
                let digits = self.number.digits();
                let [small, large] = &mut self.json;
                let (json, width) = if whole < 10 { (small, 1) } else { (large, 2) };
                if json.digits != digits.len() {
                    json.make(digits.len(), width, self.size, self.seed);
                }
                let (before, after) = json.record.split_at_mut(SEQUENCE.len() + digits.len());
                before[SEQUENCE.len()..].copy_from_slice(digits);
                let value = &mut after[VALUE.len()..][..width + 3];
                value[..width].copy_from_slice(&two(whole)[2 - width..]);
                value[width + 1] = part[0];
                value[width + 2] = part[1];
                (digits, &json.record)
            }
        }
    }
}

impl Json {
    /// Makes a record of a number and a value with so many digits, and leaves out the digits.
    fn make(&mut self, digits: usize, width: usize, size: usize, seed: u64) {
        let record = &mut self.record;
        record.clear();
        record.extend_from_slice(SEQUENCE);
        record.resize(record.len() + digits, b'0');
        record.extend_from_slice(VALUE);
        record.resize(record.len() + width, b'0');
        record.extend_from_slice(b".00");
        match size.checked_sub(record.len() + FILLING.len() + END.len()) {
            Some(room) => {
                record.extend_from_slice(FILLING);
                record.extend(filling(seed, room));
                record.extend_from_slice(END);
            }
            None => record.push(b'}'),
        }
        self.digits = digits;
    }
}

/// Letters to fill up with, the same for all records.
fn filling(seed: u64, length: usize) -> impl Iterator<Item = u8> {
    (0..length as u64).map(move |at| b'a' + (mix(seed, at) % 26) as u8)
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
        String::from_utf8(contents.record(number).1.to_vec()).unwrap()
    }

    #[test]
    fn a_record_has_its_size() {
        for format in [Format::Json, Format::Text] {
            for size in [60, 100, 1024] {
                let mut contents = Contents::new(format, size, 3);
                for number in [0, 9, 10, 12_345, 12_346] {
                    assert_eq!(contents.record(number).1.len(), size, "{format:?} {number}");
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
        assert_eq!(text(&mut Contents::new(Format::Text, 21, 0), 77), "00000000000000000077 ");
    }

    #[test]
    fn records_are_what_the_format_says() {
        let mut contents = Contents::new(Format::Json, 120, 42);
        let numbers = (0..1_200).chain([7, 99_999, 100_000, u64::MAX, 3]);
        for number in numbers {
            let value = mix(42, number) % 10_000;
            let head = format!(r#"{{"sequence":{number},"value":{}.{:02},"filling":""#, value / 100, value % 100);
            let filling: String = filling(42, 120 - head.len() - 2).map(char::from).collect();
            assert_eq!(text(&mut contents, number), format!(r#"{head}{filling}"}}"#));
            assert_eq!(contents.record(number).0, number.to_string().as_bytes());
        }
        let mut contents = Contents::new(Format::Text, 40, 42);
        let filling: String = filling(42, 19).map(char::from).collect();
        for number in [0, 1, 9, 10, 99, 100, u64::MAX, 5] {
            assert_eq!(text(&mut contents, number), format!("{number:020} {filling}"));
        }
    }

    #[test]
    fn json_is_json() {
        let mut contents = Contents::new(Format::Json, 120, 42);
        for number in 0..1000 {
            let json: serde_json::Value = serde_json::from_slice(contents.record(number).1).unwrap();
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
