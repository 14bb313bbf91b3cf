//! The documents by copy and paste: runs the commands that the tutorial, the README and the samples show, and compares what they print with what is shown.

use crate::process;
use anyhow::{Context as _, Result, bail, ensure};
use std::collections::VecDeque;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

/// Longer than any command of the tutorial takes on a slow machine.
const DEADLINE: Duration = Duration::from_secs(1_800);

/// How long a server may take to get ready.
const READY: Duration = Duration::from_secs(120);

/// What a reader's data folder is called in the documents.
const DATA: &str = "/home/you/.local/share/ferrule";

/// Printed by the shell after each command, with its exit code.
const MARK: &str = "-- the command has ended: ";

/// A command as a document shows it, with what it is shown to print.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Step {
    command: String,
    shown: Vec<String>,
}

/// Runs the first pipeline of the README, the samples of `hello`, and the tutorial.
pub(crate) fn run() -> Result<()> {
    let began = Instant::now();
    let work = process::target().join("tutorial");
    if work.exists() {
        fs::remove_dir_all(&work).with_context(|| format!("could not empty {}", work.display()))?;
    }
    fs::create_dir_all(&work)?;
    let tutorial = fs::read_to_string(process::root().join("docs/tutorial.md"))?;
    let readme = fs::read_to_string(process::root().join("README.md"))?;
    let hello = fs::read_to_string(process::root().join("samples/hello/README.md"))?;
    ensure!(!steps(&hello).is_empty(), "samples/hello/README.md shows no commands");
    let mut shell = Shell::start(&work)?;
    let all = [first_pipeline(&readme)?, steps(&hello), steps(&tutorial)].concat();
    let followed = all.iter().try_for_each(|step| shell.follow(step));
    // Servers are stopped whatever became of the steps; the first fault is the one to tell.
    let ended = shell.end();
    followed.and(ended)?;
    eprintln!("tutorial: every command does what is shown, in {} minutes", began.elapsed().as_secs().div_ceil(60));
    Ok(())
}

/// The commands in the `console` blocks of a document.
fn steps(document: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut inside = false;
    let mut until: Option<String> = None;
    for line in document.lines() {
        if !inside {
            inside = line == "```console";
            continue;
        }
        if let (Some(end), Some(step)) = (&until, steps.last_mut()) {
            step.command.push('\n');
            step.command.push_str(line);
            if line == end {
                until = None;
            }
        } else if line == "```" {
            inside = false;
        } else if let Some(command) = line.strip_prefix("$ ") {
            // A command with a document in it goes on to the word that ends the document.
            until = command.split_once("<<'").and_then(|(_, rest)| Some(rest.split_once('\'')?.0.to_owned()));
            steps.push(Step { command: command.to_owned(), shown: Vec::new() });
        } else if let Some(step) = steps.last_mut() {
            step.shown.push(line.to_owned());
        }
    }
    steps
}

/// The commands under the README's heading. The pipeline there does not end by itself: it gets Ctrl-C, and must end in order.
fn first_pipeline(readme: &str) -> Result<Vec<Step>> {
    let (_, section) = readme.split_once("## The first pipeline").context("the README has no first pipeline")?;
    let block = section.split_once("```sh\n").and_then(|(_, rest)| rest.split_once("```"));
    let (block, _) = block.context("the README's first pipeline has no commands")?;
    let endless = |line: &str| line.starts_with("ferrule run");
    let commands = block.lines().map(|line| match endless(line) {
        true => format!("timeout --preserve-status --signal=INT 10 {line}"),
        false => line.to_owned(),
    });
    Ok(commands.map(|command| Step { command, shown: Vec::new() }).collect())
}

/// One shell for all commands, so that folders and variables stay as a reader's do.
struct Shell {
    shell: Child,
    input: ChildStdin,
    output: Receiver<String>,
    data: String,
    servers: usize,
}

impl Shell {
    fn start(work: &std::path::Path) -> Result<Shell> {
        let data = work.join("data");
        let mut command = process::command("bash");
        command.env("FERRULE_DATA", &data).env("TMPDIR", work).env_remove("CARGO_TARGET_DIR");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = command.spawn().context("could not start bash")?;
        let (Some(mut input), Some(output)) = (shell.stdin.take(), shell.stdout.take()) else {
            bail!("bash has no standard input and output");
        };
        input.write_all(b"exec 2>&1\n")?;
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let lines = BufReader::new(output).split(b'\n').map_while(Result::ok);
            lines.map(|line| String::from_utf8_lossy(&line).into_owned()).all(|line| sender.send(line).is_ok());
        });
        Ok(Shell { shell, input, output: receiver, data: data.display().to_string(), servers: 0 })
    }

    fn follow(&mut self, step: &Step) -> Result<()> {
        let command = step.command.split("  #").next().unwrap_or_default().trim_end();
        eprintln!("$ {}", command.lines().next().unwrap_or_default());
        if command.starts_with("cargo install") {
            // The tools are installed before, in the version that the project is tried with.
            return Ok(());
        }
        let printed = match command {
            "ferrule serve" => self.serve()?,
            command => {
                let (printed, code) = self.run(command)?;
                ensure!(code == "0", "`{command}` ended with exit code {code}:\n{}", printed.join("\n"));
                printed
            }
        };
        compare(&step.shown, &printed, &self.data).with_context(|| {
            format!("`{command}` is shown to print\n{}\nand prints\n{}", step.shown.join("\n"), printed.join("\n"))
        })
    }

    /// Runs a command to its end; the lines that it prints, and its exit code.
    fn run(&mut self, command: &str) -> Result<(Vec<String>, String)> {
        writeln!(self.input, "{{ {command}\n}} < /dev/null; printf '%s%s\\n' '{MARK}' $?")?;
        let (mut printed, began) = (Vec::new(), Instant::now());
        loop {
            let left = DEADLINE.saturating_sub(began.elapsed());
            let line = self.output.recv_timeout(left).with_context(|| format!("`{command}` did not end"))?;
            match line.split_once(MARK) {
                Some((rest, code)) => {
                    printed.extend((!rest.is_empty()).then(|| rest.to_owned()));
                    return Ok((printed, code.to_owned()));
                }
                None => printed.push(line),
            }
        }
    }

    /// The second terminal: a server that goes on, until the reader's last command was run.
    fn serve(&mut self) -> Result<Vec<String>> {
        self.servers += 1;
        let log = format!("$TMPDIR/serve-{}.log", self.servers);
        self.run(&format!("ferrule serve > {log} 2>&1 &"))?;
        let began = Instant::now();
        loop {
            let (printed, _) = self.run(&format!("cat {log}"))?;
            if printed.iter().any(|line| line.starts_with("ready")) {
                return Ok(printed);
            }
            ensure!(began.elapsed() < READY, "`ferrule serve` did not get ready:\n{}", printed.join("\n"));
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Stops the servers, which must end in order.
    fn end(mut self) -> Result<()> {
        let (printed, code) = self.run("for job in $(jobs -p); do kill -TERM $job && wait $job || exit 1; done")?;
        ensure!(code == "0", "a server did not end in order:\n{}", printed.join("\n"));
        drop(self.input);
        self.shell.wait()?;
        Ok(())
    }
}

/// Whether what was printed is what is shown. A line `...` stands for any lines, `...` in a line for any text; runs of digits,
/// digests and runs of spaces are taken for each other, except where tests are counted: there only the duration may differ.
fn compare(shown: &[String], printed: &[String], data: &str) -> Result<()> {
    let printed = printed.iter().filter(|line| !line.trim().is_empty()).map(|line| plain(&line.replace(data, DATA)));
    let mut rest: VecDeque<String> = printed.collect();
    let mut any = shown.is_empty();
    for line in shown.iter().filter(|line| !line.trim().is_empty()) {
        if line.trim() == "..." {
            any = true;
            continue;
        }
        let wanted = plain(line);
        loop {
            let Some(next) = rest.pop_front() else { bail!("nothing fits the line `{line}`") };
            if fits(&wanted, &next) {
                break;
            }
            ensure!(any, "the line `{line}` is shown where `{next}` is printed");
        }
        any = false;
    }
    ensure!(any || rest.is_empty(), "more is printed than is shown: `{}`", rest[0]);
    Ok(())
}

fn fits(wanted: &str, line: &str) -> bool {
    let mut parts = wanted.split("...");
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let mut open = false;
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
        open = part.is_empty();
    }
    open || rest.is_empty()
}

/// The line without what differs from run to run.
fn plain(line: &str) -> String {
    let counts = line.strip_prefix("running ").is_some_and(|rest| rest.ends_with(" test") || rest.ends_with(" tests"));
    if !counts && !line.starts_with("test result:") {
        return neutral(line);
    }
    let (counted, duration) = line.split_once("; finished in ").unwrap_or((line, ""));
    [counted.split_whitespace().collect::<Vec<_>>().join(" "), neutral(duration)].join("; ")
}

/// The line without numbers and digests.
fn neutral(line: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    for word in line.split_whitespace() {
        let mut text = String::new();
        let mut digest = false;
        for part in word.split_inclusive("sha256:") {
            let part = if digest { part.trim_start_matches(|c: char| c.is_ascii_hexdigit()) } else { part };
            let part = if digest { part.strip_prefix("...").unwrap_or(part) } else { part };
            digest = part.ends_with("sha256:");
            for character in part.chars() {
                let number = character.is_ascii_digit() || (character == '.' && text.ends_with('#'));
                match number {
                    true if text.ends_with('#') => {}
                    true => text.push('#'),
                    false => text.push(character),
                }
            }
        }
        // Whether something took minutes is the machine's affair.
        if text == "#s" && words.last().is_some_and(|word| word == "#m") {
            words.pop();
        }
        words.push(text);
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn commands_and_what_they_print_are_found() {
        let document =
            "text\n```console\n$ one\nprinted\n$ two <<'END'\n$ no command\nEND\nout\n```\n```yaml\n$ not this\n```\n";
        let found = steps(document);
        assert_eq!(found[0], Step { command: "one".into(), shown: vec!["printed".into()] });
        assert_eq!(found[1], Step { command: "two <<'END'\n$ no command\nEND".into(), shown: vec!["out".into()] });
        assert_eq!(found.len(), 2);
    }

    #[test]
    fn what_differs_from_run_to_run_is_no_difference() {
        let shown = lines("...\nname   0.1.0 (sha256:2cb2165940fa...)\n{\"even\":8}\ndone in 0.5s ... data=...\n");
        let printed = "compiling\nmore\nname 0.1.12 (sha256:00ff00)\n\n{\"even\":10}\ndone in 1m 12s x data=/tmp";
        compare(&shown, &lines(printed), "/tmp").unwrap();
        for wrong in [
            "name 0.1.12 (sha256:00ff00)\n{\"odd\":10}\ndone in 12s x data=/tmp",
            "name 0.1.12 (sha256:00ff00)\n{\"even\":10}",
            "name 0.1.12 (sha256:00ff00)\n{\"even\":10}\ndone in 12s x data=/tmp\nmore",
        ] {
            assert!(compare(&shown, &lines(wrong), "/tmp").is_err(), "{wrong}");
        }
        let tests = |count: usize, passed: usize, duration: &str| {
            lines(&format!("running {count} tests\ntest result: ok. {passed} passed; 0 failed; finished in {duration}"))
        };
        compare(&tests(11, 11, "0.98s"), &tests(11, 11, "1m 2.1s"), "/tmp").unwrap();
        assert!(compare(&tests(11, 11, "0.98s"), &tests(11, 3, "0.98s"), "/tmp").is_err(), "counts of tests are exact");
        assert!(compare(&tests(11, 11, "0.98s"), &tests(3, 11, "0.98s"), "/tmp").is_err());
        compare(&lines("the socket is /home/you/.local/share/ferrule/s"), &lines("the socket is /w/s"), "/w").unwrap();
    }
}
