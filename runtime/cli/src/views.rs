//! How objects and their states are shown: tables, and the words that several verbs share.

use std::collections::HashMap;
use std::sync::Arc;

use ferrule_api::report::{Action, AppliedObject, Distribution, LogStatus, PipelineStatus, StatusReport, StreamStatus};
use ferrule_api::request::Query;
use ferrule_api::{Client, Platform};
use ferrule_model::conditions::{Condition, Truth, types};
use ferrule_model::lookup;
use ferrule_model::{Diagnostic, Kind, Object, Ref};
use serde::Serialize;
use serde_json::Value;

use crate::documents::refused;
use crate::exit::{Failure, Outcome};
use crate::output::{Format, Output, Table, Tone, short_duration, short_number};

/// An object as JSON and YAML show it: in its envelope, a secret as it is written.
pub(crate) fn document(object: &Object) -> Value {
    if object.kind == Kind::Secret { object.to_native() } else { serde_json::to_value(object).unwrap_or_default() }
}

/// The instance that a stream or config belongs to, as its document refers to it.
pub(crate) fn instance_of(object: &Object) -> Option<String> {
    object.instance_ref().map(|reference| reference_text(&reference))
}

fn reference_text(reference: &Ref) -> String {
    match reference {
        Ref::Uid(uid) => uid.to_string(),
        Ref::Name { name, version: Some(version), .. } => format!("{name}@{version}"),
        Ref::Name { name, .. } => name.clone(),
    }
}

/// All objects, for the names behind ids. Documents of KPS refer to each other by id.
#[derive(Default)]
pub(crate) struct Names {
    all: Vec<Arc<Object>>,
    by_uid: HashMap<String, String>,
}

impl Names {
    /// Asks the server for all objects.
    pub(crate) async fn fetch(client: &Client) -> Result<Self, Failure> {
        let all = client.get(Query::default()).await?;
        Ok(all.into_iter().map(|stored| Arc::new(stored.object)).collect())
    }

    /// The name of the project that an object belongs to; empty if it belongs to none.
    pub(crate) fn project(&self, object: &Object) -> String {
        let own = || object.metadata.namespace.clone();
        lookup::project_of(&self.all, object).or_else(own).unwrap_or_default()
    }

    /// The value with names in the place of `{uid: ...}`, as far as they are known.
    pub(crate) fn shown(&self, value: &Value) -> Value {
        match value {
            Value::Object(members) => {
                let uid = members.get("uid").filter(|_| members.len() == 1).and_then(Value::as_str);
                match uid.and_then(|uid| self.by_uid.get(uid)) {
                    Some(name) => Value::from(name.as_str()),
                    None => members.iter().map(|(name, value)| (name.clone(), self.shown(value))).collect(),
                }
            }
            Value::Array(items) => items.iter().map(|item| self.shown(item)).collect(),
            other => other.clone(),
        }
    }
}

impl FromIterator<Arc<Object>> for Names {
    fn from_iter<I: IntoIterator<Item = Arc<Object>>>(objects: I) -> Self {
        let all: Vec<Arc<Object>> = objects.into_iter().collect();
        let by_uid = all.iter().map(|object| (object.uid().to_string(), object.name().to_owned())).collect();
        Self { all, by_uid }
    }
}

/// What the spec says at `pointer`, in one cell: text as it is, a reference by its name, several joined by commas.
fn cell(spec: &Value, pointer: &str) -> String {
    fn text(value: &Value) -> String {
        match value {
            Value::String(text) => text.clone(),
            Value::Object(members) => ["name", "function", "class", "uid"]
                .iter()
                .find_map(|key| members.get(*key))
                .map_or_else(|| "-".to_owned(), text),
            Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(","),
            Value::Null => "-".to_owned(),
            other => other.to_string(),
        }
    }
    spec.pointer(pointer).map(text).filter(|t| !t.is_empty()).unwrap_or_else(|| "-".to_owned())
}

/// The age of an object in few characters.
fn age(object: &Object) -> String {
    object
        .metadata
        .creation_timestamp
        .map_or_else(|| "-".to_owned(), |since| short_duration(jiff::Timestamp::now().as_second() - since.as_second()))
}

/// The condition that decides whether an object is ready, and the first one that speaks against it.
fn readiness(object: &Object) -> (String, Tone, String) {
    let conditions = &object.status.conditions;
    let ready = object.status.condition(types::READY).or_else(|| object.status.condition(types::RESOLVED));
    let word = |c: &Condition| match c.status {
        Truth::True => ("True".to_owned(), Tone::Good),
        Truth::False => ("False".to_owned(), Tone::Bad),
        Truth::Unknown => ("Unknown".to_owned(), Tone::Warn),
    };
    let (text, tone) = ready.map_or_else(|| ("-".to_owned(), Tone::Faint), word);
    let why = conditions
        .iter()
        .find(|c| c.status == Truth::False && c.kind != types::PAUSED && c.kind != types::REFUSED)
        .or_else(|| conditions.iter().find(|c| c.kind == types::ROLLED_BACK && c.status == Truth::True))
        .or_else(|| conditions.iter().find(|c| c.kind == types::REFUSED && c.status == Truth::True))
        .or(ready)
        .map(|c| c.reason.clone())
        .unwrap_or_default();
    (text, tone, why)
}

/// Objects as rows; with columns of its own for one kind, with a column for the kind otherwise; with their projects where these differ.
pub(crate) fn objects_table(kind: Option<Kind>, objects: &[Object], names: &Names) -> Table {
    let plain = |text: String| (text, Tone::Plain);
    let name = |o: &Object| plain(o.metadata.name.clone());
    let mut table = match kind {
        None => Table::new(["KIND", "PROJECT", "NAME", "READY", "REASON", "AGE"]),
        Some(Kind::Class | Kind::Function) => Table::new(["NAME", "VERSION", "SUMMARY", "READY", "REASON", "AGE"]),
        Some(Kind::Instance) => Table::new(["NAME", "CLASS", "READY", "REASON", "AGE"]),
        Some(Kind::Stream) => Table::new(["NAME", "INSTANCE", "DIRECTION", "READY", "REASON", "AGE"]),
        Some(Kind::Config) => Table::new(["NAME", "INSTANCE", "READY", "REASON", "AGE"]),
        Some(Kind::Pipeline) => Table::new(["NAME", "SOURCE", "FUNCTIONS", "SINK", "READY", "REASON", "AGE"]),
        Some(_) => Table::new(["NAME", "READY", "REASON", "AGE"]),
    };
    for object in objects {
        let (ready, tone, reason) = readiness(object);
        let (ready, reason, age) = ((ready, tone), plain(reason), plain(age(object)));
        let spec = names.shown(&object.spec);
        let of = |pointer: &str| plain(cell(&spec, pointer));
        match kind {
            None => {
                let project = dash(names.project(object));
                let kind = object.kind.to_string();
                table.toned([plain(kind), plain(project), name(object), ready, reason, age]);
            }
            Some(Kind::Class | Kind::Function) => {
                let summary = ["/summary", "/description"].iter().map(|p| cell(&spec, p)).find(|t| t != "-");
                let summary = plain(summary.unwrap_or_else(|| "-".to_owned()));
                table.toned([name(object), of("/version"), summary, ready, reason, age]);
            }
            Some(Kind::Instance) => table.toned([name(object), of("/class"), ready, reason, age]),
            Some(Kind::Stream) => {
                table.toned([name(object), of("/instance"), of("/direction"), ready, reason, age]);
            }
            Some(Kind::Config) => table.toned([name(object), of("/instance"), ready, reason, age]),
            Some(Kind::Pipeline) => {
                let sink = of("/sink");
                table.toned([name(object), of("/source"), of("/functions"), sink, ready, reason, age]);
            }
            Some(_) => table.toned([name(object), ready, reason, age]),
        }
    }
    if kind.is_some_and(Kind::is_in_project) {
        let projects: Vec<String> = objects.iter().map(|object| names.project(object)).collect();
        if projects.iter().any(|project| *project != projects[0]) {
            table.put_first("PROJECT", projects.into_iter().map(dash));
        }
    }
    table
}

fn dash(text: String) -> String {
    if text.is_empty() { "-".to_owned() } else { text }
}

/// How a guest says that it is; a dash for one that says nothing of it, which most do as long as their work goes well.
pub(crate) fn health(word: &str) -> &str {
    if word == "unknown" { "-" } else { word }
}

/// How a word for a state looks.
pub(crate) fn state_tone(state: &str) -> Tone {
    match state {
        "running" | "healthy" | "open" => Tone::Good,
        "failed" | "unhealthy" | "backing-off" | "invalid" | "denied" => Tone::Bad,
        "paused" | "held" | "draining" | "drained" => Tone::Warn,
        _ => Tone::Plain,
    }
}

fn toned(text: &str) -> (String, Tone) {
    (if text.is_empty() { "-".to_owned() } else { text.to_owned() }, state_tone(text))
}

/// Streams as rows.
pub(crate) fn streams_table(streams: &[StreamStatus]) -> Table {
    let mut table = Table::new([
        "STREAM",
        "DIRECTION",
        "CLASS",
        "STATE",
        "HEALTH",
        "RECORDS",
        "RECORDS/S",
        "BYTES/S",
        "DURABILITY",
        "HELD",
        "LOG BYTES",
        "DROPPED",
        "RESTARTS",
        "REFUSED",
        "LAST ERROR",
    ]);
    for s in streams {
        let plain = |text: String| (text, Tone::Plain);
        // Of what has no log, or does not run.
        let logged = |text: String| plain(if s.durability.is_empty() { "-".to_owned() } else { text });
        table.toned([
            plain(s.name.clone()),
            plain(s.direction.clone()),
            plain(s.class.clone()),
            toned(&s.state),
            toned(health(&s.health)),
            plain(s.records.to_string()),
            plain(short_number(s.records_per_second)),
            plain(short_number(s.bytes_per_second)),
            logged(s.durability.clone()),
            logged(s.held_records.to_string()),
            logged(short_number(s.held_bytes as f64)),
            (s.dropped.to_string(), if s.dropped > 0 { Tone::Bad } else { Tone::Plain }),
            plain(s.restarts.to_string()),
            (s.refusals.to_string(), if s.refusals > 0 { Tone::Bad } else { Tone::Plain }),
            plain(clipped(&s.last_error)),
        ]);
    }
    table
}

/// What streams take of the machine, as rows.
pub(crate) fn usage_table(streams: &[StreamStatus]) -> Table {
    let mut table =
        Table::new(["STREAM", "CPU SECONDS", "CALLS", "MEMORY", "PEAK", "RECEIVED", "SENT", "LIMITS REACHED"]);
    #[allow(clippy::cast_precision_loss, reason = "for people")]
    let amount = |bytes: u64| short_number(bytes as f64);
    for s in streams {
        let reached: Vec<&str> = s.limits.iter().filter(|l| l.reached > 0).map(|l| l.name.as_str()).collect();
        let tone = if reached.is_empty() { Tone::Plain } else { Tone::Bad };
        let plain = |text: String| (text, Tone::Plain);
        table.toned([
            plain(s.name.clone()),
            plain(format!("{:.1}", s.cpu_seconds)),
            plain(amount(s.calls)),
            plain(amount(s.memory_bytes)),
            plain(amount(s.peak_memory_bytes)),
            plain(amount(s.targets.iter().map(|t| t.received).sum())),
            plain(amount(s.targets.iter().map(|t| t.sent).sum())),
            (if reached.is_empty() { "-".to_owned() } else { reached.join(",") }, tone),
        ]);
    }
    table
}

/// Pipelines as rows.
pub(crate) fn pipelines_table(pipelines: &[PipelineStatus], now_ms: i64) -> Table {
    let mut table = Table::new([
        "PIPELINE",
        "STATE",
        "DELIVERED",
        "RECORDS/S",
        "LAG",
        "LAG BYTES",
        "BEHIND",
        "IN FLIGHT",
        "FILTERED",
        "DUPLICATES",
        "DEAD",
        "DROPPED",
        "RETRIED",
        "ATTEMPTS",
        "BATCH",
        "LAST ERROR",
    ]);
    for p in pipelines {
        let plain = |text: String| (text, Tone::Plain);
        let lost = |count: u64| (count.to_string(), if count > 0 { Tone::Bad } else { Tone::Plain });
        table.toned([
            plain(p.name.clone()),
            toned(&p.state),
            plain(p.delivered.to_string()),
            plain(short_number(p.records_per_second)),
            plain(p.lag.to_string()),
            plain(short_number(p.lag_bytes as f64)),
            plain(behind(p, now_ms)),
            plain(p.in_flight.to_string()),
            plain(p.filtered.to_string()),
            plain(p.duplicates.to_string()),
            lost(p.dead_lettered),
            lost(p.dropped),
            plain(p.retried.to_string()),
            plain(mean(&p.attempts)),
            plain(mean(&p.batches)),
            plain(clipped(&p.last_error)),
        ]);
    }
    table
}

/// The mean in few characters.
fn mean(of: &Distribution) -> String {
    of.mean().map_or_else(|| "-".to_owned(), |mean| short_number((mean * 10.0).round() / 10.0))
}

/// How long the oldest record has waited that a pipeline is not done with.
pub(crate) fn behind(pipeline: &PipelineStatus, now_ms: i64) -> String {
    match pipeline.oldest_ms {
        None => "-".to_owned(),
        Some(_) => format!("{:.1} s", pipeline.behind(now_ms).as_secs_f64()),
    }
}

/// What is raised about streams and pipelines, a line each.
fn alerts_text(output: &Output, report: &StatusReport) -> String {
    let streams = report.streams.iter().flat_map(|s| s.alerts.iter().map(move |alert| ("stream", &s.name, alert)));
    let pipelines =
        report.pipelines.iter().flat_map(|p| p.alerts.iter().map(move |alert| ("pipeline", &p.name, alert)));
    // That the log takes nothing is said once, and not for each stream.
    let own = streams.chain(pipelines).filter(|(.., alert)| alert.name != "log" || report.log.trouble.is_none());
    own.map(|(kind, name, alert)| {
        let tone = if alert.severity == "info" { Tone::Warn } else { Tone::Bad };
        output.tone(&format!("alert: {kind} {name}: {}: {}", alert.name, alert.message), tone) + "\n"
    })
    .collect()
}

/// What the log that all share has done; nothing of one in memory.
fn log_line(log: &LogStatus) -> String {
    let bytes = short_number(log.disk_bytes as f64);
    match log.transport.as_str() {
        "embedded" => {
            format!("log: embedded, {bytes} bytes on the disk, {} batches with {} fsyncs\n", log.batches, log.syncs)
        }
        "nats" => format!("log: nats, {bytes} bytes on its disk, {} batches\n", log.batches),
        _ => String::new(),
    }
}

/// What is wrong with the log, a line each; nothing when all is well.
fn log_text(output: &Output, log: &LogStatus) -> String {
    let trouble = log.trouble.iter().map(|trouble| {
        let what = format!("alert: the log ({}) takes nothing, and sources are held back: {trouble}", log.transport);
        output.tone(&what, Tone::Bad)
    });
    let findings = log.findings.iter().map(|found| output.tone(&format!("log: {found}"), Tone::Warn));
    trouble.chain(findings).map(|line| format!("{line}\n")).collect()
}

/// Both tables, as `status` and `top` show them.
pub(crate) fn status_text(output: &Output, report: &StatusReport) -> String {
    let mut text = log_text(output, &report.log) + &alerts_text(output, report);
    if !report.streams.is_empty() {
        text.push_str(&output.render(&streams_table(&report.streams)));
    }
    if !report.pipelines.is_empty() {
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(&output.render(&pipelines_table(&report.pipelines, report.time_ms)));
    }
    let line = log_line(&report.log);
    if !line.is_empty() {
        text = text + "\n" + &line;
    }
    text
}

/// The beginning of a long text, and the code that it ends in.
fn clipped(text: &str) -> String {
    const WIDTH: usize = 60;
    if text.is_empty() {
        return "-".to_owned();
    }
    let first = text.lines().next().unwrap_or_default();
    if first.len() == text.len() && text.chars().count() <= WIDTH {
        return text.to_owned();
    }
    let at = text.rfind(" [FE").or_else(|| text.rfind(" (FE"));
    let code = at.and_then(|at| text.get(at..at + " [FE0000]".len())).unwrap_or_default();
    let kept: String = first.strip_suffix(code).unwrap_or(first).chars().take(WIDTH - 1 - code.len()).collect();
    let code = if kept.contains(code) { "" } else { code };
    format!("{kept}…{code}")
}

/// Shows what became of each object, with its warnings; fails if storing any of them failed.
pub(crate) fn applied(output: &Output, objects: &[AppliedObject], warnings: &[Diagnostic], dry_run: bool) -> Outcome {
    for warning in
        warnings.iter().chain(objects.iter().filter(|o| o.action != Action::Failed).flat_map(|o| &o.diagnostics))
    {
        output.diagnostic(warning);
    }
    let suffix = if dry_run { " (dry run)" } else { "" };
    if output.format == Format::Table {
        for object in objects {
            let tone = match object.action {
                Action::Failed => Tone::Bad,
                Action::Unchanged => Tone::Faint,
                Action::Created | Action::Configured | Action::Deleted => Tone::Good,
            };
            let action = output.tone(object.action.as_str(), tone);
            output.line(format!("{} {} {action}{suffix}", object.kind.nouns()[0], object.name))?;
        }
    } else {
        output.value(&objects)?;
    }
    let failed: Vec<Diagnostic> =
        objects.iter().filter(|o| o.action == Action::Failed).flat_map(|o| o.diagnostics.clone()).collect();
    if objects.iter().any(|o| o.action == Action::Failed) {
        let count = objects.iter().filter(|o| o.action == Action::Failed).count();
        let message = format!("{count} of {} failed", objects.len());
        return Err(Failure { message, ..refused(failed) });
    }
    Ok(())
}

/// A value as indented YAML, for a part of a description.
pub(crate) fn indented<T: Serialize>(value: &T, spaces: usize) -> Result<String, Failure> {
    let pad = " ".repeat(spaces);
    Ok(crate::output::to_yaml(value)?.lines().map(|line| format!("{pad}{line}\n")).collect())
}

/// A time, given in milliseconds since 1970, as people and programs read it.
pub(crate) fn time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map(|t| t.strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use ferrule_api::report::Alert;
    use serde_json::json;

    use super::*;

    #[test]
    fn a_status_shows_all_that_an_operator_is_promised() {
        let alert = |name: &str| Alert {
            severity: "warning".to_owned(),
            name: name.to_owned(),
            message: "all of it".to_owned(),
        };
        let stream = StreamStatus {
            name: "in".to_owned(),
            direction: "ingress".to_owned(),
            class: "generator@0.1.0".to_owned(),
            durability: "fsync".to_owned(),
            held_records: 12,
            held_bytes: 34_000,
            dropped: 56,
            alerts: vec![alert("dropping")],
            ..StreamStatus::default()
        };
        let spread = |counts: Vec<u64>, sum| Distribution { bounds: vec![1, 10], counts, sum };
        let pipeline = PipelineStatus {
            name: "p".to_owned(),
            lag: 78,
            lag_bytes: 91_000,
            oldest_ms: Some(1_000),
            attempts: spread(vec![3, 1, 0], 6),
            batches: spread(vec![0, 2, 0], 15),
            alerts: vec![alert("retrying")],
            ..PipelineStatus::default()
        };
        let log = LogStatus {
            transport: "embedded".to_owned(),
            disk_bytes: 23_000,
            syncs: 4,
            batches: 9,
            ..LogStatus::default()
        };
        let (streams, pipelines) = (vec![stream], vec![pipeline]);
        let report = StatusReport { streams, pipelines, log, time_ms: 3_500, ..StatusReport::default() };
        let output = Output::new(Format::Table, crate::output::ColorChoice::Never, false, true);
        let text = status_text(&output, &report);
        let rows: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split("  ").map(str::trim).filter(|cell| !cell.is_empty()).collect())
            .collect();
        let cell = |head: &str| {
            let (row, column) = (0..)
                .zip(&rows)
                .find_map(|(row, cells)| Some((row, cells.iter().position(|cell| *cell == head)?)))
                .unwrap();
            rows[row + 1][column]
        };
        for (head, shown) in [
            ("HELD", "12"),
            ("LOG BYTES", "34k"),
            ("LAG", "78"),
            ("LAG BYTES", "91k"),
            ("BEHIND", "2.5 s"),
            ("ATTEMPTS", "1.5"),
            ("BATCH", "7.5"),
        ] {
            assert_eq!(cell(head), shown, "{head} in\n{text}");
        }
        for line in [
            "alert: stream in: dropping: all of it",
            "alert: pipeline p: retrying: all of it",
            "log: embedded, 23k bytes on the disk, 9 batches with 4 fsyncs",
        ] {
            assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
        }
    }

    #[test]
    fn a_long_error_keeps_its_code() {
        assert_eq!(clipped(""), "-");
        assert_eq!(clipped("short [FE0501]"), "short [FE0501]");
        let long = clipped(&format!("{} [FE0501]", "word ".repeat(40)));
        assert!(long.ends_with("… [FE0501]") && long.chars().count() <= 60, "{long}");
        assert!(clipped(&format!("{} (FE0210)", "word ".repeat(40))).ends_with("… (FE0210)"));
        assert_eq!(clipped("not granted [FE0401]. Apply:\nkind: Grant"), "not granted [FE0401]. Apply:…");
    }

    #[test]
    fn names_stand_where_documents_have_ids_and_projects_where_they_differ() {
        let object = |kind, name: &str, uid: &str, namespace: &str, spec| {
            let mut object = Object::new(kind, name, spec).unwrap();
            object.metadata.uid = uid.into();
            object.metadata.namespace = Some(namespace.to_owned()).filter(|n| !n.is_empty());
            Arc::new(object)
        };
        let spec = json!({"class": {"uid": "c1"}, "labels": [{"category": {"uid": "k1"}, "value": "v"}]});
        let all = [
            object(Kind::Project, "halls", "p1", "", json!({})),
            object(Kind::Class, "thermo", "c1", "", json!({})),
            object(Kind::Instance, "one", "i1", "p1", spec.clone()),
            object(Kind::Instance, "two", "i2", "yards", json!({"class": "thermo@1"})),
        ];
        let names: Names = all.iter().cloned().collect();
        let unknown = json!([{"category": {"uid": "k1"}, "value": "v"}]);
        assert_eq!(names.shown(&spec), json!({"class": "thermo", "labels": unknown}));
        let table = |objects: &[Arc<Object>]| {
            let objects: Vec<Object> = objects.iter().map(|object| Object::clone(object)).collect();
            objects_table(Some(Kind::Instance), &objects, &names).render(false)
        };
        let both = table(&all[2..]);
        assert!(both.starts_with("PROJECT   NAME   CLASS"), "{both}");
        assert!(both.contains("halls     one    thermo "), "{both}");
        assert!(both.contains("yards     two    thermo@1 "), "{both}");
        assert!(table(&all[2..3]).starts_with("NAME   CLASS"));
    }

    #[test]
    fn a_cell_shows_what_a_reference_names() {
        let spec = json!({"a": "plain", "b": {"name": "n"}, "c": [{"function": "f"}, "g"], "d": null, "e": 3});
        for (pointer, shown) in [("/a", "plain"), ("/b", "n"), ("/c", "f,g"), ("/d", "-"), ("/e", "3"), ("/f", "-")] {
            assert_eq!(cell(&spec, pointer), shown, "{pointer}");
        }
    }
}
