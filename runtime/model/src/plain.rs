//! Texts of strangers as they may be kept and shown: nothing in them drives a terminal, forges a line, or turns text around.

use std::borrow::Cow;

/// The text as one line: each control character as its escape, such as `\n` and `\u{1b}`.
pub fn line(text: &str) -> Cow<'_, str> {
    escaped(text, |c| c == '\t')
}

/// The text with its lines: each other control character as its escape.
pub fn text(text: &str) -> Cow<'_, str> {
    escaped(text, |c| matches!(c, '\n' | '\t'))
}

/// At most `bytes` of a text, cut between characters.
pub fn clipped(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or_default()
}

fn escaped(text: &str, keeps: impl Fn(char) -> bool) -> Cow<'_, str> {
    let odd = |c: char| is_odd(c) && !keeps(c);
    if !text.contains(odd) {
        return Cow::Borrowed(text);
    }
    let mut clean = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if odd(c) {
            clean.extend(c.escape_default());
        } else {
            clean.push(c);
        }
    }
    Cow::Owned(clean)
}

/// Control characters, other ends of lines, and marks that turn the direction of text.
fn is_odd(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_forges_a_line_or_drives_a_terminal() {
        assert_eq!(line("a\nb\r\u{1b}[2Jc\td"), "a\\nb\\r\\u{1b}[2Jc\td");
        assert_eq!(text("a\nb\u{9b}2J\u{202e}c"), "a\nb\\u{9b}2J\\u{202e}c");
        assert!(matches!(line("plain äöü 漢字"), Cow::Borrowed(_)));
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        assert_eq!((clipped("aäöü", 4), clipped("aä", 9), clipped("ä", 1)), ("aä", "aä", ""));
    }
}
