//! The kit that every component must pass, whatever it does: what the contract promises of each world.

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use ferrule_host::{CallError, Component, GuestErrorKind, PullLimits, World};
use ferrule_model::component::Direction;
use ferrule_model::record::Batch;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::time::timeout;

use crate::live::{Live, count};
use crate::observed::Observed;
use crate::peer::Peer;
use crate::report::{Report, Verdict};
use crate::script::Test;
use crate::setup::Setup;

/// What every check is handed.
#[derive(Clone, Debug)]
struct Subject {
    component: Component,
    /// Parameters, files and a peer with which a session opens.
    with: Test,
    /// They were given, or none are needed, so that a session must open.
    can_open: bool,
    observed: Arc<Observed>,
}

/// A session with what it needs around it, for as long as it lives.
struct Surrounded<'a> {
    live: Live<'a>,
    _peer: Option<Peer>,
    _folder: TempDir,
}

/// A check's outcome: nothing, or what was expected and what was found.
type Checked = Result<(), Finding>;

/// Why a check did not pass.
enum Finding {
    Wrong(String),
    /// It cannot be made here, and why.
    Skip(&'static str),
}

impl From<String> for Finding {
    fn from(text: String) -> Self {
        Self::Wrong(text)
    }
}

impl From<CallError> for Finding {
    fn from(error: CallError) -> Self {
        Self::Wrong(format!("expected: no error\n   found: {error}"))
    }
}

const NEEDS_PARAMETERS: &str = "needs parameters with which a session opens; give them with --with FILE";

/// One check may take so long; each does a few calls.
const DEADLINE: Duration = Duration::from_secs(20);

/// A wait that a wake-up must end long before it is over.
const LONG_WAIT_MS: u32 = 600_000;

/// Runs the kit. `with` is a test whose parameters, files and peer let a session open (its steps do not matter, and its peer
/// is started anew for each session); none: what needs a session is ignored, unless the component accepts empty parameters.
pub async fn run(
    component: &Component,
    with: Option<&Test>,
    wanted: &dyn Fn(&str) -> bool,
    report: &mut Report<'_>,
) -> io::Result<()> {
    let names: Vec<&str> = checks_of(component.world());
    let (selected, left_out): (Vec<&str>, Vec<&str>) = names.into_iter().partition(|name| wanted(name));
    report.begin(selected.len())?;
    report.filtered(left_out.len());
    let empty_is_fine = component.validate("{}", "{}", "{}").await.is_ok_and(|problems| problems.is_empty());
    for name in selected {
        let subject = Subject {
            component: component.clone(),
            with: with.cloned().unwrap_or_default(),
            can_open: with.is_some() || empty_is_fine,
            observed: Arc::new(Observed::default()),
        };
        let checked = timeout(DEADLINE, check(name, &subject)).await;
        let told = subject.observed.text();
        let told = if told.is_empty() { told } else { format!("\n\nthe guest told:\n{told}") };
        let verdict = match checked {
            Ok(Ok(())) => Verdict::Passed,
            Ok(Err(Finding::Skip(why))) => Verdict::Ignored(why.to_owned()),
            Ok(Err(Finding::Wrong(why))) => Verdict::Failed(format!("{why}{told}")),
            Err(_) => {
                Verdict::Failed(format!("expected: an end within {} s\n   found: none{told}", DEADLINE.as_secs()))
            }
        };
        report.verdict(name, verdict)?;
    }
    Ok(())
}

const EVERY_WORLD: [&str; 6] = [
    "describe_is_complete",
    "schemas_are_json_schemas",
    "validate_answers_anything",
    "open_with_bad_parameters_is_invalid",
    "opens_and_closes",
    "two_sessions_are_independent",
];
const SOURCE: [&str; 5] = [
    "source_held_back_gives_nothing_and_wakes",
    "source_wait_ends_on_wake_up",
    "source_keeps_limits",
    "source_tokens_are_unique",
    "source_settles_in_any_order",
];
const SINK: [&str; 4] = [
    "sink_takes_an_empty_batch",
    "sink_answers_one_record",
    "sink_answers_a_thousand_records",
    "sink_idle_ends_on_wake_up",
];
const FUNCTION: [&str; 4] = [
    "function_takes_an_empty_batch",
    "function_answers_one_record",
    "function_answers_a_thousand_records",
    "function_takes_any_bytes",
];

/// The checks of a world, by name, in order.
#[must_use]
pub fn checks_of(world: World) -> Vec<&'static str> {
    let own: &[&[&'static str]] = match world {
        World::Source => &[&SOURCE],
        World::Sink => &[&SINK],
        World::Connector => &[&SOURCE, &SINK],
        World::Function => &[&FUNCTION],
    };
    EVERY_WORLD.iter().chain(own.iter().flat_map(|list| list.iter())).copied().collect()
}

async fn check(name: &str, subject: &Subject) -> Checked {
    match name {
        "describe_is_complete" => describe_is_complete(subject),
        "schemas_are_json_schemas" => schemas_are_json_schemas(subject),
        "validate_answers_anything" => validate_answers_anything(subject).await,
        "open_with_bad_parameters_is_invalid" => open_with_bad_parameters_is_invalid(subject).await,
        "opens_and_closes" => opens_and_closes(subject).await,
        "two_sessions_are_independent" => two_sessions_are_independent(subject).await,
        "source_held_back_gives_nothing_and_wakes" => source_waits(subject, 0).await,
        "source_wait_ends_on_wake_up" => source_waits(subject, 1).await,
        "source_keeps_limits" => source_keeps_limits(subject).await,
        "source_tokens_are_unique" => source_tokens_are_unique(subject).await,
        "source_settles_in_any_order" => source_settles_in_any_order(subject).await,
        "sink_takes_an_empty_batch" => sink_answers(subject, 0).await,
        "sink_answers_one_record" => sink_answers(subject, 1).await,
        "sink_answers_a_thousand_records" => sink_answers(subject, 1_000).await,
        "sink_idle_ends_on_wake_up" => sink_idle_ends_on_wake_up(subject).await,
        "function_takes_an_empty_batch" => function_answers(subject, &payloads(0)).await,
        "function_answers_one_record" => function_answers(subject, &payloads(1)).await,
        "function_answers_a_thousand_records" => function_answers(subject, &payloads(1_000)).await,
        "function_takes_any_bytes" => function_answers(subject, &odd_payloads()).await,
        other => Err(format!("there is no check {other}").into()),
    }
}

fn describe_is_complete(subject: &Subject) -> Checked {
    let said = subject.component.description();
    let mut problems = Vec::new();
    if said.summary.trim().is_empty() {
        problems.push("a summary");
    }
    if said.capabilities.iter().any(|c| c.reason.trim().is_empty()) {
        problems.push("a reason for each capability");
    }
    let expected: &[Direction] = match subject.component.world() {
        World::Source => &[Direction::Ingress],
        World::Sink => &[Direction::Egress],
        World::Connector => &[Direction::Ingress, Direction::Egress],
        World::Function => &[Direction::Transform],
    };
    if !expected.iter().all(|d| said.directions.contains(d)) {
        problems.push("the directions of its world");
    }
    if said.schema("stream").is_none() {
        problems.push("a JSON Schema `stream` for its parameters");
    }
    if problems.is_empty() {
        Ok(())
    } else {
        Err(format!("expected: {}\n   found: {said:?}", problems.join(", ")).into())
    }
}

fn schemas_are_json_schemas(subject: &Subject) -> Checked {
    for schema in &subject.component.description().schemas {
        let content: Value = serde_json::from_str(&schema.content)
            .map_err(|e| format!("expected: schema `{}` is JSON\n   found: {e}", schema.name))?;
        if !(content.is_object() || content.is_boolean()) {
            return Err(
                format!("expected: schema `{}` is an object or a boolean\n   found: {content}", schema.name).into()
            );
        }
    }
    Ok(())
}

async fn validate_answers_anything(subject: &Subject) -> Checked {
    let empty = "{}";
    for odd in ["null", "[]", "\"text\"", "1e400", "{\"\":{}}", "{\"a\":[[[[null]]]],\"\\u0000\":-0}"] {
        for (a, b, c) in [(odd, empty, empty), (empty, odd, empty), (empty, empty, odd)] {
            subject
                .component
                .validate(a, b, c)
                .await
                .map_err(|e| format!("expected: validate answers to ({a}, {b}, {c})\n   found: {e}"))?;
        }
    }
    Ok(())
}

async fn open_with_bad_parameters_is_invalid(subject: &Subject) -> Checked {
    let bad = json!(["not", "parameters"]);
    let setup = Setup { parameters: bad, ..subject.with.setup() };
    let mut live = Live::new(&subject.component, setup, subject.observed.clone());
    match live.open().await {
        Err(CallError::Guest(error)) if error.kind == GuestErrorKind::Invalid => Ok(()),
        Ok(()) => Err(
            "expected: open ends with the error `invalid`, because a list is no set of parameters\n   found: it opened"
                .to_owned()
                .into(),
        ),
        Err(error) => Err(format!("expected: open ends with the error `invalid`\n   found: {error}").into()),
    }
}

async fn opened<'a>(subject: &'a Subject, direction: Option<Direction>) -> Result<Surrounded<'a>, Finding> {
    if !subject.can_open {
        return Err(Finding::Skip(NEEDS_PARAMETERS));
    }
    let mut setup = subject.with.setup();
    if let (World::Connector, Some(wanted)) = (subject.component.world(), direction) {
        if setup.direction.is_some_and(|given| given != wanted) {
            return Err(Finding::Skip("the parameters are for the other direction"));
        }
        setup.direction = Some(wanted);
    }
    let (peer, folder) = subject.with.surround(&mut setup).await?;
    let mut live = Live::new(&subject.component, setup, subject.observed.clone());
    live.open().await.map_err(|e| format!("expected: the session opens\n   found: {e}"))?;
    Ok(Surrounded { live, _peer: peer, _folder: folder })
}

async fn opens_and_closes(subject: &Subject) -> Checked {
    for _ in 0..2 {
        opened(subject, None).await?.live.close().await?;
    }
    Ok(())
}

async fn two_sessions_are_independent(subject: &Subject) -> Checked {
    if !subject.component.description().flag("overlap") && subject.component.world() != World::Function {
        return Err(Finding::Skip("it does not say `overlap`, so two sessions of one stream need not be possible"));
    }
    let (mut one, mut two) = (opened(subject, None).await?, opened(subject, None).await?);
    one.live.close().await?;
    two.live.close().await?;
    Ok(())
}

/// Runs a call that would wait long, wakes it, and gives its answer; it must come within a few seconds.
async fn woken<T>(wake: ferrule_host::WakeHandle, call: impl Future<Output = T>) -> Result<T, Finding> {
    let waker = async {
        // The call must be on its way when it is woken; a moment is enough, and being early only makes the check easier.
        tokio::time::sleep(Duration::from_millis(50)).await;
        wake.wake();
        std::future::pending::<()>().await;
    };
    tokio::select! {
        answer = call => Ok(answer),
        () = waker => Err(Finding::Skip("unreachable")),
        () = tokio::time::sleep(Duration::from_secs(5)) => {
            Err("expected: the call returns soon after the wake-up\n   found: it still waits after 5 s".to_owned().into())
        }
    }
}

async fn source_waits(subject: &Subject, max_records: u32) -> Checked {
    let mut surrounded = opened(subject, Some(Direction::Ingress)).await?;
    let live = &mut surrounded.live;
    let instance = live.instance()?;
    let limits = PullLimits { max_records, max_bytes: 1 << 20, linger_ms: 0, max_wait_ms: LONG_WAIT_MS };
    let pulled = woken(instance.waker(), instance.next(limits)).await??;
    if pulled.records.count > max_records {
        return Err(format!("expected: at most {max_records} records\n   found: {}", pulled.records.count).into());
    }
    Ok(live.close().await?)
}

async fn source_keeps_limits(subject: &Subject) -> Checked {
    let mut surrounded = opened(subject, Some(Direction::Ingress)).await?;
    let live = &mut surrounded.live;
    for (max_records, max_bytes) in [(1, 1 << 20), (10, 1)] {
        let limits = PullLimits { max_records, max_bytes, linger_ms: 0, max_wait_ms: 200 };
        let records = live.instance()?.next(limits).await?.records;
        let over = records.count > max_records || (records.count > 1 && records.size() > max_bytes as usize);
        if over {
            let found = format!("{} records of {} bytes", records.count, records.size());
            return Err(
                format!("expected: at most {max_records} records and {max_bytes} bytes\n   found: {found}").into()
            );
        }
    }
    Ok(live.close().await?)
}

async fn source_tokens_are_unique(subject: &Subject) -> Checked {
    let mut surrounded = opened(subject, Some(Direction::Ingress)).await?;
    let live = &mut surrounded.live;
    let mut seen = BTreeSet::new();
    for _ in 0..5 {
        let records = live.pull().await?;
        if records.tokens.len() != records.len() {
            return Err(format!(
                "expected: a token for each of {} records\n   found: {}",
                records.len(),
                records.tokens.len()
            )
            .into());
        }
        for token in records.tokens.iter() {
            if !seen.insert(*token) {
                return Err(format!(
                    "expected: no token twice while its record is not settled\n   found: {token} twice"
                )
                .into());
            }
        }
    }
    Ok(live.close().await?)
}

async fn source_settles_in_any_order(subject: &Subject) -> Checked {
    let mut surrounded = opened(subject, Some(Direction::Ingress)).await?;
    let live = &mut surrounded.live;
    live.instance()?.settle(&[]).await?;
    let mut tokens: Vec<u64> = Vec::new();
    for _ in 0..3 {
        tokens.extend(live.pull().await?.tokens.iter());
    }
    tokens.reverse();
    let (late, early) = tokens.split_at(tokens.len() / 2);
    live.instance()?.settle(early).await?;
    live.instance()?.settle(late).await?;
    live.pull().await?;
    Ok(live.close().await?)
}

async fn sink_answers(subject: &Subject, records: usize) -> Checked {
    let mut surrounded = opened(subject, Some(Direction::Egress)).await?;
    let live = &mut surrounded.live;
    let scripted: Vec<crate::record::Record> =
        (0..records).map(|i| crate::record::Record::Payload(format!("{{\"n\":{i}}}"))).collect();
    let batch = crate::record::batch(&scripted, Some(1), &str::to_owned)?;
    let outcomes = live.write(&batch).await?;
    let tokens: Vec<u64> = outcomes
        .delivered
        .iter()
        .copied()
        .chain(outcomes.retry.iter().map(|r| r.token))
        .chain(outcomes.rejected.iter().map(|r| r.record_ref))
        .collect();
    let known: BTreeSet<u64> = tokens.iter().copied().collect();
    let given: BTreeSet<u64> = batch.tokens.iter().copied().collect();
    if known != given || count(&outcomes) != records {
        let found = format!("{} answers for {} of them", tokens.len(), known.intersection(&given).count());
        return Err(format!("expected: one answer for each of {records} records\n   found: {found}").into());
    }
    Ok(live.close().await?)
}

async fn sink_idle_ends_on_wake_up(subject: &Subject) -> Checked {
    let mut surrounded = opened(subject, Some(Direction::Egress)).await?;
    let live = &mut surrounded.live;
    let instance = live.instance()?;
    let outcomes = woken(instance.waker(), instance.idle(LONG_WAIT_MS)).await??;
    if count(&outcomes) > 0 {
        return Err(format!("expected: no outcomes, since nothing was written\n   found: {outcomes:?}").into());
    }
    Ok(live.close().await?)
}

fn payloads(count: usize) -> Vec<Vec<u8>> {
    (0..count).map(|i| format!("{{\"n\":{i}}}").into_bytes()).collect()
}

/// Nothing, bytes that are no text, a deep nesting, a long one.
fn odd_payloads() -> Vec<Vec<u8>> {
    vec![
        Vec::new(),
        vec![0xff, 0, 0xfe],
        "[".repeat(2_000).into_bytes(),
        vec![b'x'; 256 << 10],
        b"{\"a\":1e999}".to_vec(),
    ]
}

async fn function_answers(subject: &Subject, payloads: &[Vec<u8>]) -> Checked {
    let mut surrounded = opened(subject, None).await?;
    let live = &mut surrounded.live;
    let batch = Batch::of(payloads).map_err(|e| e.to_string())?;
    let answer = live.instance()?.apply(&batch).await?;
    answer.check(&batch).map_err(|e| format!("expected: an answer by the contract\n   found: {e}"))?;
    if batch.is_empty() && !answer.is_empty() {
        return Err(format!("expected: no output of no input\n   found: {} records", answer.len()).into());
    }
    Ok(live.close().await?)
}
