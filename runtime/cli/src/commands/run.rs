//! `ferrule run`: documents in this process, with no server.

mod learnt;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use ferrule_api::report::{Applied, PipelineStatus, StatusReport, StreamStatus};
use ferrule_api::request::{AuditQuery, LogQuery, StatusQuery, Tail};
use ferrule_api::{Error, Platform};
use ferrule_model::error::suggestion;
use ferrule_model::{Code, Kind};
use ferrule_server::shutdown::Signals;
use ferrule_server::{Options, Server};
use tokio_stream::StreamExt;

use super::logs;
use super::noun::Scope;
use super::serve::{not_started, start_log};
use super::tail;
use crate::compiled;
use crate::context::{Context, Surroundings};
use crate::documents::{self, Source};
use crate::exit::{Exit, Failure, Outcome};
use crate::output::{Format, Output, short_number};
use crate::views;

/// Runs documents in this process until Ctrl-C, and shows how they are doing. Nothing is kept unless --data says where.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  ferrule run pipeline.yaml --tail\n  ferrule run pipeline.yaml --until-done\n  ferrule run folder --for 20"
)]
pub(crate) struct Run {
    /// Files or folders with documents; - for standard input.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Components that documents may name as classes and functions: files, or folders of them. Those that came with ferrule are
    /// always there.
    #[arg(long, value_name = "PATH")]
    components: Vec<PathBuf>,
    /// Keep state, positions and dead letters in this folder [default: a temporary one].
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Show the records that reach the sinks, on standard output.
    #[arg(long)]
    tail: bool,
    /// End when records have come, none came for --idle seconds, and all of them have their outcome.
    #[arg(long)]
    until_done: bool,
    /// With --until-done: how many seconds without a record mean that the sources are done.
    #[arg(long, value_name = "SECONDS", default_value_t = 2.0, value_parser = parse_seconds, allow_negative_numbers = true)]
    idle: f64,
    /// End when the sinks have so many records, and those in flight have their outcome. With --for: fail if they do not in time.
    #[arg(long, value_name = "COUNT")]
    until_records: Option<u64>,
    /// End after so many seconds.
    #[arg(long = "for", value_name = "SECONDS", value_parser = parse_seconds, allow_negative_numbers = true)]
    time: Option<f64>,
    /// Grant whatever is asked for, and print at the end the grants that were really used. For a machine of your own.
    #[arg(long)]
    learn: bool,
    /// What the platform itself logs, such as info or ferrule_flow=debug,warn.
    #[arg(long, value_name = "FILTER", default_value = "error")]
    log: String,
    /// Show what guests write to their logs, on standard error.
    #[arg(long)]
    logs: bool,
    #[command(flatten)]
    scope: Scope,
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    text.parse::<f64>()
        .ok()
        .filter(|seconds| (0.1..=31_536_000.0).contains(seconds))
        .ok_or_else(|| "expected a number of seconds, at least 0.1".to_owned())
}

/// How often the state is looked at.
const LOOK: Duration = Duration::from_millis(250);
/// How often a line about it is written where nothing can be redrawn.
const LINE: Duration = Duration::from_secs(5);

impl Run {
    pub(crate) async fn run(self, context: &Context) -> Outcome {
        // First of all: a start takes seconds, and is to end as orderly as what it starts.
        let mut signals = Signals::new()?;
        let output = &context.output;
        let sources = documents::read_sources(&self.files)?;
        start_log(Some(self.log.clone()), false, context)?;
        let temporary = if self.data.is_some() { None } else { Some(tempfile::tempdir()?) };
        let folder = match (&self.data, &temporary) {
            (Some(given), _) => given.clone(),
            (None, Some(temporary)) => temporary.path().join("data"),
            (None, None) => return Err(Failure::new(Exit::Failed, "there is no data folder")),
        };
        let mut options = Options::embedded(folder);
        options.engine.around.environment = Surroundings::environment();
        options.learn = self.learn;
        let offered = self.offered(context)?;
        options.shipped = needed(&offered, &sources);
        options.compiled.clone_from(&context.surroundings.compiled);
        let cache = options.compiled.clone();
        let spinner = output.spinner("starting");
        let added = compiled::announce(output, &spinner, cache.as_deref(), &options.shipped);
        let started = tokio::select! {
            started = Server::start(options) => started,
            signal = signals.next() => {
                spinner.finish_and_clear();
                output.say(format!("{signal}: stopped before the start was complete"));
                return Ok(());
            }
        };
        if let Some(folder) = cache.filter(|_| added) {
            compiled::trim(&folder);
        }
        let server = started.map_err(|error| {
            spinner.finish_and_clear();
            not_started(error)
        })?;
        let watched = tokio::select! {
            applied = self.apply(context, &sources, &offered, server.platform()) => {
                spinner.finish_and_clear();
                match applied {
                    Ok(applied) => Ok(Some(self.show(context, &applied, server.platform(), &mut signals).await)),
                    Err(failure) => Err(failure),
                }
            }
            signal = signals.next() => {
                spinner.finish_and_clear();
                output.say(format!("{signal}: stopped before the documents were applied"));
                Ok(None)
            }
        };
        // Whatever happened, what is in flight gets its chance.
        let platform = server.platform();
        let mut report = platform.status(StatusQuery::default()).await?;
        let drained = tokio::select! {
            drained = server.stop() => drained,
            _ = signals.next() => false,
        };
        if let Ok(last) = platform.status(StatusQuery::default()).await {
            report = in_the_end(report, last);
        }
        let Some((outcome, tails)) = watched? else { return Ok(()) };
        for tail in tails {
            tail.abort();
        }
        self.summarise(output, &report)?;
        if self.learn {
            output.raw(learnt::documents(&platform.audit(AuditQuery::default()).await?)?.as_bytes())?;
        }
        if !drained {
            output.warn("stopped with records in flight; replayable sources give them again");
        }
        outcome
    }

    /// The last word: all streams and pipelines with their counts.
    fn summarise(&self, output: &Output, report: &StatusReport) -> Outcome {
        match output.format {
            Format::Table if self.tail => {
                output.say(views::status_text(output, report));
                Ok(())
            }
            Format::Table => output.raw(views::status_text(output, report).as_bytes()),
            Format::Json | Format::Yaml => output.value(report),
        }
    }

    /// Every component that documents may name.
    fn offered(&self, context: &Context) -> Result<Vec<PathBuf>, Failure> {
        let mut offered = Vec::new();
        for path in context.surroundings.shipped_guests().iter().chain(&self.components) {
            if path.is_dir() {
                let entries = std::fs::read_dir(path)?.filter_map(Result::ok).map(|entry| entry.path());
                offered.extend(entries.filter(|file| file.extension().is_some_and(|e| e == "wasm")));
            } else if path.is_file() {
                offered.push(path.clone());
            } else {
                return Err(Failure::new(Exit::NotFound, format!("there is no component {}", path.display()))
                    .with_code(Code::Unreadable));
            }
        }
        offered.sort();
        Ok(offered)
    }

    async fn apply(
        &self,
        context: &Context,
        sources: &[Source],
        offered: &[PathBuf],
        platform: Arc<dyn Platform>,
    ) -> Result<Applied, Failure> {
        let mut application = documents::application(sources, None)?;
        application.namespace = self.scope.namespace();
        application.complete = true;
        let applied = platform.apply(application).await.map_err(|error| with_offer(error, offered))?;
        let output = &context.output;
        for warning in applied.warnings.iter().chain(applied.objects.iter().flat_map(|o| &o.diagnostics)) {
            output.diagnostic(warning);
        }
        for object in &applied.objects {
            output.say(format!("{} {} {}", object.kind.nouns()[0], object.name, object.action));
        }
        Ok(applied)
    }

    /// Shows how everything does until it is to end; and the tasks that show what passes, which go on.
    async fn show(
        &self,
        context: &Context,
        applied: &Applied,
        platform: Arc<dyn Platform>,
        signals: &mut Signals,
    ) -> (Outcome, Vec<tokio::task::JoinHandle<()>>) {
        let output = &context.output;
        let tails = match self.tails(output, applied, &platform).await {
            Ok(tails) => tails,
            Err(failure) => return (Err(failure), Vec::new()),
        };
        let outcome = tokio::select! {
            outcome = self.watch(output, &platform) => outcome,
            _ = signals.next() => Ok(()),
        };
        (outcome, tails)
    }

    async fn tails(
        &self,
        output: &Output,
        applied: &Applied,
        platform: &Arc<dyn Platform>,
    ) -> Result<Vec<tokio::task::JoinHandle<()>>, Failure> {
        let mut tails = if self.tail { start_tails(output, platform, applied).await? } else { Vec::new() };
        if self.logs {
            let mut lines = platform.logs(LogQuery { follow: true, ..LogQuery::default() }).await?;
            let output = output.clone();
            tails.push(tokio::spawn(async move {
                while let Some(Ok(line)) = lines.next().await {
                    output.say(logs::text(&line));
                }
            }));
        }
        Ok(tails)
    }

    async fn watch(&self, output: &Output, platform: &Arc<dyn Platform>) -> Outcome {
        let began = Instant::now();
        let bar = output.spinner("");
        let mut told = Told::default();
        let mut last_line = Instant::now();
        let (mut seen, mut last_change) = (0, Instant::now());
        let outcome = loop {
            tokio::time::sleep(LOOK).await;
            let report = match platform.status(StatusQuery::default()).await {
                Ok(report) => report,
                Err(error) => break Err(error.into()),
            };
            for line in told.news(&report) {
                bar.suspend(|| output.say(line));
            }
            let line = summary(&report);
            bar.set_message(line.clone());
            if bar.is_hidden() && last_line.elapsed() >= LINE {
                last_line = Instant::now();
                output.say(format!("{}s: {line}", began.elapsed().as_secs()));
            }
            let moved = moved(&report);
            if moved != seen {
                (seen, last_change) = (moved, Instant::now());
            }
            let still = last_change.elapsed() >= Duration::from_secs_f64(self.idle);
            if self.until_done && seen > 0 && still && nothing_in_flight(&report) {
                break Ok(());
            }
            let delivered: u64 = report.pipelines.iter().map(|p| p.delivered).sum();
            if self.until_records.is_some_and(|wanted| delivered >= wanted) {
                break Ok(());
            }
            if self.time.is_some_and(|time| began.elapsed().as_secs_f64() >= time) {
                break match self.until_records {
                    Some(wanted) => {
                        let message = format!("only {delivered} of {wanted} records were delivered in time");
                        Err(Failure::new(Exit::TimedOut, message).with_code(Code::NotReady))
                    }
                    None => Ok(()),
                };
            }
        };
        bar.finish_and_clear();
        outcome
    }
}

/// The components that the documents mention: compiling the others would only take time.
fn needed(offered: &[PathBuf], sources: &[Source]) -> Vec<PathBuf> {
    let text: String = sources.iter().map(|source| String::from_utf8_lossy(&source.bytes)).collect();
    let words: std::collections::BTreeSet<&str> =
        text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-' || c == '_')).collect();
    let mentioned =
        |path: &&PathBuf| path.file_stem().is_some_and(|stem| words.contains(stem.to_string_lossy().as_ref()));
    offered.iter().filter(mentioned).cloned().collect()
}

/// Says of a class or function that is not there which there are: only those that are mentioned were registered.
fn with_offer(error: Error, offered: &[PathBuf]) -> Error {
    let Error::Refused(mut problems) = error else { return error };
    let stems: Vec<String> =
        offered.iter().filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned())).collect();
    let mut names: Vec<&str> = stems.iter().map(String::as_str).collect();
    names.dedup();
    for problem in problems.iter_mut().filter(|problem| problem.code == Code::Unresolved && problem.help.is_none()) {
        let rest = ["no class `", "no function `"].iter().find_map(|words| problem.message.split_once(words));
        // The message knows better where it goes on.
        let Some((name, rest)) = rest.and_then(|(_, rest)| rest.split_once('`')) else { continue };
        if !(rest.is_empty() || rest.starts_with(" in project ")) {
            continue;
        }
        problem.help = Some(match suggestion(name, names.iter().copied()) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("there are {}; --components names a folder with others", names.join(", ")),
        });
    }
    Error::Refused(problems)
}

/// The last counts, with the states and rates from before everything stopped.
fn in_the_end(before: StatusReport, mut last: StatusReport) -> StatusReport {
    for stream in &mut last.streams {
        let Some(before) = before.streams.iter().find(|before| before.uid == stream.uid) else { continue };
        stream.state.clone_from(&before.state);
        stream.health.clone_from(&before.health);
        stream.health_message.clone_from(&before.health_message);
        stream.alerts.clone_from(&before.alerts);
        (stream.replayable, stream.memory_bytes) = (before.replayable, before.memory_bytes);
        (stream.records_per_second, stream.bytes_per_second) = (before.records_per_second, before.bytes_per_second);
    }
    for pipeline in &mut last.pipelines {
        let Some(before) = before.pipelines.iter().find(|before| before.uid == pipeline.uid) else { continue };
        pipeline.state.clone_from(&before.state);
        pipeline.records_per_second = before.records_per_second;
    }
    last
}

/// All records that went anywhere.
fn moved(report: &StatusReport) -> u64 {
    let streams: u64 = report.streams.iter().map(|s| s.records).sum();
    let pipelines: u64 = report.pipelines.iter().map(|p| p.delivered + p.filtered + p.dead_lettered + p.dropped).sum();
    streams + pipelines
}

fn nothing_in_flight(report: &StatusReport) -> bool {
    report.pipelines.iter().all(|p| p.lag == 0 && p.in_flight == 0)
}

fn summary(report: &StatusReport) -> String {
    let parts: Vec<String> = report
        .pipelines
        .iter()
        .map(|p| {
            let mut text = format!("{}: {} delivered, {}/s", p.name, p.delivered, short_number(p.records_per_second));
            for (count, word) in [
                (p.lag, "waiting"),
                (p.filtered, "filtered"),
                (p.dead_lettered, "dead letters"),
                (p.dropped, "dropped"),
            ] {
                if count > 0 {
                    text.push_str(&format!(", {count} {word}"));
                }
            }
            text
        })
        .collect();
    if parts.is_empty() { "no pipelines".to_owned() } else { parts.join("; ") }
}

/// What was said already of each stream and pipeline, so that only news is said.
#[derive(Default)]
struct Told {
    said: BTreeMap<String, String>,
}

impl Told {
    fn news(&mut self, report: &StatusReport) -> Vec<String> {
        let streams = report.streams.iter().map(|s| (format!("stream {}", s.name), stream_words(s)));
        let pipelines = report.pipelines.iter().map(|p| (format!("pipeline {}", p.name), pipeline_words(p)));
        let mut lines = Vec::new();
        for (who, words) in streams.chain(pipelines) {
            if self.said.get(&who) != Some(&words) {
                lines.push(format!("{who}: {words}"));
                self.said.insert(who, words);
            }
        }
        lines
    }
}

fn stream_words(s: &StreamStatus) -> String {
    let mut words = s.state.clone();
    if s.health == "unhealthy" {
        words.push_str(&format!(", unhealthy: {}", s.health_message));
    }
    if !s.last_refusal.is_empty() {
        words.push_str(&format!("\n  {}", s.last_refusal.replace('\n', "\n  ")));
    } else if s.state != "running" && !s.last_error.is_empty() {
        words.push_str(&format!("\n  {}", s.last_error.replace('\n', "\n  ")));
    }
    words
}

fn pipeline_words(p: &PipelineStatus) -> String {
    if p.last_error.is_empty() {
        p.state.clone()
    } else {
        format!("{}\n  {}", p.state, p.last_error.replace('\n', "\n  "))
    }
}

async fn start_tails(
    output: &Output,
    platform: &Arc<dyn Platform>,
    applied: &Applied,
) -> Result<Vec<tokio::task::JoinHandle<()>>, Failure> {
    let mut tasks = Vec::new();
    for object in applied.objects.iter().filter(|o| o.kind == Kind::Pipeline) {
        let namespace = Some(object.namespace.clone()).filter(|n| !n.is_empty());
        let mut records = platform.tail(Tail { target: object.name.clone(), namespace, limit: None }).await?;
        let output = output.clone();
        tasks.push(tokio::spawn(async move {
            while let Some(Ok(tailed)) = records.next().await {
                if tail::show(&output, &tailed).is_err() {
                    return;
                }
            }
        }));
    }
    Ok(tasks)
}

#[cfg(test)]
mod tests {
    use ferrule_model::Diagnostic;

    use super::*;

    #[test]
    fn only_components_that_are_mentioned_are_needed() {
        let source = Source {
            name: "-".to_owned(),
            folder: PathBuf::from("."),
            bytes: b"spec: {source: {class: generator}, sink: {class: my-sink@1.0.0}}".to_vec(),
        };
        let offered = ["a/generator.wasm", "a/mqtt.wasm", "a/my-sink.wasm", "a/gen.wasm"].map(PathBuf::from).to_vec();
        let expected = ["a/generator.wasm", "a/my-sink.wasm"].map(PathBuf::from).to_vec();
        assert_eq!(needed(&offered, &[source]), expected);
    }

    #[test]
    fn a_class_that_is_not_there_is_answered_with_what_is() {
        let offered = ["a/blackhole.wasm", "a/generator.wasm"].map(PathBuf::from);
        let answer = |message: &str| {
            let error = Error::refused(Diagnostic::new(Code::Unresolved, message));
            with_offer(error, &offered).diagnostics()[0].help.clone()
        };
        assert_eq!(answer("instance c: there is no class `blackhol`").as_deref(), Some("did you mean `blackhole`?"));
        let all = answer("instance c: there is no class `weather`").unwrap();
        assert!(all.starts_with("there are blackhole, generator;"), "{all}");
        assert_eq!(answer("there is no class `jq`; `jq` is a function: name it under `functions`"), None);
        assert_eq!(answer("there is no stream `x`"), None);
    }

    #[test]
    fn news_is_said_once() {
        let mut report = StatusReport {
            streams: vec![StreamStatus { name: "s".into(), state: "opening".into(), ..StreamStatus::default() }],
            ..StatusReport::default()
        };
        let mut told = Told::default();
        assert_eq!(told.news(&report), ["stream s: opening"]);
        assert!(told.news(&report).is_empty());
        report.streams[0].state = "backing-off".into();
        report.streams[0].last_error = "nobody there".into();
        assert_eq!(told.news(&report), ["stream s: backing-off\n  nobody there"]);
    }
}
