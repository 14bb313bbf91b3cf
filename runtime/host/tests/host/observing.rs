//! What people see of a guest, and how it is bounded.

use crate::guests::{PULL, load, open, options};

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
