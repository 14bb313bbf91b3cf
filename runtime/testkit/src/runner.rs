//! Runs a test binary that `cargo test` built for WebAssembly. A panic ends a guest, so each test runs in an instance of its
//! own, and all are reported together, the way libtest reports them.

use std::io::Write;

use ferrule_host::{Command, CommandOutcome};

use crate::Error;
use crate::report::{Report, Summary, Verdict};

/// What cargo and people put behind `--`, as far as a runner must know it. Options that libtest has and that change
/// nothing here (threads, colour of libtest itself) are taken and dropped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    /// Names, or parts of names, of the tests to run.
    pub filters: Vec<String>,
    /// Parts of names of tests not to run.
    pub skip: Vec<String>,
    /// Filters are whole names.
    pub exact: bool,
    /// Only list the tests.
    pub list: bool,
    /// With `list`: names and nothing else.
    pub terse: bool,
    /// Only ignored tests.
    pub ignored: bool,
    /// Ignored tests too.
    pub include_ignored: bool,
    /// Print what tests write, as it comes.
    pub nocapture: bool,
    /// Print what passed tests wrote as well.
    pub show_output: bool,
    /// Print less.
    pub quiet: bool,
}

impl Arguments {
    /// Reads them; options that take a value may have it in the same word or in the next.
    pub fn parse(words: &[String]) -> Result<Self, String> {
        let mut arguments = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let (name, value) = match word.split_once('=') {
                Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
                _ => (word.as_str(), None),
            };
            let mut value =
                || value.clone().or_else(|| words.next().cloned()).ok_or_else(|| format!("{name} needs a value"));
            match name {
                "--list" => arguments.list = true,
                "--exact" => arguments.exact = true,
                "--ignored" => arguments.ignored = true,
                "--include-ignored" => arguments.include_ignored = true,
                "--nocapture" | "--no-capture" => arguments.nocapture = true,
                "--show-output" => arguments.show_output = true,
                "--quiet" | "-q" => arguments.quiet = true,
                "--skip" => arguments.skip.push(value()?),
                "--format" => arguments.terse = value()? == "terse",
                "--test" | "--bench" => {}
                "--test-threads" | "--color" | "--logfile" | "-Z" | "--shuffle-seed" => {
                    value()?;
                }
                "--report-time"
                | "--ensure-time"
                | "--shuffle"
                | "--exclude-should-panic"
                | "--force-run-in-process" => {}
                other if other.starts_with('-') && other != "-" => {
                    return Err(format!("the option {other} is not known to this runner"));
                }
                filter => arguments.filters.push(filter.to_owned()),
            }
        }
        Ok(arguments)
    }

    /// For libtest itself: which tests are meant.
    fn selection(&self) -> Vec<String> {
        let mut words = self.filters.clone();
        words.extend(self.skip.iter().map(|skip| format!("--skip={skip}")));
        for (there, word) in
            [(self.exact, "--exact"), (self.ignored, "--ignored"), (self.include_ignored, "--include-ignored")]
        {
            if there {
                words.push(word.to_owned());
            }
        }
        words
    }
}

/// Runs the tests of a test binary. `program` is its name, as it would see it.
pub async fn run(
    bytes: &[u8],
    program: &str,
    arguments: &Arguments,
    out: &mut (dyn Write + Send),
    color: bool,
) -> Result<Summary, Error> {
    let failed = |error: &dyn std::fmt::Display| Error::Runner(format!("{program}: {error}"));
    let command = crate::engine()?.load_command(bytes).await.map_err(|e| failed(&e))?;
    if arguments.list {
        let mut words = arguments.selection();
        words.push("--list".to_owned());
        if arguments.terse {
            words.push("--format=terse".to_owned());
        }
        let listed = call(&command, program, &words).await;
        out.write_all(listed.stdout.as_bytes()).map_err(|e| failed(&e))?;
        return if listed.exit_code == 0 { Ok(Summary::default()) } else { Err(failed(&listed.stderr)) };
    }
    let all = list(&command, program, &["--include-ignored".to_owned()]).await?;
    let selected = list(&command, program, &arguments.selection()).await?;
    let ignored = if arguments.ignored || arguments.include_ignored {
        Vec::new()
    } else {
        list(&command, program, &["--ignored".to_owned()]).await?
    };
    let mut report = Report::new(out, color);
    let write = |result: std::io::Result<()>| result.map_err(|e| failed(&e));
    write(report.begin(selected.len()))?;
    report.filtered(all.len().saturating_sub(selected.len()));
    for name in &selected {
        let verdict = if ignored.contains(name) {
            Verdict::Ignored(String::new())
        } else {
            let mut words =
                vec![name.clone(), "--exact".to_owned(), "--nocapture".to_owned(), "--test-threads=1".to_owned()];
            if arguments.ignored || arguments.include_ignored {
                words.push("--include-ignored".to_owned());
            }
            let outcome = call(&command, program, &words).await;
            if arguments.nocapture {
                write(report.text(&told(&outcome)))?;
            }
            let verdict = verdict(name, &outcome);
            if arguments.show_output && verdict == Verdict::Passed {
                write(report.text(&told(&outcome)))?;
            }
            verdict
        };
        write(report.verdict(name, verdict))?;
    }
    report.end().map_err(|e| failed(&e))
}

async fn call(command: &Command, program: &str, words: &[String]) -> CommandOutcome {
    let arguments: Vec<String> = std::iter::once(program.to_owned()).chain(words.iter().cloned()).collect();
    command.run(&arguments).await
}

async fn list(command: &Command, program: &str, selection: &[String]) -> Result<Vec<String>, Error> {
    let mut words = selection.to_vec();
    words.extend(["--list".to_owned(), "--format=terse".to_owned()]);
    let listed = call(command, program, &words).await;
    if listed.exit_code != 0 || listed.trap.is_some() {
        let why = listed.trap.unwrap_or(listed.stderr);
        return Err(Error::Runner(format!(
            "{program} does not list its tests: {why}. The runner runs test binaries that use Rust's own test harness"
        )));
    }
    Ok(names(&listed.stdout))
}

/// The names of the tests in a terse list; benchmarks are left out.
fn names(list: &str) -> Vec<String> {
    list.lines().filter_map(|line| line.strip_suffix(": test")).map(str::to_owned).collect()
}

fn verdict(name: &str, outcome: &CommandOutcome) -> Verdict {
    if outcome.exit_code != 0 || outcome.trap.is_some() {
        let mut why = told(outcome);
        if let Some(trap) = &outcome.trap {
            // A panic says itself, better than the trap that it ends in, what was wrong.
            if !outcome.stderr.contains("panicked at") {
                why.push_str(&format!("\n{trap}"));
            }
        }
        return Verdict::Failed(why);
    }
    // libtest itself ignores what cannot work in WebAssembly, such as `should_panic`, and says so.
    let line =
        outcome.stdout.lines().find(|line| line.starts_with(&format!("test {name}")) && line.contains("... ignored"));
    match line {
        Some(line) => Verdict::Ignored(
            line.split_once("... ignored").map_or("", |(_, why)| why.trim_start_matches(", ")).to_owned(),
        ),
        None => Verdict::Passed,
    }
}

/// What the test wrote, without what libtest writes around it.
fn told(outcome: &CommandOutcome) -> String {
    let noise = |line: &&str| {
        let line = line.trim();
        !(line.is_empty()
            || line.starts_with("running 1 test")
            || line.starts_with("test result: ")
            || line == "failures:")
    };
    let own: Vec<&str> = outcome.stdout.lines().filter(noise).filter(|line| !line.ends_with("... ok")).collect();
    let mut text = own.join("\n");
    if !outcome.stderr.is_empty() {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(outcome.stderr.trim_end());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        Arguments::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn the_arguments_of_libtest_are_understood() {
        let arguments =
            parse("part --skip slow --skip=slower --exact --nocapture --test-threads 4 --color=always").unwrap();
        assert_eq!(arguments.filters, ["part"]);
        assert_eq!(arguments.skip, ["slow", "slower"]);
        assert!(arguments.exact && arguments.nocapture);
        assert_eq!(arguments.selection(), ["part", "--skip=slow", "--skip=slower", "--exact"]);
        assert!(parse("--list --format terse").unwrap().terse);
        assert!(parse("--unheard-of").unwrap_err().contains("--unheard-of"));
        assert!(parse("--skip").is_err());
    }

    #[test]
    fn outcomes_are_read_as_libtest_writes_them() {
        let outcome = |exit_code, stdout: &str, stderr: &str| CommandOutcome {
            exit_code,
            trap: (exit_code == 134).then(|| "unreachable".to_owned()),
            stdout: stdout.to_owned(),
            stderr: stderr.to_owned(),
        };
        assert_eq!(names("a::b: test\nc: bench\nd: test\n"), ["a::b", "d"]);
        let passed = outcome(0, "\nrunning 1 test\ntest a ... ok\n\ntest result: ok. 1 passed\n", "");
        assert_eq!(verdict("a", &passed), Verdict::Passed);
        let skipped = outcome(0, "\nrunning 1 test\ntest a - should panic ... ignored, no unwinding\n", "");
        assert_eq!(verdict("a", &skipped), Verdict::Ignored("no unwinding".to_owned()));
        let panicked = outcome(134, "\nrunning 1 test\n", "thread 'main' panicked at src/lib.rs:3:5:\nno\n");
        assert_eq!(
            verdict("a", &panicked),
            Verdict::Failed("thread 'main' panicked at src/lib.rs:3:5:\nno".to_owned())
        );
        let trapped = outcome(134, "", "");
        assert_eq!(verdict("a", &trapped), Verdict::Failed("\nunreachable".to_owned()));
    }
}
