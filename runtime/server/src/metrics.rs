//! Numbers for Prometheus, taken when they are asked for.
//!
//! `docs/metrics.md` lists every name; a test compares the list with this file's.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use ferrule_api::report::{Alert, Distribution, LimitStatus, PipelineStatus, StatusReport, StreamStatus, TargetBytes};
use ferrule_model::capability::AbilityKind;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

/// What a guest counted or measured.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GuestNumber {
    /// As the guest named it.
    pub(crate) name: String,
    /// The stream or step, as `project/instance/stream` or `project/pipeline/step`.
    pub(crate) guest: String,
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) value: Number,
}

/// A sample.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Number {
    /// Only grows.
    Counter(u64),
    /// Only grows, in parts of seconds.
    Seconds(f64),
    /// Goes up and down.
    Gauge(f64),
}

/// All distributions of one name.
#[derive(Debug, Clone, PartialEq)]
struct Histograms {
    name: &'static str,
    help: &'static str,
    samples: Vec<(Vec<(String, String)>, Distribution)>,
}

/// All samples of one name.
#[derive(Debug, Clone, PartialEq)]
struct Family {
    /// Without the suffix `_total`, which the encoder adds to counters.
    name: String,
    help: &'static str,
    samples: Vec<(Vec<(String, String)>, Number)>,
}

/// The numbers about the server as a whole.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ServerNumbers {
    pub(crate) dead_letters: u64,
    pub(crate) dead_letter_bytes: u64,
    pub(crate) components: u64,
}

/// How often each stream or step was denied something, by kind.
pub(crate) type Denied = BTreeMap<(Arc<str>, AbilityKind), u64>;

/// The text that `/metrics` answers.
pub(crate) fn render(
    report: &StatusReport,
    guests: &[GuestNumber],
    server: ServerNumbers,
    denied: &Denied,
) -> Result<String, fmt::Error> {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Numbers(families(report, guests, server, denied), histograms(report))));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(text)
}

#[derive(Debug)]
struct Numbers(Vec<Family>, Vec<Histograms>);

impl Collector for Numbers {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        for family in &self.0 {
            let Some((_, first)) = family.samples.first() else { continue };
            let kind = match first {
                Number::Counter(_) | Number::Seconds(_) => MetricType::Counter,
                Number::Gauge(_) => MetricType::Gauge,
            };
            let mut metric = encoder.encode_descriptor(&family.name, family.help, None, kind)?;
            for (labels, number) in &family.samples {
                if labels.is_empty() {
                    encode(*number, metric)?;
                    break;
                }
                encode(*number, metric.encode_family(labels)?)?;
            }
        }
        for family in self.1.iter().filter(|family| !family.samples.is_empty()) {
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, MetricType::Histogram)?;
            for (labels, distribution) in &family.samples {
                encode_distribution(distribution, metric.encode_family(labels)?)?;
            }
        }
        Ok(())
    }
}

fn encode(number: Number, encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
    match number {
        Number::Counter(value) => ConstCounter::new(value).encode(encoder),
        Number::Seconds(value) => ConstCounter::new(value).encode(encoder),
        Number::Gauge(value) => ConstGauge::new(value).encode(encoder),
    }
}

#[allow(clippy::cast_precision_loss, reason = "bounds are small; a sum beyond 2^53 needs no last digit")]
fn encode_distribution(of: &Distribution, mut encoder: MetricEncoder<'_>) -> fmt::Result {
    let bounds = of.bounds.iter().map(|bound| *bound as f64).chain(std::iter::once(f64::INFINITY));
    let buckets: Vec<(f64, u64)> = bounds.zip(of.counts.iter().copied()).collect();
    encoder.encode_histogram::<[(String, String); 0]>(of.sum as f64, of.count(), &buckets, None)
}

type OfHistogram = (&'static str, &'static str, fn(&PipelineStatus) -> &Distribution);

const HISTOGRAMS: &[OfHistogram] = &[
    ("ferrule_pipeline_attempts", "Attempts that records took that the sink answered for", |p| &p.attempts),
    ("ferrule_pipeline_write_records", "Records that were written to the sink together", |p| &p.batches),
];

type OfStream = (&'static str, &'static str, fn(&StreamStatus) -> Option<Number>);
type OfPipeline = (&'static str, &'static str, fn(&PipelineStatus, i64) -> Option<Number>);

const STREAMS: &[OfStream] = &[
    ("ferrule_stream_up", "Whether the session is open (1) or not (0)", |s| Some(up(s.state == "running"))),
    (
        "ferrule_stream_healthy",
        "Whether the guest says that its work goes well (1) or not (0); nothing while it says neither",
        |s| match s.health.as_str() {
            "healthy" => Some(up(true)),
            "unhealthy" => Some(up(false)),
            _ => None,
        },
    ),
    ("ferrule_stream_records", "Records that went through", |s| Some(Number::Counter(s.records))),
    ("ferrule_stream_bytes", "Bytes of payload, key and headers that went through", |s| Some(Number::Counter(s.bytes))),
    ("ferrule_stream_restarts", "Sessions opened again after a failure", |s| Some(Number::Counter(s.restarts))),
    ("ferrule_stream_refusals", "Times the guest reached for what it was not granted", |s| {
        Some(Number::Counter(s.refusals))
    }),
    ("ferrule_stream_memory_bytes", "Linear memory that the guest holds", |s| Some(gauge(s.memory_bytes))),
    ("ferrule_stream_peak_memory_bytes", "The most linear memory that one of its sessions held", |s| {
        Some(gauge(s.peak_memory_bytes))
    }),
    ("ferrule_stream_calls", "Calls that were made into the guest", |s| Some(Number::Counter(s.calls))),
    ("ferrule_stream_cpu_seconds", "Time that the guest computed", |s| Some(Number::Seconds(s.cpu_seconds))),
    ("ferrule_stream_log_lines_suppressed", "Lines of log over the rate, counted and not kept", |s| {
        Some(Number::Counter(s.suppressed_log_lines))
    }),
    ("ferrule_stream_unsettled", "A source: records taken in and not settled; a sink: records in flight", |s| {
        Some(gauge(s.unsettled))
    }),
    ("ferrule_stream_dropped", "Records that the policy of the stream's log dropped", |s| {
        source(s, Number::Counter(s.dropped))
    }),
    ("ferrule_stream_log_records", "Records that the log holds of the stream", |s| source(s, gauge(s.held_records))),
    ("ferrule_stream_log_bytes", "Bytes of payload, key and headers that the log holds of the stream", |s| {
        source(s, gauge(s.held_bytes))
    }),
    ("ferrule_stream_log_unread_bytes", "Bytes of them that some pipeline is not done with", |s| {
        source(s, gauge(s.unread_bytes))
    }),
];

const PIPELINES: &[OfPipeline] = &[
    ("ferrule_pipeline_up", "Whether the pipeline runs (1) or not (0)", |p, _| Some(up(p.state == "running"))),
    ("ferrule_pipeline_delivered", "Records that the sink has", |p, _| Some(Number::Counter(p.delivered))),
    ("ferrule_pipeline_delivered_bytes", "Bytes of payload, key and headers that the sink has", |p, _| {
        Some(Number::Counter(p.delivered_bytes))
    }),
    ("ferrule_pipeline_filtered", "Records that a function dropped", |p, _| Some(Number::Counter(p.filtered))),
    ("ferrule_pipeline_duplicates", "Records that went no further because their ids were seen before", |p, _| {
        Some(Number::Counter(p.duplicates))
    }),
    ("ferrule_pipeline_dead_lettered", "Records given up and kept", |p, _| Some(Number::Counter(p.dead_lettered))),
    ("ferrule_pipeline_dropped", "Records given up and not kept", |p, _| Some(Number::Counter(p.dropped))),
    ("ferrule_pipeline_retried", "Attempts to deliver after the first", |p, _| Some(Number::Counter(p.retried))),
    ("ferrule_pipeline_restarts", "Functions opened again after a failure", |p, _| Some(Number::Counter(p.restarts))),
    ("ferrule_pipeline_lag", "Records in the log that the pipeline is not done with", |p, _| Some(gauge(p.lag))),
    ("ferrule_pipeline_lag_bytes", "Bytes of the records that the pipeline is not done with", |p, _| {
        Some(gauge(p.lag_bytes))
    }),
    ("ferrule_pipeline_lag_seconds", "How long the oldest of them has waited; 0 when there is none", |p, now| {
        Some(Number::Gauge(p.behind(now).as_secs_f64()))
    }),
    (
        "ferrule_pipeline_oldest_unprocessed_timestamp_seconds",
        "When the oldest of them was taken in, in seconds since 1970; nothing when there is none",
        |p, _| Some(Number::Gauge(seconds(p.oldest_ms?))),
    ),
    ("ferrule_pipeline_in_flight", "Records taken and without outcome", |p, _| Some(gauge(p.in_flight))),
];

/// One for each alert that is raised: of the server, of a stream, of a pipeline.
const ALERTS: [(&str, &str); 3] = [
    ("ferrule_alert", "1 for each alert about the server as a whole"),
    ("ferrule_stream_alert", "1 for each alert about the stream"),
    ("ferrule_pipeline_alert", "1 for each alert about the pipeline"),
];

const SERVER: &[(&str, &str)] = &[
    ("ferrule_build_info", "Always 1; the version is in the label"),
    ("ferrule_dead_letters", "Dead letters that are kept"),
    ("ferrule_dead_letter_bytes", "Bytes that they take on the disk"),
    ("ferrule_components", "Components that are registered"),
    ("ferrule_log_info", "Always 1; where the log is is in the label: memory, embedded or nats"),
    ("ferrule_log_up", "Whether the log takes records (1) or not (0); `ferrule status` says why not"),
    ("ferrule_log_disk_bytes", "Bytes of the log on the disk"),
    ("ferrule_log_syncs", "Times the log made sure that records survive the end of the machine"),
    ("ferrule_log_batches", "Batches that were appended to the log"),
    ("ferrule_log_findings", "Damage that was found in the log when it was opened; `ferrule status` says what"),
];

/// What only a stream with a log has.
fn source(stream: &StreamStatus, number: Number) -> Option<Number> {
    (stream.direction == "ingress").then_some(number)
}

fn up(holds: bool) -> Number {
    gauge(u64::from(holds))
}

#[allow(clippy::cast_precision_loss, reason = "a gauge is a float; counts beyond 2^53 need no last digit")]
fn gauge(value: u64) -> Number {
    Number::Gauge(value as f64)
}

#[allow(clippy::cast_precision_loss, reason = "milliseconds since 1970 are far below 2^53")]
fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1e3
}

/// What pipelines have that never wrote, is left out.
fn histograms(report: &StatusReport) -> Vec<Histograms> {
    let of = |(name, help, distribution): &OfHistogram| {
        let samples = report.pipelines.iter().filter(|pipeline| !distribution(pipeline).counts.is_empty());
        let samples = samples.map(|pipeline| (labels_of(pipeline), distribution(pipeline).clone())).collect();
        Histograms { name, help, samples }
    };
    HISTOGRAMS.iter().map(of).collect()
}

fn label(name: &str, value: &str) -> (String, String) {
    (name.to_owned(), value.to_owned())
}

fn labels_of_stream(stream: &StreamStatus) -> Vec<(String, String)> {
    vec![
        label("namespace", &stream.namespace),
        label("instance", &stream.instance),
        label("stream", &stream.name),
        label("direction", &stream.direction),
    ]
}

type OfLimit = (&'static str, &'static str, fn(&LimitStatus) -> Number);
type OfTarget = (&'static str, &'static str, fn(&TargetBytes) -> Number);

const LIMITS: &[OfLimit] = &[
    ("ferrule_stream_limit", "What the guest may use, in bytes, milliseconds, percent or pieces", |l| gauge(l.value)),
    ("ferrule_stream_limit_reached", "Times the guest reached a limit", |l| Number::Counter(l.reached)),
];

const TARGETS: &[OfTarget] = &[
    ("ferrule_stream_received_bytes", "Bytes that the guest received from outside", |t| Number::Counter(t.received)),
    ("ferrule_stream_sent_bytes", "Bytes that the guest sent outside", |t| Number::Counter(t.sent)),
];

/// What streams have for each limit, and for each target.
fn of_parts(report: &StatusReport) -> Vec<Family> {
    let with = |stream: &StreamStatus, name: &str, value: &str| {
        let mut labels = labels_of_stream(stream);
        labels.push(label(name, value));
        labels
    };
    let mut all = Vec::new();
    for (name, help, number) in LIMITS {
        let of = |stream: &StreamStatus| -> Vec<_> {
            let each = stream.limits.iter();
            each.map(|limit| (with(stream, "limit", &limit.name), number(limit))).collect()
        };
        all.push(Family { name: (*name).to_owned(), help, samples: report.streams.iter().flat_map(of).collect() });
    }
    for (name, help, number) in TARGETS {
        let of = |stream: &StreamStatus| -> Vec<_> {
            let each = stream.targets.iter();
            each.map(|target| (with(stream, "target", &target.target), number(target))).collect()
        };
        all.push(Family { name: (*name).to_owned(), help, samples: report.streams.iter().flat_map(of).collect() });
    }
    all
}

fn labels_of(pipeline: &PipelineStatus) -> Vec<(String, String)> {
    vec![label("namespace", &pipeline.namespace), label("pipeline", &pipeline.name)]
}

fn alerts(report: &StatusReport) -> Vec<Family> {
    let samples = |labels: Vec<(String, String)>, alerts: &[Alert]| -> Vec<(Vec<(String, String)>, Number)> {
        let sample = |alert: &Alert| {
            let own = [label("alert", &alert.name), label("severity", &alert.severity)];
            (labels.iter().cloned().chain(own).collect(), up(true))
        };
        alerts.iter().map(sample).collect()
    };
    let of_streams = report.streams.iter().flat_map(|stream| samples(labels_of_stream(stream), &stream.alerts));
    let of_pipelines = report.pipelines.iter().flat_map(|pipeline| samples(labels_of(pipeline), &pipeline.alerts));
    let all = [samples(Vec::new(), &report.alerts), of_streams.collect(), of_pipelines.collect()];
    ALERTS.iter().zip(all).map(|((name, help), samples)| Family { name: (*name).to_owned(), help, samples }).collect()
}

fn families(report: &StatusReport, guests: &[GuestNumber], server: ServerNumbers, denied: &Denied) -> Vec<Family> {
    let values = [
        (vec![label("version", env!("CARGO_PKG_VERSION"))], Number::Gauge(1.0)),
        (Vec::new(), gauge(server.dead_letters)),
        (Vec::new(), gauge(server.dead_letter_bytes)),
        (Vec::new(), gauge(server.components)),
        (vec![label("transport", &report.log.transport)], Number::Gauge(1.0)),
        (Vec::new(), up(report.log.trouble.is_none())),
        (Vec::new(), gauge(report.log.disk_bytes)),
        (Vec::new(), Number::Counter(report.log.syncs)),
        (Vec::new(), Number::Counter(report.log.batches)),
        (Vec::new(), gauge(report.log.findings.len() as u64)),
    ];
    let mut all: Vec<Family> = SERVER
        .iter()
        .zip(values)
        .map(|((name, help), sample)| Family { name: (*name).to_owned(), help, samples: vec![sample] })
        .collect();
    for (name, help, number) in STREAMS {
        let samples = report.streams.iter().filter_map(|stream| Some((labels_of_stream(stream), number(stream)?)));
        all.push(Family { name: (*name).to_owned(), help, samples: samples.collect() });
    }
    all.extend(of_parts(report));
    for (name, help, number) in PIPELINES {
        let samples = report
            .pipelines
            .iter()
            .filter_map(|pipeline| Some((labels_of(pipeline), number(pipeline, report.time_ms)?)));
        all.push(Family { name: (*name).to_owned(), help, samples: samples.collect() });
    }
    let denied = denied.iter().map(|((guest, kind), count)| {
        (vec![label("guest", guest), label("kind", kind.as_str())], Number::Counter(*count))
    });
    let help = "Times a guest reached for what it may not: streams and steps, by what it wanted to do";
    all.push(Family { name: "ferrule_denied".to_owned(), help, samples: denied.collect() });
    all.extend(alerts(report));
    all.extend(of_guests(guests));
    all
}

/// Numbers of one name stay together, as the format wants it. A name that one guest counts and another measures becomes
/// two: nothing that guests do may break the page.
fn of_guests(guests: &[GuestNumber]) -> Vec<Family> {
    let mut families: Vec<Family> = Vec::new();
    for guest in guests {
        let (suffix, kind) = match guest.value {
            Number::Counter(_) | Number::Seconds(_) => ("", true),
            Number::Gauge(_) => ("_value", false),
        };
        let clash =
            guests.iter().any(|other| other.name == guest.name && matches!(other.value, Number::Counter(_)) != kind);
        let name = format!("ferrule_guest_{}{}", guest.name, if clash { suffix } else { "" });
        let mut labels = vec![("guest".to_owned(), guest.guest.clone())];
        labels.extend(guest.labels.iter().filter(|(name, _)| name != "guest").cloned());
        match families.iter_mut().find(|family| family.name == name) {
            Some(family) => family.samples.push((labels, guest.value)),
            None => families.push(Family { name, help: "Reported by the guest", samples: vec![(labels, guest.value)] }),
        }
    }
    families
}

#[cfg(test)]
mod tests {
    use ferrule_api::report::LogStatus;

    use super::*;

    fn alert(name: &str) -> Alert {
        Alert { severity: "warning".to_owned(), name: name.to_owned(), message: "all of it".to_owned() }
    }

    fn report() -> StatusReport {
        let stream = StreamStatus {
            name: "in\"1".to_owned(),
            instance: "hall".to_owned(),
            direction: "ingress".to_owned(),
            state: "running".to_owned(),
            health: "healthy".to_owned(),
            records: 7,
            alerts: vec![alert("dropping")],
            cpu_seconds: 0.25,
            limits: vec![LimitStatus { name: "memory".to_owned(), value: 64, text: "64".to_owned(), reached: 2 }],
            targets: vec![TargetBytes { target: "broker:1883".to_owned(), received: 5, sent: 6 }],
            ..StreamStatus::default()
        };
        let pipeline = PipelineStatus {
            name: "p".to_owned(),
            lag: 3,
            delivered: 4,
            oldest_ms: Some(4_000),
            alerts: vec![alert("retrying")],
            attempts: Distribution { bounds: vec![1, 2], counts: vec![5, 1, 0], sum: 7 },
            ..PipelineStatus::default()
        };
        StatusReport {
            streams: vec![stream],
            pipelines: vec![pipeline],
            time_ms: 5_500,
            alerts: vec![alert("dead-letters-full")],
            log: LogStatus { transport: "nats".to_owned(), syncs: 8, ..LogStatus::default() },
        }
    }

    fn denied() -> Denied {
        [(("hall/in".into(), AbilityKind::Tcp), 3)].into_iter().collect()
    }

    #[test]
    fn the_page_has_all_numbers_and_odd_names_do_not_break_it() {
        let number = |name: &str, value| GuestNumber {
            name: name.to_owned(),
            guest: "hall/in".to_owned(),
            labels: vec![("topic".to_owned(), "a\nb".to_owned())],
            value,
        };
        let guests = [
            number("messages", Number::Counter(1)),
            number("lag", Number::Gauge(0.5)),
            number("messages", Number::Gauge(2.0)),
        ];
        let text = render(&report(), &guests, ServerNumbers { dead_letters: 2, ..ServerNumbers::default() }, &denied())
            .unwrap();
        for line in [
            r#"ferrule_stream_records_total{namespace="",instance="hall",stream="in\"1",direction="ingress"} 7"#,
            r#"ferrule_stream_up{namespace="",instance="hall",stream="in\"1",direction="ingress"} 1.0"#,
            r#"ferrule_stream_cpu_seconds_total{namespace="",instance="hall",stream="in\"1",direction="ingress"} 0.25"#,
            r#"ferrule_stream_limit{namespace="",instance="hall",stream="in\"1",direction="ingress",limit="memory"} 64.0"#,
            r#"stream="in\"1",direction="ingress",limit="memory"} 2"#,
            r#"stream="in\"1",direction="ingress",target="broker:1883"} 5"#,
            r#"ferrule_pipeline_lag{namespace="",pipeline="p"} 3.0"#,
            r#"ferrule_pipeline_delivered_total{namespace="",pipeline="p"} 4"#,
            r#"ferrule_guest_messages_total{guest="hall/in",topic="a\nb"} 1"#,
            r#"ferrule_guest_messages_value{guest="hall/in",topic="a\nb"} 2.0"#,
            r#"ferrule_guest_lag{guest="hall/in",topic="a\nb"} 0.5"#,
            "ferrule_dead_letters 2.0",
            r#"ferrule_denied_total{guest="hall/in",kind="tcp"} 3"#,
            r#"ferrule_log_info{transport="nats"} 1.0"#,
            "ferrule_log_up 1.0",
            r#"ferrule_alert{alert="dead-letters-full",severity="warning"} 1.0"#,
            r#"ferrule_stream_alert{namespace="",instance="hall",stream="in\"1",direction="ingress",alert="dropping",severity="warning"} 1.0"#,
            r#"ferrule_pipeline_alert{namespace="",pipeline="p",alert="retrying",severity="warning"} 1.0"#,
            "ferrule_log_syncs_total 8",
            r#"ferrule_pipeline_lag_seconds{namespace="",pipeline="p"} 1.5"#,
            r#"ferrule_pipeline_oldest_unprocessed_timestamp_seconds{namespace="",pipeline="p"} 4.0"#,
            "# TYPE ferrule_stream_records counter",
            "# TYPE ferrule_pipeline_attempts histogram",
            r#"ferrule_pipeline_attempts_bucket{le="1.0",namespace="",pipeline="p"} 5"#,
            r#"ferrule_pipeline_attempts_bucket{le="2.0",namespace="",pipeline="p"} 6"#,
            r#"ferrule_pipeline_attempts_bucket{le="+Inf",namespace="",pipeline="p"} 6"#,
            r#"ferrule_pipeline_attempts_sum{namespace="",pipeline="p"} 7.0"#,
            r#"ferrule_pipeline_attempts_count{namespace="",pipeline="p"} 6"#,
        ] {
            assert!(text.contains(line), "{line} is missing in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
    }

    /// The names on the page, and what they mean.
    fn exported() -> Vec<(String, &'static str)> {
        let families = families(&report(), &[], ServerNumbers::default(), &denied()).into_iter().map(|family| {
            let suffix =
                if matches!(family.samples[0].1, Number::Counter(_) | Number::Seconds(_)) { "_total" } else { "" };
            (format!("{}{suffix}", family.name), family.help)
        });
        families.chain(HISTOGRAMS.iter().map(|(name, help, _)| ((*name).to_owned(), *help))).collect()
    }

    #[test]
    fn every_name_is_documented() {
        let page = include_str!("../../../docs/metrics.md");
        for (name, help) in exported() {
            assert!(page.contains(&format!("`{name}`")), "docs/metrics.md does not list {name}");
            assert!(page.contains(help), "docs/metrics.md does not explain {name} as the page does: {help}");
        }
    }

    #[test]
    fn nothing_is_documented_that_is_not_there() {
        let all = exported();
        let page = include_str!("../../../docs/metrics.md");
        let names: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next()).collect();
        assert_eq!(names.len(), all.len());
        for name in names {
            assert!(all.iter().any(|(exported, _)| exported == name), "docs/metrics.md lists {name}");
        }
    }
}
