//! From what is wanted, with its components at hand, to the flow's plan.

use std::time::Duration;

use ferrule_flow::backoff::BackoffPolicy;
use ferrule_flow::plan::{
    BatchPlan, ComponentRef, GuestPlan, OnError, PipelinePlan, RetryPlan, Revision, Start, StepPlan, StreamPlan,
};
use ferrule_host::Limits as HostLimits;
use ferrule_model::component::Direction;
use ferrule_model::connector::{self, BatchLimits, Limits, Retry, StartAt, StreamDirection};
use ferrule_model::quantity::{Size, Span};

use crate::wanted::{WantedPipeline, WantedStream};

pub(crate) fn stream_plan(wanted: &WantedStream, component: ComponentRef) -> StreamPlan {
    let direction = match wanted.direction {
        StreamDirection::Ingress => Direction::Ingress,
        StreamDirection::Egress => Direction::Egress,
    };
    let guest = GuestPlan {
        component,
        class: wanted.component.class.clone(),
        static_parameters: wanted.static_parameters.to_string(),
        config: wanted.config.to_string(),
        parameters: wanted.parameters.to_string(),
        redactor: wanted.redactor.clone(),
        rules: wanted.rules.clone(),
        limits: limits(&wanted.limits),
        attached: wanted.attached.clone(),
    };
    let mut plan = StreamPlan::new(wanted.uid.clone(), wanted.name.clone(), direction, guest);
    plan.held = wanted.paused;
    plan.log = wanted.log;
    plan.revision = revision(&wanted.revision);
    plan
}

/// `components` are those of the steps, in order.
pub(crate) fn pipeline_plan(wanted: &WantedPipeline, components: Vec<ComponentRef>) -> PipelinePlan {
    let steps = wanted.steps.iter().zip(components).map(|(step, component)| {
        let guest = GuestPlan {
            component,
            class: step.component.class.clone(),
            static_parameters: "{}".to_owned(),
            config: "{}".to_owned(),
            parameters: step.args.to_string(),
            redactor: step.redactor.clone(),
            rules: step.rules.clone(),
            limits: limits(&step.limits),
            attached: step.attached.clone(),
        };
        StepPlan { parallelism: step.parallelism, ..StepPlan::new(step.name.clone(), guest) }
    });
    PipelinePlan {
        uid: wanted.uid.clone(),
        name: wanted.name.clone(),
        sources: wanted.sources.clone(),
        steps: steps.collect(),
        sink: wanted.sink.clone(),
        routes: wanted.routes.clone(),
        batch: batch(&wanted.batch),
        retry: retry(&wanted.retry),
        on_error: match wanted.on_error {
            connector::OnError::DeadLetter => OnError::DeadLetter,
            connector::OnError::Drop => OnError::Drop,
        },
        sampling: wanted.sampling.unwrap_or_default(),
        start: match wanted.start {
            StartAt::Latest => Start::Latest,
            StartAt::Beginning => Start::Beginning,
        },
        deduplicate: wanted.deduplicate,
        held: wanted.paused,
        revision: revision(&wanted.revision),
    }
}

fn revision(text: &str) -> Revision {
    Revision(u64::from_str_radix(text, 16).unwrap_or_default())
}

fn limits(wanted: &Limits) -> HostLimits {
    let usual = HostLimits::default();
    let size =
        |wanted: Option<Size>, usual: usize| wanted.map_or(usual, |size| usize::try_from(size.0).unwrap_or(usize::MAX));
    let count = |wanted: Option<u32>, usual: usize| wanted.map_or(usual, |count| count as usize);
    let time = |wanted: Option<Span>, usual: Duration| wanted.map_or(usual, |time| time.0);
    HostLimits {
        memory_bytes: size(wanted.memory, usual.memory_bytes),
        table_elements: count(wanted.table_elements, usual.table_elements),
        instances: count(wanted.instances, usual.instances),
        call_time: time(wanted.call_time, usual.call_time),
        wait: time(wanted.wait, usual.wait),
        cpu_percent: wanted.cpu.or(usual.cpu_percent),
        handles: count(wanted.handles, usual.handles),
        sockets: count(wanted.sockets, usual.sockets),
        lookups: count(wanted.lookups, usual.lookups),
        requests: count(wanted.requests, usual.requests),
        body_bytes: size(wanted.body_bytes, usual.body_bytes),
        answer_bytes: size(wanted.answer_bytes, usual.answer_bytes),
        batch_bytes: size(wanted.batch_bytes, usual.batch_bytes),
        batch_records: count(wanted.batch_records, usual.batch_records),
        log_lines_per_second: wanted.log_lines.unwrap_or(usual.log_lines_per_second),
        log_bytes_per_second: size(wanted.log_bytes, usual.log_bytes_per_second),
        metric_series: count(wanted.metrics, usual.metric_series),
        status_updates_per_second: wanted.status_updates.unwrap_or(usual.status_updates_per_second),
    }
}

fn batch(wanted: &BatchLimits) -> BatchPlan {
    let mut batch = BatchPlan::default();
    if let Some(records) = wanted.records {
        batch.records = records;
        batch.window = batch.window.max(records);
    }
    if let Some(bytes) = wanted.bytes {
        batch.bytes = bytes.0;
    }
    if let Some(linger) = wanted.linger {
        batch.linger = linger.0;
    }
    if let Some(window) = wanted.window {
        batch.window = window;
        batch.records = batch.records.min(window);
    }
    if let Some(bytes) = wanted.window_bytes {
        batch.window_bytes = bytes.0;
    }
    batch
}

fn retry(wanted: &Retry) -> RetryPlan {
    let mut backoff = BackoffPolicy::default();
    let wait = wanted.backoff.unwrap_or_default();
    if let Some(first) = wait.initial {
        backoff.first = first.0;
    }
    backoff.longest = wait.max.map_or(backoff.longest, |longest| longest.0).max(backoff.first);
    RetryPlan { attempts: wanted.attempts, age: wanted.age.map(|age| age.0), backoff }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use async_trait::async_trait;
    use ferrule_flow::guest::{Artifact, Guest};
    use ferrule_host::{CallError, Observer};
    use ferrule_model::component::Description;
    use serde_json::json;

    use super::*;
    use crate::wanted::{Chosen, WantedStep};

    struct Fake(Description);

    #[async_trait]
    impl Artifact for Fake {
        fn digest(&self) -> &str {
            "sha256:1"
        }

        fn description(&self) -> &Description {
            &self.0
        }

        async fn instantiate(&self, _: &str, _: &GuestPlan, _: Arc<dyn Observer>) -> Result<Box<dyn Guest>, CallError> {
            Err(CallError::Malformed { call: "open", problem: "nothing runs here".into() })
        }
    }

    fn chosen() -> Chosen {
        Chosen {
            digest: "sha256:1".into(),
            name: "sieve".into(),
            version: String::new(),
            description: Arc::default(),
            class: "sieve".into(),
        }
    }

    #[test]
    fn a_pipeline_keeps_what_its_document_says() {
        let limits =
            Limits { memory: Some(Size(1 << 20)), call_time: Some(Span(Duration::from_secs(1))), ..Limits::default() };
        let step = WantedStep {
            name: "sieve".into(),
            component: chosen(),
            args: json!({"over": 3}),
            told: json!({"over": 3}),
            redactor: Default::default(),
            rules: ferrule_model::capability::Rules::default(),
            attached: Default::default(),
            attached_told: Vec::new(),
            limits,
            parallelism: 4,
        };
        let wanted = WantedPipeline {
            uid: "p".into(),
            name: "p".into(),
            sources: vec!["a".into(), "b".into()],
            steps: vec![step],
            sink: "s".into(),
            routes: [("high".to_owned(), "t".into())].into_iter().collect(),
            retry: Retry {
                attempts: Some(5),
                age: None,
                backoff: Some(connector::Backoff { initial: Some(Span(Duration::from_secs(60))), max: None }),
            },
            on_error: connector::OnError::Drop,
            batch: BatchLimits {
                records: Some(9_000),
                linger: Some(Span(Duration::from_millis(5))),
                window_bytes: Some(Size(5 << 20)),
                ..BatchLimits::default()
            },
            sampling: Some(Duration::from_millis(250)),
            start: StartAt::Beginning,
            deduplicate: Some(Duration::from_secs(600)),
            paused: true,
            revision: "00000000000000ff".into(),
        };
        let plan = pipeline_plan(&wanted, vec![ComponentRef::new(Arc::new(Fake(Description::default())))]);
        assert_eq!(plan.sources, wanted.sources);
        assert_eq!(plan.steps[0].guest.parameters, r#"{"over":3}"#);
        assert_eq!(plan.steps[0].guest.limits.memory_bytes, 1 << 20);
        assert_eq!(plan.steps[0].guest.limits.call_time, Duration::from_secs(1));
        assert_eq!(plan.steps[0].guest.limits.wait, HostLimits::default().wait);
        assert_eq!((plan.batch.records, plan.batch.linger), (9_000, Duration::from_millis(5)));
        assert!(plan.batch.window >= plan.batch.records, "a batch fits the window");
        assert_eq!((plan.steps[0].parallelism, plan.batch.window_bytes), (4, 5 << 20));
        assert_eq!((plan.start, plan.deduplicate), (Start::Beginning, Some(Duration::from_secs(600))));
        let narrow = super::batch(&BatchLimits { window: Some(10), ..BatchLimits::default() });
        assert_eq!((narrow.window, narrow.records), (10, 10), "a batch fits a narrow window too");
        assert_eq!(plan.retry.attempts, Some(5));
        assert_eq!(plan.retry.backoff.first, Duration::from_secs(60));
        assert!(plan.retry.backoff.longest >= plan.retry.backoff.first);
        assert_eq!((plan.on_error, plan.sampling, plan.held), (OnError::Drop, Duration::from_millis(250), true));
        assert_eq!(plan.revision.0, 255);
    }

    #[test]
    fn every_limit_of_a_document_reaches_the_host() {
        let limit = ferrule_host::Limit::ALL.map(|limit| (limit, limit.word()));
        for (limit, word) in limit {
            let wanted: Limits = serde_json::from_value(json!({ word: 7 })).unwrap();
            assert_ne!(wanted, Limits::default(), "a document cannot say {word}");
            let seconds = matches!(limit, ferrule_host::Limit::CallTime | ferrule_host::Limit::Wait);
            assert_eq!(limits(&wanted).value(limit), if seconds { 7_000 } else { 7 }, "{word}");
        }
        assert_eq!(limits(&Limits::default()), HostLimits::default());
    }
}
