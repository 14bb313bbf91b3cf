//! The headers of a record, in the byte layout of the contract.

use super::BatchError;

/// The headers of one record, borrowed from a batch: no bytes is no headers. Iterating allocates nothing.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct HeadersRef<'a>(&'a [u8]);

impl<'a> HeadersRef<'a> {
    /// The headers in `bytes`, unchecked: iteration stops where they are malformed.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The headers in `bytes`, checked; the error says what is wrong.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, &'static str> {
        if bytes.is_empty() {
            return Ok(Self(bytes));
        }
        let (count, mut rest) = bytes.split_first_chunk::<2>().ok_or("the number of headers is cut off")?;
        for _ in 0..u16::from_le_bytes(*count) {
            let (name, after) = split_name(rest).ok_or("a name is cut off")?;
            std::str::from_utf8(name).map_err(|_| "a name is not UTF-8")?;
            rest = split_value(after).ok_or("a value is cut off")?.1;
        }
        if rest.is_empty() { Ok(Self(bytes)) } else { Err("bytes follow the last header") }
    }

    /// The encoded form.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// The headers in order, as name and value.
    pub fn iter(&self) -> HeadersIter<'a> {
        match self.0.split_first_chunk::<2>() {
            Some((count, rest)) => HeadersIter { left: u16::from_le_bytes(*count), rest },
            None => HeadersIter { left: 0, rest: &[] },
        }
    }

    /// The value of the first header called `name`.
    pub fn get(&self, name: &str) -> Option<&'a [u8]> {
        self.iter().find(|(found, _)| *found == name).map(|(_, value)| value)
    }
}

impl std::fmt::Debug for HeadersRef<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter().map(|(name, value)| (name, String::from_utf8_lossy(value)))).finish()
    }
}

/// The iterator of [`HeadersRef::iter`].
#[derive(Clone, Debug)]
pub struct HeadersIter<'a> {
    left: u16,
    rest: &'a [u8],
}

impl<'a> Iterator for HeadersIter<'a> {
    type Item = (&'a str, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        let (name, after) = split_name(self.rest)?;
        let (value, rest) = split_value(after)?;
        let name = std::str::from_utf8(name).ok()?;
        self.rest = rest;
        Some((name, value))
    }
}

fn split_name(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(u16::from_le_bytes(*len) as usize)
}

fn split_value(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(u32::from_le_bytes(*len) as usize)
}

/// Owned headers, for building and changing them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(Vec<(String, Vec<u8>)>);

impl Headers {
    /// No headers.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a header; a name may occur more than once.
    pub fn push(&mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> &mut Self {
        self.0.push((name.into(), value.into()));
        self
    }

    /// The headers in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &[u8])> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    /// Decodes the headers of one record.
    pub fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        let parsed = HeadersRef::parse(bytes)?;
        Ok(Self(parsed.iter().map(|(name, value)| (name.to_owned(), value.to_vec())).collect()))
    }

    /// Appends the encoded form to `out`: nothing when there are no headers.
    pub fn encode_into(&self, out: &mut Vec<u8>) -> Result<(), BatchError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let too_large = |_| BatchError::TooLarge;
        out.extend_from_slice(&u16::try_from(self.0.len()).map_err(too_large)?.to_le_bytes());
        for (name, value) in &self.0 {
            out.extend_from_slice(&u16::try_from(name.len()).map_err(too_large)?.to_le_bytes());
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(&u32::try_from(value.len()).map_err(too_large)?.to_le_bytes());
            out.extend_from_slice(value);
        }
        Ok(())
    }

    /// The encoded form.
    pub fn encode(&self) -> Result<Vec<u8>, BatchError> {
        let mut out = Vec::new();
        self.encode_into(&mut out)?;
        Ok(out)
    }
}

impl<N: Into<String>, V: Into<Vec<u8>>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(pairs in proptest::collection::vec((".{0,12}", proptest::collection::vec(any::<u8>(), 0..20)), 0..6)) {
            let headers: Headers = pairs.clone().into_iter().collect();
            let bytes = headers.encode().unwrap();
            prop_assert_eq!(&Headers::decode(&bytes).unwrap(), &headers);
            let parsed = HeadersRef::parse(&bytes).unwrap();
            prop_assert_eq!(parsed.iter().map(|(n, v)| (n.to_owned(), v.to_vec())).collect::<Vec<_>>(), pairs);
        }

        #[test]
        fn any_bytes_are_parsed_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = HeadersRef::parse(&bytes);
            let _ = HeadersRef::new(&bytes).iter().count();
        }
    }

    #[test]
    fn the_layout_is_that_of_the_contract() {
        let bytes = Headers::from_iter([("ab", b"xyz".to_vec())]).encode().unwrap();
        assert_eq!(bytes, [1, 0, 2, 0, b'a', b'b', 3, 0, 0, 0, b'x', b'y', b'z']);
        assert_eq!(HeadersRef::new(&bytes).get("ab"), Some(&b"xyz"[..]));
        assert_eq!(HeadersRef::new(&bytes).get("b"), None);
    }

    #[test]
    fn trailing_bytes_and_bad_names_are_refused() {
        assert!(HeadersRef::parse(&[0, 0, 1]).is_err());
        assert!(HeadersRef::parse(&[1, 0, 1, 0, 0xff, 0, 0, 0, 0]).is_err());
        assert!(HeadersRef::parse(&[1]).is_err());
    }
}
