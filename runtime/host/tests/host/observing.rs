//! What people see of a guest, and how it is bounded.

use ferrule_host::{CallError, InstanceOptions, Session};
use ferrule_model::redact::Redactor;

use crate::guests::{PULL, load, open, options, session};

#[tokio::test]
async fn a_flood_of_logs_is_bounded_and_counted() {
    let (options, recorder) = options(&[]);
    let limit = options.limits.log_lines_per_second as usize;
    let mut instance = load("floods-logs").await.unwrap().instantiate(options).await.unwrap();
    instance.next(PULL).await.unwrap();
    drop(instance);
    let events = recorder.events();
    // The call may reach into a few seconds on a slow machine, never into a thousand lines.
    assert!(events.len() >= limit && events.len() < 1_000, "{} lines", events.len());
    assert!(events.iter().all(|event| event.len() < 10_000));
    assert!(recorder.has("lines were not kept"), "{:?}", events.last());
}

#[tokio::test]
async fn health_alerts_and_metrics_reach_the_observer() {
    let (options, recorder) = options(&[]);
    let mut instance = load("tells-status").await.unwrap().instantiate(options).await.unwrap();
    open(&mut instance, "").await.unwrap();
    let expected = [
        "health false connecting",
        "alert Warning cold it is cold",
        "clear cold",
        "health true up",
        "count records [(\"kind\", \"a\")] 2",
        "gauge level [] 0.5",
    ];
    assert_eq!(recorder.events().iter().filter(|event| !event.starts_with("log")).collect::<Vec<_>>(), expected);
    assert!(recorder.has("is no name for a metric"));

    instance.next(PULL).await.unwrap();
    let peers = recorder.events().iter().filter(|event| event.starts_with("count peers")).count();
    assert!(peers > 0 && peers <= ferrule_host::limits::METRIC_SERIES, "{peers}");
}

/// The values that `tells-secrets` is given.
const SECRETS: [&str; 3] = ["canary-in-file", "canary-from-stdin", "canary/of variable"];

#[tokio::test]
async fn a_guest_that_shows_what_it_was_given_of_secrets_is_masked() {
    let redactor = Redactor::new(SECRETS.map(str::as_bytes));
    let parameters = |how: &str| {
        let [file, stdin, variable] = SECRETS;
        format!(r#"{{"how":"{how}","file":"{file}","stdin":"{stdin}","variable":"{variable}"}}"#)
    };
    let mut told = Vec::new();
    for how in ["shows", "fails", "invalid", "panics"] {
        let (options, recorder) = options(&[]);
        let options = InstanceOptions { redactor: redactor.clone(), ..options };
        let mut instance = load("tells-secrets").await.unwrap().instantiate(options).await.unwrap();
        let opened = instance.open(Session { parameters: parameters(how), ..session("") }).await;
        assert_eq!(opened.is_ok(), how == "shows", "{how}");
        match opened {
            Ok(_) => {
                let mut batch = ferrule_model::record::BatchBuilder::new();
                for _ in 0..2 {
                    batch.push(&ferrule_model::record::RecordRef::of(b"x")).unwrap();
                }
                let mut batch = batch.finish();
                batch.tokens = vec![1, 2].into();
                let outcomes = instance.write(&batch).await.unwrap();
                assert_eq!((outcomes.rejected.len(), outcomes.retry.len()), (1, 1));
                told.push(format!("{outcomes:?}"));
            }
            Err(error) => {
                let words = matches!(error, CallError::Trap { .. }) == (how == "panics");
                assert!(words && error.to_string().contains("****"), "{how}: {error}");
                told.push(format!("{error:?} {} {:?}", error.told(), instance.open(session("")).await));
            }
        }
        assert!(recorder.has("denied resolve ****.example") || recorder.has("denied tcp ****.example"));
        assert!(recorder.has("alert Critical **** ") && recorder.has("count shown [(\"value\", \"****\")]"));
        drop(instance);
        told.extend(recorder.events());
    }
    // Base64 of it, alone and behind a name.
    let hidden = ["canary", "Y2FuYXJ5", "NhbmFyeS", "jYW5hcn", "%63%61%6E%61", "of variable"];
    for line in told {
        for canary in hidden {
            assert!(!line.contains(canary), "{canary} in {line}");
        }
    }
}
