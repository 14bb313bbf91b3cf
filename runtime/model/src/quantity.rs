//! Lengths of time and sizes as people write them: `10s`, `64MiB`.

use std::{fmt, str::FromStr, time::Duration};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time: `250ms`, `10s`, `5m`, `2h`, `7d`, or a number of seconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(pub Duration);

/// A number of bytes: `512`, `64KiB`, `10MB`, `1GiB`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(pub u64);

/// Why a quantity cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{found}` is not {expected}")]
pub struct QuantityError {
    found: String,
    expected: &'static str,
}

/// What a length of time looks like, for messages.
pub const SPAN_FORM: &str = "a length of time such as 250ms, 10s, 5m, 2h or 7d";
/// What a size looks like, for messages.
pub const SIZE_FORM: &str = "a size such as 512, 64KiB, 10MB or 1GiB";

const SPAN_UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];
const SIZE_UNITS: [(&str, u64); 8] = [
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("KB", 1_000),
    ("B", 1),
];

/// Splits a number from its unit, with the number's decimals allowed.
fn amount(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..end].parse().ok()?;
    Some((number, text[end..].trim()))
}

impl FromStr for Span {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || QuantityError { found: text.to_owned(), expected: SPAN_FORM };
        let (number, unit) = amount(text).ok_or_else(error)?;
        let (_, millis) = SPAN_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(error)?;
        Duration::try_from_secs_f64(number * *millis as f64 / 1000.0).map(Span).map_err(|_| error())
    }
}

impl FromStr for Size {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || QuantityError { found: text.to_owned(), expected: SIZE_FORM };
        let (number, unit) = amount(text).ok_or_else(error)?;
        let factor = match unit {
            "" => 1,
            unit => SIZE_UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(error)?.1,
        };
        let bytes = number * factor as f64;
        if bytes < u64::MAX as f64 { Ok(Size(bytes as u64)) } else { Err(error()) }
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = self.0.as_millis();
        let unit = SPAN_UNITS.iter().find(|(_, unit)| millis > 0 && millis.is_multiple_of(u128::from(*unit)));
        match unit {
            Some((name, unit)) => write!(f, "{}{name}", millis / u128::from(*unit)),
            None => write!(f, "0s"),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let binary = SIZE_UNITS
            .iter()
            .filter(|(name, _)| name.ends_with("iB"))
            .find(|(_, unit)| self.0 > 0 && self.0.is_multiple_of(*unit));
        match binary {
            Some((name, unit)) => write!(f, "{}{name}", self.0 / unit),
            None => write!(f, "{}", self.0),
        }
    }
}

/// Both quantities may be written as a number or as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Number(f64),
    Text(String),
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::Number(seconds) => Duration::try_from_secs_f64(seconds).map(Span).map_err(de::Error::custom),
            Written::Text(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Written::deserialize(deserializer)? {
            Written::Number(bytes) if bytes >= 0.0 && bytes.fract() == 0.0 => Ok(Size(bytes as u64)),
            Written::Number(_) => Err(de::Error::custom(SIZE_FORM)),
            Written::Text(text) => text.parse().map_err(de::Error::custom),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_and_sizes_are_read_and_written() {
        for (text, millis, back) in [
            ("250ms", 250, "250ms"),
            ("1.5s", 1500, "1500ms"),
            ("10s", 10_000, "10s"),
            ("5m", 300_000, "5m"),
            ("48h", 172_800_000, "2d"),
            ("0s", 0, "0s"),
        ] {
            let span: Span = text.parse().unwrap();
            assert_eq!(span.0.as_millis(), millis, "{text}");
            assert_eq!(span.to_string(), back);
        }
        for (text, bytes, back) in [
            ("512", 512, "512"),
            ("64KiB", 65_536, "64KiB"),
            ("10MB", 10_000_000, "10000000"),
            ("1GiB", 1 << 30, "1GiB"),
        ] {
            let size: Size = text.parse().unwrap();
            assert_eq!(size.0, bytes, "{text}");
            assert_eq!(size.to_string(), back);
        }
        for wrong in ["", "s", "ten s", "5 years", "-1s", "1e400s"] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
            assert!(wrong.parse::<Size>().is_err(), "{wrong}");
        }
        assert_eq!(serde_json::from_str::<Span>("2").unwrap().0.as_secs(), 2);
        assert!(serde_json::from_str::<Span>("-2").is_err());
        assert!(serde_json::from_str::<Size>("1.5").is_err());
    }
}
