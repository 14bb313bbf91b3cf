//! What a person or a script sees: data on standard output, talk on standard error, colour and progress on a terminal only.

use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use clap::ValueEnum;
use ferrule_model::Diagnostic;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use crate::exit::{Exit, Failure, Outcome};

/// The form of data on standard output.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Columns for a person.
    #[default]
    Table,
    /// One JSON value.
    Json,
    /// YAML; several objects as several documents.
    Yaml,
}

/// When to use colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum ColorChoice {
    /// On a terminal, unless NO_COLOR is set.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What a piece of text means, and so how it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    Plain,
    Good,
    Bad,
    Warn,
    Faint,
    Strong,
}

/// Where everything that a command says goes through.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    pub(crate) format: Format,
    pub(crate) quiet: bool,
    data_color: bool,
    talk_color: bool,
    /// Standard output is a terminal, so it may be redrawn.
    pub(crate) live: bool,
    progress: bool,
}

impl Output {
    /// Reads from the surroundings what they can show. `no_color` is the environment variable of that name.
    pub(crate) fn new(format: Format, color: ColorChoice, quiet: bool, no_color: bool) -> Self {
        let (stdout, stderr) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        let on = |terminal: bool| match color {
            ColorChoice::Always => true,
            ColorChoice::Never => false,
            ColorChoice::Auto => terminal && !no_color,
        };
        Self { format, quiet, data_color: on(stdout), talk_color: on(stderr), live: stdout, progress: stderr && !quiet }
    }

    /// Says something to the person, on standard error, unless they asked for quiet.
    pub(crate) fn say(&self, text: impl AsRef<str>) {
        if !self.quiet {
            self.talk("", Tone::Plain, text.as_ref());
        }
    }

    /// Says something that a person must see even when they asked for quiet.
    pub(crate) fn warn(&self, text: impl AsRef<str>) {
        self.talk("warning: ", Tone::Warn, text.as_ref());
    }

    /// Says why the command failed.
    pub(crate) fn fail(&self, failure: &Failure) {
        for diagnostic in &failure.diagnostics {
            self.diagnostic(diagnostic);
        }
        if !failure.message.is_empty() {
            let label = failure.code.map_or_else(|| "error: ".to_owned(), |code| format!("error[{code}]: "));
            self.talk(&label, Tone::Bad, &failure.message);
        }
        if let Some(help) = &failure.help {
            self.talk("help: ", Tone::Good, help);
        }
    }

    /// Says what is wrong with a document. Its text begins with how bad it is and its code.
    pub(crate) fn diagnostic(&self, diagnostic: &Diagnostic) {
        let text = diagnostic.to_string();
        let tone = if diagnostic.is_error() { Tone::Bad } else { Tone::Warn };
        match text.split_once(": ") {
            Some((label, rest)) => self.talk(&format!("{label}: "), tone, rest),
            None => self.talk("", tone, &text),
        }
    }

    fn talk(&self, label: &str, tone: Tone, text: &str) {
        let line = format!("{}{text}\n", paint(label, tone, self.talk_color));
        // Nobody is left to tell if standard error is closed.
        let _ = io::stderr().write_all(line.as_bytes());
    }

    /// Whether data may be coloured.
    pub(crate) fn colors_data(&self) -> bool {
        self.data_color
    }

    /// Whether talk may be coloured.
    pub(crate) fn colors_talk(&self) -> bool {
        self.talk_color
    }

    /// Text for standard output in its tone.
    pub(crate) fn tone(&self, text: &str, tone: Tone) -> String {
        paint(text, tone, self.data_color)
    }

    /// Writes a line of data.
    pub(crate) fn line(&self, text: impl AsRef<str>) -> Outcome {
        let text = text.as_ref();
        self.raw(format!("{text}\n").as_bytes())
    }

    /// Writes bytes of data as they are. A reader that has gone away ends the command without a word.
    pub(crate) fn raw(&self, bytes: &[u8]) -> Outcome {
        let mut out = io::stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Err(Failure::silent(Exit::Failed)),
            Err(error) => Err(Failure::new(Exit::Failed, format!("cannot write to standard output: {error}"))),
        }
    }

    /// Writes one value as JSON or YAML.
    pub(crate) fn value<T: Serialize>(&self, value: &T) -> Outcome {
        match self.format {
            Format::Yaml => self.raw(to_yaml(value)?.as_bytes()),
            Format::Json | Format::Table => {
                let text =
                    serde_json::to_string_pretty(value).map_err(|e| Failure::new(Exit::Failed, e.to_string()))?;
                self.line(text)
            }
        }
    }

    /// Writes a list: a table, a JSON array, or YAML documents.
    pub(crate) fn list<T: Serialize>(&self, values: &[T], table: impl FnOnce() -> Table) -> Outcome {
        match self.format {
            Format::Table => self.table(&table()),
            Format::Json => self.value(&values),
            Format::Yaml => {
                for value in values {
                    self.raw(format!("---\n{}", to_yaml(value)?).as_bytes())?;
                }
                Ok(())
            }
        }
    }

    /// Writes a table.
    pub(crate) fn table(&self, table: &Table) -> Outcome {
        self.raw(self.render(table).as_bytes())
    }

    /// A table as it would be written.
    pub(crate) fn render(&self, table: &Table) -> String {
        table.render(self.data_color)
    }

    /// A spinner for work of unknown length; invisible unless standard error is a terminal.
    pub(crate) fn spinner(&self, message: impl Into<String>) -> ProgressBar {
        if !self.progress {
            return ProgressBar::hidden();
        }
        let bar = ProgressBar::new_spinner();
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
            bar.set_style(style);
        }
        bar.set_message(message.into());
        bar.enable_steady_tick(Duration::from_millis(100));
        bar
    }
}

/// A value as YAML, with a line end after it.
pub(crate) fn to_yaml<T: Serialize>(value: &T) -> Result<String, Failure> {
    // Through JSON, so that every value keeps the shape that `-o json` shows.
    let value = serde_json::to_value(value).map_err(|e| Failure::new(Exit::Failed, e.to_string()))?;
    let mut text = serde_saphyr::to_string(&value).map_err(|e| Failure::new(Exit::Failed, e.to_string()))?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}

fn paint(text: &str, tone: Tone, color: bool) -> String {
    let code = match tone {
        Tone::Plain => return text.to_owned(),
        _ if !color || text.is_empty() => return text.to_owned(),
        Tone::Good => "32",
        Tone::Bad => "31",
        Tone::Warn => "33",
        Tone::Faint => "2",
        Tone::Strong => "1",
    };
    format!("\u{1b}[{code}m{text}\u{1b}[0m")
}

/// Columns for a person.
#[derive(Clone, Debug)]
pub(crate) struct Table {
    heads: Vec<String>,
    rows: Vec<Vec<(String, Tone)>>,
}

impl Table {
    pub(crate) fn new<const N: usize>(heads: [&str; N]) -> Self {
        Self { heads: heads.iter().map(|h| (*h).to_owned()).collect(), rows: Vec::new() }
    }

    /// Adds a row of cells in their tones.
    pub(crate) fn toned<const N: usize>(&mut self, cells: [(String, Tone); N]) {
        self.rows.push(cells.into_iter().map(|(text, tone)| (one_line(&text), tone)).collect());
    }

    /// Puts a column before the others: a cell for each row.
    pub(crate) fn put_first(&mut self, head: &str, cells: impl Iterator<Item = String>) {
        self.heads.insert(0, head.to_owned());
        for (row, cell) in self.rows.iter_mut().zip(cells) {
            row.insert(0, (one_line(&cell), Tone::Plain));
        }
    }

    /// The table as text, one line a row; the last column is not padded.
    pub(crate) fn render(&self, color: bool) -> String {
        let mut widths: Vec<usize> = self.heads.iter().map(|h| h.chars().count()).collect();
        for row in &self.rows {
            for (width, (cell, _)) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = String::new();
        let mut line = |cells: &mut dyn Iterator<Item = (&str, Tone)>| {
            let mut parts = String::new();
            for (i, (cell, tone)) in cells.enumerate() {
                let width = widths.get(i).copied().unwrap_or(0);
                let last = i + 1 == widths.len();
                parts.push_str(&paint(cell, tone, color));
                if !last {
                    let gap = width.saturating_sub(cell.chars().count()) + 3;
                    parts.extend(std::iter::repeat_n(' ', gap));
                }
            }
            text.push_str(parts.trim_end());
            text.push('\n');
        };
        line(&mut self.heads.iter().map(|h| (h.as_str(), Tone::Strong)));
        for row in &self.rows {
            line(&mut row.iter().map(|(cell, tone)| (cell.as_str(), *tone)));
        }
        text
    }
}

/// Control characters would break the table (and could drive a terminal), so they are shown as spaces.
pub(crate) fn one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A rate or an amount in few characters: `0`, `12.5`, `3.4k`, `1.2M`.
pub(crate) fn short_number(value: f64) -> String {
    let (value, unit) = match value {
        v if v >= 1e9 => (v / 1e9, "G"),
        v if v >= 1e6 => (v / 1e6, "M"),
        v if v >= 1e4 => (v / 1e3, "k"),
        v => (v, ""),
    };
    if value.fract() == 0.0 { format!("{value:.0}{unit}") } else { format!("{value:.1}{unit}") }
}

/// A length of time in few characters: `4s`, `3m`, `2h`, `5d`.
pub(crate) fn short_duration(seconds: i64) -> String {
    match seconds.max(0) {
        s if s < 120 => format!("{s}s"),
        s if s < 7200 => format!("{}m", s / 60),
        s if s < 172_800 => format!("{}h", s / 3600),
        s => format!("{}d", s / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_lines_up_and_holds_no_control_characters() {
        let mut table = Table::new(["NAME", "READY"]);
        let row = |name: &str, ready: &str| [(name.to_owned(), Tone::Plain), (ready.to_owned(), Tone::Plain)];
        table.toned(row("a\u{1b}[31m\nb", "True"));
        table.toned(row("longer-name-here", "False"));
        assert_eq!(
            table.render(false),
            "NAME               READY\na [31m b           True\nlonger-name-here   False\n"
        );
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [(0.0, "0"), (12.5, "12.5"), (9_999.0, "9999"), (34_000.0, "34k"), (1_250_000.0, "1.2M")] {
            assert_eq!(short_number(value), text);
        }
        for (value, text) in [(-3, "0s"), (119, "119s"), (180, "3m"), (7200, "2h"), (200_000, "2d")] {
            assert_eq!(short_duration(value), text);
        }
    }
}
