//! `ferrule deadletter`: records that were given up, shown, offered again, copied and dropped.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use ferrule_api::report::{DeadLetter, ReplayProgress};
use ferrule_api::request::DeadLetterQuery;
use ferrule_api::{Client, Platform};
use ferrule_model::quantity::Span;
use ferrule_testkit::base64;
use serde_json::{Map, Value, json};
use tokio_stream::StreamExt;

use super::noun::Scope;
use crate::context::Context;
use crate::documents;
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{Format, Output, Table, Tone, one_line, short_number};
use crate::question;
use crate::views::time;

/// Letters that one request removes at most.
const DROP_BATCH: usize = 10_000;

/// Shows records that were given up, and does something about them.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  ferrule deadletter list --pipeline readings --since 1h\n  \
                        ferrule deadletter show 12\n  ferrule deadletter replay --pipeline readings\n  \
                        ferrule deadletter export --file kept.jsonl && ferrule deadletter drop --all")]
pub(crate) struct DeadLetters {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List dead letters, oldest first.
    List(Selection),
    /// Show one with its bytes.
    Show(Show),
    /// Offer dead letters to their pipelines again, after mending what was wrong; those that are delivered are removed.
    Replay(Selection),
    /// Write dead letters as JSON Lines, with the bytes in base64.
    Export(Export),
    /// Remove dead letters for good.
    Drop(DropLetters),
}

/// Which dead letters are meant: those that fit all of it.
#[derive(Clone, Debug, Args)]
struct Selection {
    /// Numbers, or beginnings of record ids; none: all.
    letters: Vec<String>,
    /// Only those of this pipeline.
    #[arg(long, value_name = "NAME")]
    pipeline: Option<String>,
    /// Only records of this ingress stream.
    #[arg(long, value_name = "NAME")]
    stream: Option<String>,
    /// Only those that this step or sink gave up.
    #[arg(long, value_name = "NAME")]
    step: Option<String>,
    /// Only those with this reason: its word (rejected, poison, malformed, attempts, age, too-large) or a part of its text.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Only those given up since then: a time such as 2026-01-31T12:00:00Z, or 1h for the last hour.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true, value_parser = parse_time)]
    since: Option<i64>,
    /// At most so many, the oldest.
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,
    #[command(flatten)]
    scope: Scope,
}

#[derive(Debug, Args)]
struct Show {
    /// Its number, or the beginning of the record's id.
    letter: String,
    /// Write the bytes of the payload, and nothing else.
    #[arg(long)]
    payload: bool,
}

#[derive(Debug, Args)]
struct Export {
    #[command(flatten)]
    selection: Selection,
    /// Write to this file, which must not exist yet [default: standard output].
    #[arg(long, value_name = "PATH")]
    file: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct DropLetters {
    #[command(flatten)]
    selection: Selection,
    /// All that there are.
    #[arg(long)]
    all: bool,
    /// Do not ask.
    #[arg(long, short = 'y')]
    yes: bool,
}

/// A time in the past in milliseconds since 1970: RFC 3339, or how long ago, such as `1h` or `-1h`.
pub(super) fn parse_time(text: &str) -> Result<i64, String> {
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Ok(time.as_millisecond());
    }
    let ago: Span = text.strip_prefix('-').unwrap_or(text).parse().map_err(|_| {
        "expected a time such as 2026-01-31T12:00:00Z, or how long ago it was, such as 90s, 30m, 1h or 2d".to_owned()
    })?;
    let ago = i64::try_from(ago.0.as_millis()).unwrap_or(i64::MAX);
    Ok(jiff::Timestamp::now().as_millisecond().saturating_sub(ago))
}

impl Selection {
    fn is_empty(&self) -> bool {
        let named = [&self.pipeline, &self.stream, &self.step, &self.reason, &self.scope.project];
        self.letters.is_empty() && self.since.is_none() && self.limit.is_none() && named.iter().all(|n| n.is_none())
    }

    fn query(&self, heads_only: bool) -> DeadLetterQuery {
        DeadLetterQuery {
            letters: self.letters.clone(),
            pipeline: self.pipeline.clone(),
            namespace: self.scope.namespace(),
            stream: self.stream.clone(),
            step: self.step.clone(),
            reason: self.reason.clone(),
            since_ms: self.since,
            limit: self.limit,
            heads_only,
        }
    }
}

impl DeadLetters {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        match self.verb {
            Verb::List(selection) => list(context, &selection).await,
            Verb::Show(show) => show.run(context).await,
            Verb::Replay(selection) => replay(context, &selection).await,
            Verb::Export(export) => export.run(context).await,
            Verb::Drop(drop) => drop.run(context).await,
        }
    }
}

async fn all(client: &Client, query: DeadLetterQuery) -> Result<Vec<DeadLetter>, Failure> {
    let mut letters = client.dead_letters(query).await?;
    let mut found = Vec::new();
    while let Some(letter) = letters.next().await {
        found.push(letter?);
    }
    Ok(found)
}

async fn list(context: &Context, selection: &Selection) -> Outcome {
    let client = context.client().await?;
    let letters = all(&client, selection.query(true)).await?;
    let output = &context.output;
    if output.format != Format::Table {
        let values: Vec<Value> = letters.iter().map(|letter| Value::Object(head_json(letter))).collect();
        return output.list(&values, || Table::new([]));
    }
    if letters.is_empty() {
        output.say("no dead letters");
        return Ok(());
    }
    let mut table = Table::new(["NUMBER", "TIME", "PIPELINE", "STEP", "CODE", "ATTEMPTS", "BYTES", "REASON"]);
    for letter in &letters {
        let plain = |text: String| (text, Tone::Plain);
        table.toned([
            plain(letter.number.to_string()),
            plain(time(letter.time_ms)),
            plain(if letter.pipeline.is_empty() { "-".to_owned() } else { letter.pipeline.clone() }),
            plain(letter.step.clone()),
            (letter.code.clone(), Tone::Bad),
            plain(letter.attempts.to_string()),
            plain(short_number(letter.payload_bytes as f64)),
            (letter.reason.clone(), Tone::Faint),
        ]);
    }
    output.table(&table)
}

impl Show {
    async fn run(self, context: &Context) -> Outcome {
        let client = context.client().await?;
        let query = DeadLetterQuery { letters: vec![self.letter.clone()], ..DeadLetterQuery::default() };
        let Some(letter) = all(&client, query).await?.into_iter().next() else {
            return Err(super::noun::not_found(&format!("dead letter `{}`", self.letter)));
        };
        let output = &context.output;
        match output.format {
            _ if self.payload => output.raw(&letter.record.payload),
            Format::Table => output.raw(text(output, &letter).as_bytes()),
            _ => output.value(&whole_json(&letter, Encoding::Text)),
        }
    }
}

impl Export {
    async fn run(self, context: &Context) -> Outcome {
        let client = context.client().await?;
        let mut letters = client.dead_letters(self.selection.query(false)).await?;
        let mut file = self.file.as_deref().map(new_file).transpose()?;
        let mut count = 0_u64;
        while let Some(letter) = letters.next().await {
            let line = format!("{}\n", whole_json(&letter?, Encoding::Base64));
            match &mut file {
                Some(file) => file.write_all(line.as_bytes())?,
                None => context.output.raw(line.as_bytes())?,
            }
            count += 1;
        }
        if let Some(file) = file {
            // Whoever drops them next relies on it.
            file.sync_all()?;
        }
        context.output.say(match self.file {
            Some(path) => format!("{} written to {}", letters_of(count), path.display()),
            None => format!("{} written", letters_of(count)),
        });
        Ok(())
    }
}

fn new_file(path: &std::path::Path) -> Result<File, Failure> {
    OpenOptions::new().write(true).create_new(true).open(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::AlreadyExists => Failure::new(Exit::Conflict, format!("{} exists already", path.display()))
            .with_help("name another file, or remove that one"),
        _ => {
            let failure = Failure::from(error);
            Failure { message: format!("cannot write {}: {}", path.display(), failure.message), ..failure }
        }
    })
}

impl DropLetters {
    async fn run(self, context: &Context) -> Outcome {
        if self.all != self.selection.is_empty() {
            return Err(Failure::usage("which dead letters? Give numbers or a filter such as --pipeline, or --all")
                .with_help("`ferrule deadletter list` takes the same filters and shows what fits"));
        }
        let client = context.client().await?;
        let numbers: Vec<u64> =
            all(&client, self.selection.query(true)).await?.iter().map(|letter| letter.number).collect();
        let output = &context.output;
        if numbers.is_empty() {
            output.say("no dead letters to drop");
            return Ok(());
        }
        if !self.yes && !asked(&letters_of(numbers.len() as u64))? {
            return Err(Failure::new(Exit::Failed, "nothing was dropped"));
        }
        let (mut dropped, mut busy) = (0, Vec::new());
        for numbers in numbers.chunks(DROP_BATCH) {
            let outcome = client.drop_dead_letters(numbers.to_vec()).await?;
            dropped += outcome.dropped;
            busy.extend(outcome.busy);
        }
        output.say(format!("{} dropped", letters_of(dropped)));
        match &busy[..] {
            [] => Ok(()),
            _ => Err(Failure::new(Exit::Conflict, format!("{} are being replayed, and were left", busy.len()))
                .with_help("drop them when the replay is over")),
        }
    }
}

/// Asks on a terminal; without one, says that it must be told.
fn asked(what: &str) -> Result<bool, Failure> {
    if !question::can_ask() {
        return Err(Failure::usage(format!("{what} would be dropped for good; say so with --yes")));
    }
    Ok(question::ask(&format!("Drop {what} for good?"))?)
}

async fn replay(context: &Context, selection: &Selection) -> Outcome {
    let output = &context.output;
    let client = context.client().await?;
    let mut reports = client.replay_dead_letters(selection.query(true)).await?;
    let spinner = output.spinner("replaying");
    let mut last = ReplayProgress::default();
    let mut problems = Vec::new();
    loop {
        let report = tokio::select! {
            report = reports.next() => report,
            _ = tokio::signal::ctrl_c() => {
                spinner.finish_and_clear();
                output.say(summary(&last));
                return Err(Failure::new(Exit::Failed, "interrupted; the server ends the batch that is under way")
                    .with_help("the same command goes on with what is left"));
            }
        };
        let Some(report) = report else { break };
        let mut report = match report {
            Ok(report) => report,
            Err(error) => {
                spinner.finish_and_clear();
                output.say(summary(&last));
                return Err(error.into());
            }
        };
        problems.append(&mut report.problems);
        let done = report.delivered + report.filtered + report.given_up + report.left;
        spinner.set_message(format!("replaying: {done} of {}", report.total));
        last = report;
    }
    spinner.finish_and_clear();
    if output.format != Format::Table {
        output.value(&json!({
            "total": last.total, "delivered": last.delivered, "filtered": last.filtered, "givenUp": last.given_up,
            "left": last.left,
        }))?;
    } else if last.total == 0 {
        output.say("no dead letters to replay");
    } else {
        output.line(summary(&last))?;
    }
    if last.left > 0 && !problems.is_empty() {
        let failure = documents::refused(problems);
        return Err(Failure { message: format!("{} were left as they are", letters_of(last.left)), ..failure });
    }
    if last.given_up > 0 {
        let failure = Failure::new(Exit::Failed, format!("{} were given up again", letters_of(last.given_up)));
        return Err(failure.with_help("`ferrule deadletter list` shows why; nothing is lost"));
    }
    Ok(())
}

fn summary(progress: &ReplayProgress) -> String {
    let ReplayProgress { total, delivered, filtered, given_up, left, .. } = progress;
    format!("{total} replayed: {delivered} delivered, {filtered} filtered, {given_up} given up again, {left} left")
}

fn letters_of(count: u64) -> String {
    if count == 1 { "1 dead letter".to_owned() } else { format!("{count} dead letters") }
}

/// How bytes are written in JSON.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Encoding {
    /// As text if all of them are text, and so it is said.
    Text,
    Base64,
}

/// All but the record's bytes.
fn head_json(letter: &DeadLetter) -> Map<String, Value> {
    let mut value = Map::new();
    let mut put = |name: &str, content: Value| {
        value.insert(name.to_owned(), content);
    };
    put("number", json!(letter.number));
    put("id", json!(letter.id));
    put("time", json!(time(letter.time_ms)));
    for (name, text) in [
        ("pipeline", &letter.pipeline),
        ("stream", &letter.stream),
        ("step", &letter.step),
        ("component", &letter.component),
        ("code", &letter.code),
        ("error", &letter.error),
        ("reason", &letter.reason),
        ("address", &letter.address),
        ("obstacle", &letter.obstacle),
    ] {
        if !text.is_empty() {
            put(name, json!(text));
        }
    }
    put("attempts", json!(letter.attempts));
    put("payloadBytes", json!(letter.payload_bytes));
    if letter.truncated > 0 {
        put("truncatedBytes", json!(letter.truncated));
    }
    if let Some(ns) = letter.record.timestamp_ns {
        let time = jiff::Timestamp::from_nanosecond(i128::from(ns)).map(|t| t.to_string());
        put("timestamp", json!(time.unwrap_or_else(|_| ns.to_string())));
    }
    value
}

fn whole_json(letter: &DeadLetter, encoding: Encoding) -> Value {
    let record = &letter.record;
    let mut value = head_json(letter);
    let parts = [&record.payload, &record.key].into_iter().chain(record.headers.iter().map(|(_, bytes)| bytes));
    let is_text = encoding == Encoding::Text && parts.into_iter().all(|bytes| std::str::from_utf8(bytes).is_ok());
    let write = |bytes: &[u8]| match is_text {
        true => json!(String::from_utf8_lossy(bytes)),
        false => json!(base64::encode(bytes)),
    };
    let headers: Vec<Value> =
        record.headers.iter().map(|(name, bytes)| json!({"name": name, "value": write(bytes)})).collect();
    value.insert("encoding".to_owned(), json!(if is_text { "text" } else { "base64" }));
    value.insert("key".to_owned(), write(&record.key));
    value.insert("headers".to_owned(), json!(headers));
    value.insert("payload".to_owned(), write(&record.payload));
    Value::Object(value)
}

/// A letter for a person: what is known of it, then its bytes.
fn text(output: &Output, letter: &DeadLetter) -> String {
    let mut text = String::new();
    let mut line = |name: &str, content: &str| {
        if !content.is_empty() {
            let name = output.tone(&format!("{name:<11}"), Tone::Strong);
            text.push_str(&format!("{name} {}\n", one_line(content)));
        }
    };
    let record = &letter.record;
    line("Number", &letter.number.to_string());
    line("Id", &letter.id);
    line("Time", &time(letter.time_ms));
    line("Pipeline", &letter.pipeline);
    line("Stream", &letter.stream);
    line("Step", &letter.step);
    line("Component", &letter.component);
    match letter.error.as_str() {
        "" => line("Code", &letter.code),
        error => line("Code", &format!("{} ({error})", letter.code)),
    }
    line("Reason", &letter.reason);
    line("Attempts", &letter.attempts.to_string());
    line("Address", &letter.address);
    if !letter.obstacle.is_empty() {
        line("Replay", &format!("not possible: {}", letter.obstacle));
    }
    line("Key", &short(&record.key));
    for (name, value) in &record.headers {
        line("Header", &format!("{name}: {}", short(value)));
    }
    let cut = match letter.truncated {
        0 => String::new(),
        more => format!("; {more} more were not kept"),
    };
    line("Payload", &format!("{} bytes{cut}", record.payload.len()));
    match std::str::from_utf8(&record.payload) {
        // Other control characters could drive the terminal.
        Ok(payload) if !payload.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\t' | '\r')) => {
            text.push_str(payload);
            if !payload.is_empty() && !payload.ends_with('\n') {
                text.push('\n');
            }
        }
        _ => text.push_str(&hex(&record.payload)),
    }
    text
}

/// Bytes in one line: as text where they are text, as base64 with a mark otherwise.
fn short(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => format!("base64:{}", base64::encode(bytes)),
    }
}

/// Bytes as lines of sixteen, in hexadecimal and as far as they are letters.
fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for (index, line) in bytes.chunks(16).enumerate() {
        let digits: String = line.iter().map(|byte| format!("{byte:02x} ")).collect();
        let letters: String =
            line.iter().map(|byte| if (0x20..0x7f).contains(byte) { char::from(*byte) } else { '.' }).collect();
        text.push_str(&format!("{:08x}  {digits:<48} {letters}\n", index * 16));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_absolute_or_ago() {
        assert_eq!(parse_time("1970-01-01T00:00:01Z").unwrap(), 1_000);
        let now = jiff::Timestamp::now().as_millisecond();
        for text in ["1h", "-1h"] {
            let hour = parse_time(text).unwrap();
            assert!((now - 3_600_000..now - 3_500_000).contains(&hour), "{hour}");
        }
        assert!(parse_time("yesterday").unwrap_err().contains("such as"));
    }

    #[test]
    fn bytes_are_text_or_hexadecimal() {
        assert_eq!(hex(b"a\0\xff"), format!("00000000  61 00 ff {}a..\n", " ".repeat(40)));
        let mut letter = DeadLetter { number: 3, ..DeadLetter::default() };
        letter.record.payload = b"plain".to_vec();
        assert_eq!(whole_json(&letter, Encoding::Text)["payload"], "plain");
        assert_eq!(whole_json(&letter, Encoding::Base64)["payload"], "cGxhaW4=");
        letter.record.key = vec![0xff];
        let mixed = whole_json(&letter, Encoding::Text);
        assert_eq!((&mixed["encoding"], &mixed["key"]), (&json!("base64"), &json!("/w==")));
    }
}
