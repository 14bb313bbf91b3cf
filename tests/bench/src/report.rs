//! What a suite found: a table for people, JSON for machines, and the page between its markers.

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::measure::{Compared, Spread};

/// What one suite found.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) suite: &'static str,
    /// How the figures came about, in sentences.
    pub(crate) method: String,
    pub(crate) tables: Vec<Table>,
    pub(crate) expected: Vec<Expected>,
}

/// Figures side by side.
#[derive(Debug, Default)]
pub(crate) struct Table {
    pub(crate) head: Vec<String>,
    pub(crate) rows: Vec<Vec<String>>,
    /// The same for machines.
    pub(crate) data: Vec<Value>,
}

/// A figure that was expected.
#[derive(Debug)]
pub(crate) struct Expected {
    pub(crate) what: String,
    pub(crate) wanted: String,
    pub(crate) found: String,
    pub(crate) met: bool,
}

impl Expected {
    /// A ratio that should be at least so much.
    pub(crate) fn at_least(what: impl Into<String>, wanted: f64, found: Option<f64>) -> Option<Expected> {
        let found = found?;
        let (wanted_text, found_text) = (format!("≥ {wanted} ×"), format!("{found:.2} ×"));
        Some(Expected { what: what.into(), wanted: wanted_text, found: found_text, met: found >= wanted })
    }
}

impl Table {
    pub(crate) fn new(head: &[&str]) -> Table {
        Table { head: head.iter().map(|head| (*head).to_owned()).collect(), ..Table::default() }
    }

    /// The table of a suite that compares arms: for each shape and arm its rate, processor time, and ratio to the first arm.
    pub(crate) fn of_arms(shape: &str) -> Table {
        Table::new(&[
            shape,
            "arm",
            "records/s (least – most)",
            "CPU per record",
            "records/s per core",
            "× first arm, per core",
        ])
    }

    /// Adds the arms of one shape.
    pub(crate) fn add_arms(&mut self, shape: &str, data: &Value, compared: &Compared) {
        for figures in &compared.0 {
            let first = compared.0.first().map_or(f64::NAN, crate::measure::Figures::per_core);
            let (rate, cpu) = (figures.rate, figures.cpu);
            self.rows.push(vec![
                shape.to_owned(),
                figures.arm.clone(),
                format!("{} ({} – {})", count(rate.median), count(rate.least), count(rate.most)),
                nanoseconds(cpu.median),
                count(figures.per_core()),
                format!("{:.2}", figures.per_core() / first),
            ]);
            let mut row = figures.json();
            if let (Some(row), Some(data)) = (row.as_object_mut(), data.as_object()) {
                row.extend(data.clone());
            }
            self.data.push(row);
        }
    }

    fn markdown(&self) -> String {
        let mut text = format!("| {} |\n|", self.head.join(" | "));
        for column in 0..self.head.len() {
            let numbers = self.rows.first().and_then(|row| row.get(column)).is_some_and(|cell| is_number(cell));
            text.push_str(if numbers { " ---: |" } else { " --- |" });
        }
        text.push('\n');
        for row in &self.rows {
            // Writing to a `String` cannot fail.
            let _ = writeln!(text, "| {} |", row.join(" | "));
        }
        text
    }
}

impl Report {
    /// The section for people.
    pub(crate) fn markdown(&self, machine: &Machine, command: &str) -> String {
        let mut text = format!("`{command}`, on {machine}.\n{}\n", self.method);
        for table in &self.tables {
            text.push('\n');
            text.push_str(&table.markdown());
        }
        if !self.expected.is_empty() {
            text.push_str("\n| expected | at | found | met |\n| --- | ---: | ---: | --- |\n");
            for Expected { what, wanted, found, met } in &self.expected {
                let _ = writeln!(text, "| {what} | {wanted} | {found} | {} |", if *met { "yes" } else { "**no**" });
            }
        }
        text
    }

    /// The same for machines.
    pub(crate) fn json(&self, machine: &Machine, command: &str) -> Value {
        let expected = self.expected.iter().map(|expected| {
            json!({ "what": expected.what, "wanted": expected.wanted, "found": expected.found, "met": expected.met })
        });
        json!({
            "suite": self.suite,
            "command": command,
            "machine": { "processor": machine.processor, "cores": machine.cores, "system": machine.system },
            "figures": self.tables.iter().flat_map(|table| table.data.clone()).collect::<Vec<_>>(),
            "expected": expected.collect::<Vec<_>>(),
        })
    }

    /// Puts the section between the suite's markers in the page.
    pub(crate) fn write(&self, section: &str) -> Result<()> {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/benchmarks.md");
        let text = fs::read_to_string(&page).with_context(|| format!("could not read {}", page.display()))?;
        let text = replaced(&text, self.suite, section)
            .with_context(|| format!("{} has no markers for {}", page.display(), self.suite))?;
        fs::write(&page, text).with_context(|| format!("could not write {}", page.display()))
    }
}

fn replaced(text: &str, suite: &str, section: &str) -> Option<String> {
    let (open, close) = (format!("<!-- bench {suite} -->\n"), format!("<!-- end of bench {suite} -->"));
    let (before, rest) = text.split_once(&open)?;
    let (_, after) = rest.split_once(&close)?;
    Some(format!("{before}{open}\n{section}\n{close}{after}"))
}

/// Where the figures were taken.
#[derive(Debug)]
pub(crate) struct Machine {
    processor: String,
    cores: usize,
    system: String,
}

impl Machine {
    pub(crate) fn here() -> Machine {
        let information = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor = information.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let system = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Machine {
            processor: processor.map_or_else(|| "an unnamed processor".to_owned(), |(_, name)| name.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get),
            system: format!("{} {}", std::env::consts::OS, system.trim()),
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Machine { processor, cores, system } = self;
        write!(f, "{processor}, {cores} cores, {system}; cargo's dev profile as the tests use it")
    }
}

fn is_number(cell: &str) -> bool {
    cell.chars().next().is_some_and(|first| first.is_ascii_digit())
}

/// A number that a person can read at a glance.
pub(crate) fn count(number: f64) -> String {
    match number {
        number if number >= 1e6 => format!("{:.2} M", number / 1e6),
        number if number >= 1e4 => format!("{:.0} k", number / 1e3),
        number if number >= 1e3 => format!("{:.1} k", number / 1e3),
        number => format!("{number:.0}"),
    }
}

/// A time for one record.
pub(crate) fn nanoseconds(time: f64) -> String {
    match time {
        time if time >= 1e6 => format!("{:.2} ms", time / 1e6),
        time if time >= 1e3 => format!("{:.2} µs", time / 1e3),
        time => format!("{time:.0} ns"),
    }
}

/// A time with the least and the most.
pub(crate) fn spread(time: Spread) -> String {
    format!("{} ({} – {})", nanoseconds(time.median), nanoseconds(time.least), nanoseconds(time.most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_takes_the_place_of_the_one_before() {
        let page = "a\n<!-- bench log -->\nold\n<!-- end of bench log -->\nb\n";
        let new = replaced(page, "log", "new\n").unwrap();
        assert_eq!(new, "a\n<!-- bench log -->\n\nnew\n\n<!-- end of bench log -->\nb\n");
        assert_eq!(replaced(&new, "log", "new\n").unwrap(), new);
        assert_eq!(replaced(page, "mqtt", "new"), None);
    }

    #[test]
    fn the_page_has_a_place_for_every_suite() {
        let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/benchmarks.md")).unwrap();
        for suite in crate::SUITES {
            assert!(replaced(&page, suite, "").is_some(), "no markers for {suite}");
        }
    }

    #[test]
    fn figures_are_short() {
        assert_eq!(
            [count(5_123_456.0), count(77_400.0), count(1_234.0), count(12.0)],
            ["5.12 M", "77 k", "1.2 k", "12"]
        );
        assert_eq!([nanoseconds(12.4), nanoseconds(2_940.0)], ["12 ns", "2.94 µs"]);
    }
}
