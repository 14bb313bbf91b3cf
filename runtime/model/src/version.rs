//! How versions compare: numbers as numbers, a pre-release before its release.

use std::cmp::Ordering;

/// Compares two versions: `1.10` is after `1.9`, `1.0` is `1.0.0`, `v1` is `1`, `1.0.0-beta` is before `1.0.0`.
pub fn compare(a: &str, b: &str) -> Ordering {
    let (a, a_pre) = split(a);
    let (b, b_pre) = split(b);
    let (mut a, mut b) = (a.split('.'), b.split('.'));
    loop {
        let order = match (a.next(), b.next()) {
            (None, None) => break,
            (x, y) => part(x.unwrap_or("0"), y.unwrap_or("0")),
        };
        if order != Ordering::Equal {
            return order;
        }
    }
    match (a_pre, b_pre) {
        (None, None) => Ordering::Equal,
        (None, Some(_)) => Ordering::Greater,
        (Some(_), None) => Ordering::Less,
        (Some(x), Some(y)) => x.split('.').map(Part).cmp(y.split('.').map(Part)),
    }
}

/// Whether two versions are the same.
pub fn same(a: &str, b: &str) -> bool {
    compare(a, b) == Ordering::Equal
}

/// The numbers and the pre-release, without build data and a leading `v`.
fn split(version: &str) -> (&str, Option<&str>) {
    let version = version.strip_prefix(['v', 'V']).unwrap_or(version);
    let version = version.split('+').next().unwrap_or(version);
    match version.split_once('-') {
        Some((numbers, pre)) => (numbers, Some(pre)),
        None => (version, None),
    }
}

fn part(a: &str, b: &str) -> Ordering {
    let number = |part: &str| if part.is_empty() { Ok(0) } else { part.parse::<u64>() };
    match (number(a), number(b)) {
        (Ok(a), Ok(b)) => a.cmp(&b),
        (Ok(_), Err(_)) => Ordering::Less,
        (Err(_), Ok(_)) => Ordering::Greater,
        (Err(_), Err(_)) => a.cmp(b),
    }
}

#[derive(PartialEq, Eq)]
struct Part<'a>(&'a str);

impl PartialOrd for Part<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Part<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        part(self.0, other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_by_number() {
        let ascending = [
            "0.9",
            "1.0.0-alpha",
            "1.0.0-alpha.1",
            "1.0.0-alpha.beta",
            "1.0.0-beta.2",
            "1.0.0-beta.11",
            "1.0.0",
            "1.9",
            "1.10",
            "v2",
        ];
        for pair in ascending.windows(2) {
            assert_eq!(compare(pair[0], pair[1]), Ordering::Less, "{pair:?}");
            assert_eq!(compare(pair[1], pair[0]), Ordering::Greater, "{pair:?}");
        }
        assert_eq!(compare("", "1"), Ordering::Less, "none is before any");
        for (a, b) in [("1.0", "1.0.0"), ("v1", "1"), ("1.2.3+build", "1.2.3")] {
            assert!(same(a, b), "{a} {b}");
        }
    }
}
