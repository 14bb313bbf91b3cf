//! Headers of a record in the layout of the contract: what travels is one row of bytes a record.

use std::str;

/// Headers to give to a record. Empty costs nothing.
///
/// ```
/// use ferrule_sdk::Headers;
/// let headers = Headers::new().with("content-type", b"text/plain");
/// assert_eq!(headers.view().get("content-type"), Some(&b"text/plain"[..]));
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    row: Vec<u8>,
}

impl Headers {
    /// No headers.
    pub const fn new() -> Self {
        Self { row: Vec::new() }
    }

    /// Adds a header; a name may occur more than once.
    ///
    /// What the layout cannot hold is left out: a name over 65,535 bytes, a value of 4 GiB, or a header after the 65,535th.
    pub fn add(&mut self, name: &str, value: &[u8]) {
        let (Ok(name_len), Ok(value_len)) = (u16::try_from(name.len()), u32::try_from(value.len())) else {
            return;
        };
        if self.row.is_empty() {
            self.row.extend_from_slice(&[0, 0]);
        }
        let Some(count) = u16::from_le_bytes([self.row[0], self.row[1]]).checked_add(1) else {
            return;
        };
        self.row[..2].copy_from_slice(&count.to_le_bytes());
        self.row.extend_from_slice(&name_len.to_le_bytes());
        self.row.extend_from_slice(name.as_bytes());
        self.row.extend_from_slice(&value_len.to_le_bytes());
        self.row.extend_from_slice(value);
    }

    /// The same with one header more.
    #[must_use]
    pub fn with(mut self, name: &str, value: &[u8]) -> Self {
        self.add(name, value);
        self
    }

    /// To read them.
    pub fn view(&self) -> HeadersView<'_> {
        HeadersView { row: &self.row }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.row.is_empty()
    }

    pub(crate) fn row(&self) -> &[u8] {
        &self.row
    }
}

impl<'a> FromIterator<(&'a str, &'a [u8])> for Headers {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a [u8])>>(pairs: I) -> Self {
        let mut headers = Self::new();
        for (name, value) in pairs {
            headers.add(name, value);
        }
        headers
    }
}

/// The headers of a record in a batch.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadersView<'a> {
    row: &'a [u8],
}

impl<'a> HeadersView<'a> {
    pub(crate) fn of(row: &'a [u8]) -> Self {
        Self { row }
    }

    pub(crate) fn row(self) -> &'a [u8] {
        self.row
    }

    /// Names and values in their order. Ends early where the row breaks the layout.
    pub fn iter(self) -> HeadersIter<'a> {
        let (left, rest) = match self.row {
            [low, high, rest @ ..] => (u16::from_le_bytes([*low, *high]), rest),
            _ => (0, &[][..]),
        };
        HeadersIter { left, rest }
    }

    /// The first value of that name.
    pub fn get(self, name: &str) -> Option<&'a [u8]> {
        self.iter().find(|(candidate, _)| *candidate == name).map(|(_, value)| value)
    }

    /// Whether there are none.
    pub fn is_empty(self) -> bool {
        self.row.is_empty()
    }

    /// A copy to keep or to change.
    pub fn to_owned(self) -> Headers {
        self.iter().collect()
    }
}

impl<'a> IntoIterator for HeadersView<'a> {
    type Item = (&'a str, &'a [u8]);
    type IntoIter = HeadersIter<'a>;

    fn into_iter(self) -> HeadersIter<'a> {
        self.iter()
    }
}

/// Iterates over the headers of one record.
#[derive(Clone, Debug)]
pub struct HeadersIter<'a> {
    left: u16,
    rest: &'a [u8],
}

impl<'a> Iterator for HeadersIter<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let (len, rest) = self.rest.split_first_chunk::<2>()?;
        let (name, rest) = rest.split_at_checked(usize::from(u16::from_le_bytes(*len)))?;
        let (len, rest) = rest.split_first_chunk::<4>()?;
        let (value, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        self.rest = rest;
        Some((str::from_utf8(name).ok()?, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_is_that_of_the_contract() {
        let headers = Headers::new().with("a", b"xy").with("bc", b"");
        assert_eq!(headers.row(), [2, 0, 1, 0, b'a', 2, 0, 0, 0, b'x', b'y', 2, 0, b'b', b'c', 0, 0, 0, 0]);
        let read: Vec<_> = headers.view().iter().collect();
        assert_eq!(read, [("a", &b"xy"[..]), ("bc", &b""[..])]);
        assert_eq!(headers.view().to_owned(), headers);
    }

    #[test]
    fn no_headers_are_no_bytes() {
        assert!(Headers::new().row().is_empty());
        assert_eq!(HeadersView::of(&[]).iter().count(), 0);
    }

    #[test]
    fn a_broken_row_ends_the_iteration() {
        let whole = Headers::new().with("name", b"value");
        for cut in 0..whole.row().len() {
            assert_eq!(HeadersView::of(&whole.row()[..cut]).iter().count(), 0, "cut at {cut}");
        }
        assert_eq!(HeadersView::of(&[1, 0, 1, 0, 0xff, 0, 0, 0, 0]).iter().count(), 0);
    }

    #[test]
    fn names_that_do_not_fit_are_left_out() {
        let mut headers = Headers::new();
        headers.add(&"x".repeat(65_536), b"");
        assert!(headers.is_empty());
    }
}
