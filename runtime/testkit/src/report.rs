//! Prints tests the way libtest does, so that people and tools know how to read it.

use std::io::{self, Write};
use std::time::Instant;

/// What became of one test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It passed.
    Passed,
    /// It failed; what was expected, what was found, what the guest said.
    Failed(String),
    /// It was not run, and why.
    Ignored(String),
}

/// How many tests had which verdict.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Tests that passed.
    pub passed: usize,
    /// The names of tests that failed.
    pub failed: Vec<String>,
    /// Tests that were not run because they say so.
    pub ignored: usize,
    /// Tests that the filter left out.
    pub filtered: usize,
}

impl Summary {
    /// Whether nothing failed.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.failed.is_empty()
    }
}

/// Prints verdicts as they come, and the failures and the sum at the end.
pub struct Report<'a> {
    out: &'a mut (dyn Write + Send),
    color: bool,
    started: Instant,
    summary: Summary,
    failures: Vec<(String, String)>,
}

impl<'a> Report<'a> {
    /// A report on `out`.
    pub fn new(out: &'a mut (dyn Write + Send), color: bool) -> Self {
        Self { out, color, started: Instant::now(), summary: Summary::default(), failures: Vec::new() }
    }

    /// Says how many tests follow.
    pub fn begin(&mut self, count: usize) -> io::Result<()> {
        writeln!(self.out, "\nrunning {count} test{}", if count == 1 { "" } else { "s" })?;
        self.out.flush()
    }

    /// Counts tests that the filter left out.
    pub fn filtered(&mut self, count: usize) {
        self.summary.filtered += count;
    }

    /// Prints text of a test's own, if there is any.
    pub fn text(&mut self, text: &str) -> io::Result<()> {
        if text.is_empty() { Ok(()) } else { writeln!(self.out, "{}", text.trim_end()) }
    }

    /// Prints one verdict.
    pub fn verdict(&mut self, name: &str, verdict: Verdict) -> io::Result<()> {
        let (word, color, why) = match &verdict {
            Verdict::Passed => ("ok", "32", String::new()),
            Verdict::Failed(_) => ("FAILED", "31", String::new()),
            Verdict::Ignored(why) if why.is_empty() => ("ignored", "33", String::new()),
            Verdict::Ignored(why) => ("ignored", "33", format!(", {why}")),
        };
        let word = self.paint(word, color);
        writeln!(self.out, "test {name} ... {word}{why}")?;
        self.out.flush()?;
        match verdict {
            Verdict::Passed => self.summary.passed += 1,
            Verdict::Ignored(_) => self.summary.ignored += 1,
            Verdict::Failed(why) => {
                self.summary.failed.push(name.to_owned());
                self.failures.push((name.to_owned(), why));
            }
        }
        Ok(())
    }

    /// Prints the failures and the closing line.
    pub fn end(self) -> io::Result<Summary> {
        if !self.failures.is_empty() {
            writeln!(self.out, "\nfailures:\n")?;
            for (name, why) in &self.failures {
                writeln!(self.out, "---- {name} ----\n{}\n", why.trim_end())?;
            }
            writeln!(self.out, "\nfailures:")?;
            for (name, _) in &self.failures {
                writeln!(self.out, "    {name}")?;
            }
        }
        let word = if self.summary.is_ok() { self.paint("ok", "32") } else { self.paint("FAILED", "31") };
        let Summary { passed, failed, ignored, filtered } = &self.summary;
        writeln!(
            self.out,
            "\ntest result: {word}. {passed} passed; {} failed; {ignored} ignored; 0 measured; {filtered} filtered out; finished in {:.2}s\n",
            failed.len(),
            self.started.elapsed().as_secs_f64()
        )?;
        self.out.flush()?;
        Ok(self.summary)
    }

    fn paint(&self, text: &str, color: &str) -> String {
        if self.color { format!("\u{1b}[{color}m{text}\u{1b}[0m") } else { text.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_like_libtest() {
        let mut out = Vec::new();
        let mut report = Report::new(&mut out, false);
        report.begin(3).unwrap();
        report.verdict("a", Verdict::Passed).unwrap();
        report.verdict("b", Verdict::Failed("expected: 1\n   found: 2".to_owned())).unwrap();
        report.verdict("c", Verdict::Ignored("needs a broker".to_owned())).unwrap();
        report.filtered(4);
        let summary = report.end().unwrap();
        assert!(!summary.is_ok());
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with(
                "\nrunning 3 tests\ntest a ... ok\ntest b ... FAILED\ntest c ... ignored, needs a broker\n"
            ),
            "{text}"
        );
        assert!(text.contains("---- b ----\nexpected: 1\n   found: 2\n"), "{text}");
        assert!(text.contains("\nfailures:\n    b\n\ntest result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 4 filtered out; finished in "));
    }
}
