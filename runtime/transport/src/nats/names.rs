//! What streams, subjects and keys are called at NATS.

use ferrule_model::ids::Uid;

/// The names of one log, made from its prefix: letters, digits and `_`, so that they never run into another log's.
#[derive(Clone, Debug)]
pub(super) struct Names {
    prefix: String,
}

impl Names {
    /// None for a prefix that would not do.
    pub(super) fn new(prefix: &str) -> Option<Self> {
        let plain = !prefix.is_empty() && prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        plain.then(|| Self { prefix: prefix.to_owned() })
    }

    /// The JetStream stream.
    pub(super) fn stream(&self, uid: &Uid) -> String {
        format!("{}-{}", self.prefix, escape(uid.as_str()))
    }

    /// The subject of its messages.
    pub(super) fn subject(&self, uid: &Uid) -> String {
        format!("{}.log.{}", self.prefix, escape(uid.as_str()))
    }

    /// Where NATS tells, without the content, that a message came.
    pub(super) fn news(&self, uid: &Uid) -> String {
        format!("{}.new.{}", self.prefix, escape(uid.as_str()))
    }

    /// Where it tells so of any stream.
    pub(super) fn all_news(&self) -> String {
        format!("{}.new.*", self.prefix)
    }

    /// The stream that a subject of messages or news belongs to.
    pub(super) fn uid(&self, subject: &str) -> Option<Uid> {
        let rest = subject.strip_prefix(&self.prefix)?;
        let escaped = rest.strip_prefix(".log.").or_else(|| rest.strip_prefix(".new."))?;
        unescape(escaped).map(Uid::new)
    }

    /// The bucket of the readers' cursors.
    pub(super) fn cursors(&self) -> String {
        format!("{}-cursors", self.prefix)
    }

    /// The bucket in which runtimes say that they live.
    pub(super) fn runtimes(&self) -> String {
        format!("{}-runtimes", self.prefix)
    }

    /// The key of a reader's cursor.
    pub(super) fn cursor(&self, uid: &Uid, reader: &str) -> String {
        format!("{}.{}", escape(uid.as_str()), escape(reader))
    }

    /// The subjects of all cursors of a stream.
    pub(super) fn cursors_of(&self, uid: &Uid) -> String {
        format!("$KV.{}.{}.*", self.cursors(), escape(uid.as_str()))
    }

    /// The reader's name in the subject of a cursor.
    pub(super) fn reader(&self, subject: &str) -> Option<String> {
        unescape(subject.rsplit('.').next()?)
    }
}

/// Letters, digits and `-` as they are, every other byte as `_` and two hexadecimal digits. No text is `_`.
fn escape(text: &str) -> String {
    if text.is_empty() {
        return "_".into();
    }
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("_{byte:02x}"));
        }
    }
    out
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut out = Vec::with_capacity(text.len());
    if text == "_" {
        return Some(String::new());
    }
    while let Some(byte) = bytes.next() {
        if byte == b'_' {
            let digits = [bytes.next()?, bytes.next()?];
            out.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
        } else {
            out.push(byte);
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back() {
        let names = Names::new("ferrule").unwrap();
        for text in ["5f3c-ab", "a.b c*>", "ü_x", "", "_"] {
            let uid = Uid::new(text);
            assert_eq!(names.uid(&names.subject(&uid)), Some(uid.clone()));
            let key = names.cursor(&uid, text);
            assert!(key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)), "{key}");
            assert_eq!(names.reader(&key).as_deref(), Some(text));
        }
        assert_eq!(names.stream(&Uid::new("a.b")), "ferrule-a_2eb");
    }

    #[test]
    fn a_prefix_that_could_run_into_another_is_refused() {
        assert!(Names::new("a-b").is_none() && Names::new("a.b").is_none() && Names::new("").is_none());
    }
}
