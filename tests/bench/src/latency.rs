//! How long one record takes from being made to being written: at a tenth of the highest rate, and one at a time.

use anyhow::{Result, ensure};
use async_trait::async_trait;
use ferrule_flow::guest::{Artifact, Guest, Waker};
use ferrule_flow::plan::{ComponentRef, GuestPlan};
use ferrule_host::{CallError, Configured, Observer, Opened, Session};
use ferrule_model::component::{Columns, Description};
use ferrule_model::record::{Batch, Outcomes};
use serde_json::json;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::Options;
use crate::measure::{Arm, Spread};
use crate::native;
use crate::report::{Expected, Report, Table, count, nanoseconds};
use crate::run::{FlowArm, Guests, LogKind, Shape, session};

const SIZE: u32 = 100;

/// How long a turn lasts, and how long records flow before.
const TURN: Duration = Duration::from_secs(2);
const WARM_UP: Duration = Duration::from_millis(300);

/// Records a second when they come one at a time: each is long done before the next.
const ALONE: f64 = 200.0;

pub(crate) async fn run(options: &Options) -> Result<Report> {
    let guests = Guests::new()?;
    let [generator, identity, blackhole] =
        [guests.shipped("generator").await?, guests.shipped("identity").await?, guests.shipped("blackhole").await?];
    let mut table = Table::new(&["log, rate", "arm", "p50 (least – most)", "p99", "p99.9", "records in a turn"]);
    let mut expected = Vec::new();
    for log in LogKind::all() {
        let shape = Shape {
            log: log.clone(),
            batch: 1_000,
            source: session(&generator, &json!({ "rate": 0, "size": SIZE, "format": "text" })),
            steps: vec![session(&identity, &json!({}))],
            sink: session(&blackhole, &json!({})),
            beside: None,
        };
        let highest = FlowArm { name: "highest".into(), shape: shape.clone() }.turn().await?;
        let tenth = highest.records as f64 / highest.wall.as_secs_f64() / 10.0;
        for (title, rate) in [("a tenth of the highest rate", tenth), ("one at a time", ALONE)] {
            let title = format!("{}, {title} ({}/s)", log.name, count(rate));
            if !options.wants(&title) {
                continue;
            }
            let source = session(&generator, &json!({ "rate": rate, "size": SIZE, "format": "text" }));
            let guest = Shape { source, ..shape.clone() };
            let native = Shape { steps: vec![native::plan(native::Pass)], ..guest.clone() };
            let mut arms = [
                ("guest", guest.clone(), Vec::new()),
                ("guest again (A/A)", guest, Vec::new()),
                ("native step", native, Vec::new()),
            ];
            for _ in 0..options.turns {
                for (_, shape, turns) in &mut arms {
                    turns.push(turn(shape).await?);
                }
            }
            for (arm, _, turns) in &arms {
                let [p50, p99, p999, records] =
                    [0, 1, 2, 3].map(|which| Spread::of(turns.iter().map(|turn: &[f64; 4]| turn[which])));
                table.rows.push(vec![
                    title.clone(),
                    (*arm).to_owned(),
                    crate::report::spread(p50),
                    nanoseconds(p99.median),
                    nanoseconds(p999.median),
                    count(records.median),
                ]);
                table.data.push(json!({
                    "log": log.name, "rate": rate, "arm": arm,
                    "p50_ns": p50.json(), "p99_ns": p99.json(), "p999_ns": p999.json(),
                }));
                if *arm == "guest" && rate == ALONE {
                    expected.push(Expected {
                        what: format!(
                            "one record at a time through generator → function → sink, {} log: p99",
                            log.name
                        ),
                        wanted: "< 1 ms on an idle machine".into(),
                        found: nanoseconds(p99.median),
                        met: p99.median < 1e6,
                    });
                }
            }
        }
    }
    let method = "The time from the generator's making of a record, which is the record's event time, to its arrival at the sink; every \
                  record counts. Generator and step are guests, the sink is native and looks at the clock for each batch. Medians of \
                  the turns, for p50 with the least and the most."
        .to_owned();
    Ok(Report { suite: "latency", method, tables: vec![table], expected })
}

/// p50, p99 and p99.9 in nanoseconds, and how many records there were.
async fn turn(shape: &Shape) -> Result<[f64; 4]> {
    let watch = Watch::default();
    let shape = Shape { sink: watch.plan(), ..shape.clone() };
    let running = shape.start().await?;
    let begun = Instant::now();
    while watch.take().is_empty() {
        ensure!(begun.elapsed() < Duration::from_secs(30), "nothing arrives");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    tokio::time::sleep(WARM_UP).await;
    watch.take();
    tokio::time::sleep(TURN).await;
    let mut latencies = watch.take();
    running.stop().await;
    ensure!(!latencies.is_empty(), "nothing arrived in a turn");
    latencies.sort_unstable();
    let at = |share: f64| latencies[((latencies.len() as f64 * share) as usize).min(latencies.len() - 1)] as f64;
    Ok([at(0.5), at(0.99), at(0.999), latencies.len() as f64])
}

/// A sink that keeps how old each record is when it arrives.
#[derive(Clone, Default)]
struct Watch(Arc<Mutex<Vec<u64>>>);

impl Watch {
    fn plan(&self) -> GuestPlan {
        GuestPlan::new(ComponentRef::new(Arc::new(WatchArtifact { watch: self.clone(), description: described() })))
    }

    fn take(&self) -> Vec<u64> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn described() -> Description {
    Description { name: "watch".into(), reads: Columns::TIMESTAMPS, ..Description::default() }
}

struct WatchArtifact {
    watch: Watch,
    description: Description,
}

#[async_trait]
impl Artifact for WatchArtifact {
    fn digest(&self) -> &str {
        "native-watch"
    }

    fn description(&self) -> &Description {
        &self.description
    }

    async fn instantiate(&self, _: &str, _: &GuestPlan, _: Arc<dyn Observer>) -> Result<Box<dyn Guest>, CallError> {
        Ok(Box::new(self.watch.clone()))
    }
}

#[async_trait]
impl Guest for Watch {
    fn waker(&self) -> Waker {
        Waker::new(|| {})
    }

    async fn open(&mut self, _: Session) -> Result<Opened, CallError> {
        Ok(Opened { replayable: false, properties: Vec::new() })
    }

    async fn configure(&mut self, _: &str) -> Result<Configured, CallError> {
        Ok(Configured::Applied)
    }

    async fn close(&mut self) -> Result<(), CallError> {
        Ok(())
    }

    async fn write(&mut self, records: &Batch) -> Result<Outcomes, CallError> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_nanos() as i64);
        let ages = records.timestamps.iter().map(|made| u64::try_from(now - made).unwrap_or_default());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(ages);
        Ok(Outcomes { delivered: records.tokens.to_vec(), ..Outcomes::default() })
    }
}
