//! Masks values that came from a secret in whatever is shown to people.
//!
//! It finds a value as it is and in the forms in which programs commonly write it: escaped, in base64, percent-encoded, line by
//! line. It is there for accidents: whoever has a value can always write it in a form that nobody looks for.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::sync::Arc;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

/// What stands in the place of a value.
pub const MASK: &str = "****";

/// Texts with fewer bytes occur everywhere, so they are not looked for.
pub const SHORTEST: usize = 4;

/// A line of a value, or a piece of its base64 within that of something longer, is looked for from this many bytes on.
const SHORTEST_PART: usize = 8;

/// Values with more bytes are looked for in fewer forms: they are keys and certificates, and each form takes memory.
const LONG: usize = 4 << 10;

/// Knows the values of some secrets, and masks them in texts. Cheap to clone. Without values it changes nothing.
#[derive(Clone, Default)]
pub struct Redactor(Option<Arc<Needles>>);

struct Needles {
    texts: BTreeSet<String>,
    /// None: there is more to look for than can be; then everything is masked.
    search: Option<AhoCorasick>,
}

impl Redactor {
    /// One that masks these values.
    pub fn new<'a>(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut texts = BTreeSet::new();
        for value in values {
            forms(value, &mut texts);
        }
        Self::of(texts)
    }

    fn of(texts: BTreeSet<String>) -> Self {
        if texts.is_empty() {
            return Self::default();
        }
        let search = AhoCorasick::builder().kind(Some(AhoCorasickKind::ContiguousNFA)).build(&texts).ok();
        Self(Some(Arc::new(Needles { texts, search })))
    }

    /// One that masks what either masks.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        match (&self.0, &other.0) {
            (None, _) => other.clone(),
            (_, None) => self.clone(),
            (Some(one), Some(two)) if one.texts == two.texts => self.clone(),
            (Some(one), Some(two)) => Self::of(one.texts.union(&two.texts).cloned().collect()),
        }
    }

    /// Whether there is nothing to mask.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The bytes of the longest text that it looks for.
    pub fn longest(&self) -> usize {
        self.0.as_ref().and_then(|needles| needles.texts.iter().map(String::len).max()).unwrap_or_default()
    }

    /// The text with [`MASK`] in the place of each value.
    pub fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let Some(needles) = self.0.as_deref().filter(|_| text.len() >= SHORTEST) else { return Cow::Borrowed(text) };
        let Some(search) = &needles.search else { return Cow::Borrowed(MASK) };
        let mut spans: Vec<(usize, usize)> = Vec::new();
        // What overlaps is masked as one, so that nothing of a value is left beside another. Found by where they end.
        for found in search.find_overlapping_iter(text) {
            let (mut start, end) = (found.start(), found.end());
            while let Some(last) = spans.pop_if(|last| last.1 >= start) {
                start = start.min(last.0);
            }
            spans.push((start, end));
        }
        if spans.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut masked = String::with_capacity(text.len());
        let mut at = 0;
        for (start, end) in spans {
            masked.push_str(text.get(at..start).unwrap_or_default());
            masked.push_str(MASK);
            at = end;
        }
        masked.push_str(text.get(at..).unwrap_or_default());
        Cow::Owned(masked)
    }

    /// The same for a text that is one's own; it is copied only if something is masked.
    pub fn mask_owned(&self, text: String) -> String {
        match self.mask(&text) {
            Cow::Borrowed(same) if same.len() == text.len() => text,
            masked => masked.into_owned(),
        }
    }
}

/// Two are the same if they mask the same.
impl PartialEq for Redactor {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(one), Some(two)) => Arc::ptr_eq(one, two) || one.texts == two.texts,
            _ => false,
        }
    }
}

impl Eq for Redactor {}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.is_empty() { "Redactor(nothing)" } else { "Redactor(..)" })
    }
}

/// Adds every form of a value that is looked for.
fn forms(value: &[u8], into: &mut BTreeSet<String>) {
    if value.len() < SHORTEST {
        return;
    }
    let mut add = |text: String, shortest: usize| {
        if text.len() >= shortest {
            into.insert(text);
        }
    };
    for form in
        [STANDARD.encode(value), STANDARD_NO_PAD.encode(value), URL_SAFE.encode(value), URL_SAFE_NO_PAD.encode(value)]
    {
        add(form, SHORTEST);
    }
    if let Ok(text) = std::str::from_utf8(value) {
        add(text.to_owned(), SHORTEST);
        add(text.trim().to_owned(), SHORTEST);
        add(serde_json::Value::from(text).to_string().trim_matches('"').to_owned(), SHORTEST);
        add(format!("{text:?}").trim_matches('"').to_owned(), SHORTEST);
        if text.contains('\n') {
            text.lines().for_each(|line| add(line.trim().to_owned(), SHORTEST_PART));
        }
        // Of an address with a password, the password alone.
        if let Some((_, rest)) = text.split_once("://")
            && let Some((login, _)) = rest.rsplit_once('@')
            && let Some((_, password)) = login.split_once(':')
        {
            add(password.to_owned(), SHORTEST);
            add(percent_decoded(password), SHORTEST);
        }
    }
    if value.len() > LONG {
        return;
    }
    for shift in 0..3 {
        for engine in [STANDARD_NO_PAD, URL_SAFE_NO_PAD] {
            add(within(&engine.encode([&[0; 2][..shift], value].concat()), shift, value.len()), SHORTEST_PART);
        }
    }
    let letters = |keep: &'static str| move |byte: u8| byte.is_ascii_alphanumeric() || keep.as_bytes().contains(&byte);
    let kept: [&dyn Fn(u8) -> bool; 4] = [&letters("-_.~"), &letters("-_.!~*'()"), &letters(""), &|_| false];
    for keep in kept {
        for upper in [true, false] {
            let encoded = percent_encoded(value, keep, upper);
            add(encoded.replace("%20", "+"), SHORTEST);
            add(encoded, SHORTEST);
        }
    }
}

/// What base64 of anything with the value `shift` bytes (modulo 3) from its start has in it: without the characters at both ends
/// that depend on what stands beside the value.
fn within(encoded: &str, shift: usize, bytes: usize) -> String {
    let start = [0, 2, 3].get(shift).copied().unwrap_or_default();
    let end = (shift + bytes) * 8 / 6;
    encoded.get(start..end).unwrap_or_default().to_owned()
}

fn percent_encoded(value: &[u8], keep: &dyn Fn(u8) -> bool, upper: bool) -> String {
    let mut text = String::new();
    for byte in value {
        // Writing to a string does not fail.
        let _ = match (keep(*byte), upper) {
            (true, _) => write!(text, "{}", char::from(*byte)),
            (false, true) => write!(text, "%{byte:02X}"),
            (false, false) => write!(text, "%{byte:02x}"),
        };
    }
    text
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let digits = after.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()).filter(|_| *first == b'%') {
            Some(byte) => {
                bytes.push(byte);
                rest = after.get(2..).unwrap_or_default();
            }
            None => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[&str]) -> Redactor {
        Redactor::new(values.iter().map(|value| value.as_bytes()))
    }

    #[test]
    fn a_value_is_masked_in_each_of_its_forms() {
        let redactor = of(&["hunter2/ \"ö"]);
        for text in [
            "hunter2/ \"ö",
            r#"hunter2/ \"ö"#,
            "aHVudGVyMi8gIsO2",
            "hunter2%2F%20%22%C3%B6",
            "hunter2%2f+%22%c3%b6",
            "%68%75%6e%74%65%72%32%2f%20%22%c3%b6",
        ] {
            assert_eq!(redactor.mask(&format!("<{text}>")), "<****>", "{text}");
        }
        assert_eq!(redactor.mask("hunter3"), "hunter3");
        // As a part of what HTTP sends for `user:password`, whatever the length of the name.
        let redactor = of(&["correct-horse"]);
        for user in ["a", "ab", "abc", "abcd"] {
            let basic = STANDARD.encode(format!("{user}:correct-horse"));
            let shown = redactor.mask(&basic).into_owned();
            assert!(shown.contains(MASK) && shown.len() < basic.len() - 8, "{basic}: {shown}");
        }
    }

    #[test]
    fn parts_of_a_value_are_masked_where_they_are_secrets_of_their_own() {
        let redactor = of(&["mqtt://me:hun%2Fter@broker:1883", "-----BEGIN KEY-----\nMIIEvQIBADAN\n}\n"]);
        assert_eq!(redactor.mask("me hun/ter hun%2Fter broker"), "me **** **** broker");
        assert_eq!(redactor.mask("line 2: MIIEvQIBADAN }"), "line 2: **** }");
    }

    #[test]
    fn what_is_too_short_is_not_looked_for() {
        assert!(of(&["abc", ""]).is_empty());
        assert_eq!(of(&["abc", "abcd"]).mask("abc abcd abcde"), "abc **** ****e");
    }

    #[test]
    fn what_overlaps_is_masked_as_one() {
        let redactor = of(&["abcd", "cdef", "bc--"]);
        assert_eq!(redactor.mask("-abcdef- abcd cdef"), "-****- **** ****");
        assert_eq!(redactor.and(&of(&["wxyz"])).mask("wxyzabcd"), "****");
        assert_eq!(redactor.and(&Redactor::default()), redactor);
        assert!(!format!("{redactor:?}").contains("abcd"));
    }

    proptest! {
        #[test]
        fn nothing_of_a_value_is_left(
            values in proptest::collection::vec("[a-zA-Z0-9 /+%&=\\\\\"äß-]{4,24}", 1..4),
            around in proptest::collection::vec("[a-z0-9 :]{0,9}", 5),
        ) {
            let redactor = Redactor::new(values.iter().map(String::as_bytes));
            let mut text = String::new();
            for (value, around) in values.iter().zip(&around) {
                text.push_str(around);
                text.push_str(value);
                text.push_str(&STANDARD.encode(value));
                text.push_str(&percent_encoded(value.as_bytes(), &|byte| byte.is_ascii_alphanumeric(), true));
            }
            let masked = redactor.mask(&text);
            for value in &values {
                prop_assert!(!masked.contains(value.as_str()));
                prop_assert!(!masked.contains(&STANDARD.encode(value)));
            }
            // Once is enough.
            prop_assert_eq!(redactor.mask(&masked).into_owned(), masked.clone().into_owned());
            let other = "entirely different: 12345";
            if values.iter().all(|value| !other.contains(value.trim())) {
                prop_assert_eq!(redactor.mask(other), other);
            }
        }
    }
}
