//! Lines out of chunks: what arrives in pieces is kept until its line is complete.

use memchr::memchr;

/// Takes bytes as they come and gives lines, without their line ends (`\n` or `\r\n`).
///
/// A line longer than the limit comes in pieces of that length, so that nothing is lost and memory stays bounded.
#[derive(Debug)]
pub struct LineBuffer {
    bytes: Vec<u8>,
    /// Where the next line begins.
    start: usize,
    /// Up to where there is no line end.
    scanned: usize,
    limit: usize,
}

impl LineBuffer {
    /// With a limit for the length of a line.
    pub fn new(limit: usize) -> Self {
        Self { bytes: Vec::new(), start: 0, scanned: 0, limit: limit.max(1) }
    }

    /// Adds what arrived.
    pub fn extend(&mut self, chunk: &[u8]) {
        if self.start > 0 && (self.start == self.bytes.len() || self.start >= self.bytes.len() / 2) {
            self.bytes.drain(..self.start);
            self.scanned -= self.start;
            self.start = 0;
        }
        self.bytes.extend_from_slice(chunk);
    }

    /// Whether [`next_line`](Self::next_line) has one.
    pub fn has_line(&mut self) -> bool {
        self.find().is_some()
    }

    /// The next complete line, and how many bytes it took up together with its end.
    pub fn next_line(&mut self) -> Option<(&[u8], usize)> {
        let (len, taken) = self.find()?;
        let start = self.start;
        self.start += taken;
        self.scanned = self.start;
        Some((&self.bytes[start..start + len], taken))
    }

    /// Length of the next line without its end and with it.
    fn find(&mut self) -> Option<(usize, usize)> {
        let end = memchr(b'\n', &self.bytes[self.scanned..]).map(|at| self.scanned + at);
        let len = end.unwrap_or(self.bytes.len()) - self.start;
        if len > self.limit {
            return Some((self.limit, self.limit));
        }
        match end {
            Some(end) => {
                self.scanned = end;
                let carriage_return = len > 0 && self.bytes[end - 1] == b'\r';
                Some((len - usize::from(carriage_return), len + 1))
            }
            None => {
                self.scanned = self.bytes.len();
                None
            }
        }
    }

    /// What is left without a line end; to be taken when nothing more will come.
    pub fn rest(&mut self) -> Option<&[u8]> {
        let start = std::mem::replace(&mut self.start, self.bytes.len());
        self.scanned = self.bytes.len();
        Some(&self.bytes[start..]).filter(|rest| !rest.is_empty())
    }

    /// How many bytes are held.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.start
    }

    /// Whether nothing is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes up to `into.len()` bytes, whatever they are.
    pub fn take(&mut self, into: &mut [u8]) -> usize {
        let count = self.len().min(into.len());
        into[..count].copy_from_slice(&self.bytes[self.start..self.start + count]);
        self.start += count;
        self.scanned = self.scanned.max(self.start);
        count
    }

    /// Takes all bytes.
    pub fn take_all(&mut self) -> Vec<u8> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.drain(..self.start);
        self.start = 0;
        self.scanned = 0;
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(buffer: &mut LineBuffer) -> Vec<(String, usize)> {
        std::iter::from_fn(|| {
            buffer.next_line().map(|(line, taken)| (String::from_utf8_lossy(line).into_owned(), taken))
        })
        .collect()
    }

    fn pair(line: &str, taken: usize) -> (String, usize) {
        (line.to_owned(), taken)
    }

    #[test]
    fn lines_come_whole_however_they_arrive() {
        let text = b"one\r\n\ntwo three\nrest";
        for cut in 0..text.len() {
            let mut buffer = LineBuffer::new(100);
            let mut seen = Vec::new();
            for chunk in [&text[..cut], &text[cut..]] {
                buffer.extend(chunk);
                seen.extend(lines(&mut buffer));
            }
            assert_eq!(seen, [pair("one", 5), pair("", 1), pair("two three", 10)], "cut at {cut}");
            assert_eq!(buffer.rest(), Some(&b"rest"[..]));
            assert_eq!(buffer.rest(), None);
        }
    }

    #[test]
    fn a_long_line_comes_in_pieces() {
        let mut buffer = LineBuffer::new(4);
        buffer.extend(b"abcdefghij\nk\n");
        assert_eq!(lines(&mut buffer), [pair("abcd", 4), pair("efgh", 4), pair("ij", 3), pair("k", 2)]);
    }

    #[test]
    fn bytes_can_be_taken_too() {
        let mut buffer = LineBuffer::new(100);
        buffer.extend(b"ab\ncd");
        let mut two = [0; 2];
        assert_eq!(buffer.take(&mut two), 2);
        assert_eq!(&two, b"ab");
        assert_eq!(buffer.next_line(), Some((&b""[..], 1)));
        assert_eq!(buffer.take_all(), b"cd");
        assert!(buffer.is_empty());
    }
}
