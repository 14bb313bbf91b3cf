//! What a pipeline costs a record: generator, some functions that pass everything on, blackhole.

use anyhow::Result;
use serde_json::json;
use std::sync::Arc;

use crate::Options;
use crate::measure::{Arm, Compared};
use crate::native;
use crate::peer::{self, Benthos};
use crate::report::{Expected, Report, Table};
use crate::run::{FlowArm, Guests, LogKind, Shape, session};

const STEPS: [usize; 3] = [0, 1, 3];
const SIZES: [usize; 3] = [100, 256, 1024];
const BATCHES: [u32; 3] = [1, 100, 1_000];

/// The arm that the others are compared with.
const GUESTS: &str = "guests";

pub(crate) async fn run(options: &Options) -> Result<Report> {
    let guests = Guests::new()?;
    let [generator, identity, blackhole] =
        [guests.shipped("generator").await?, guests.shipped("identity").await?, guests.shipped("blackhole").await?];
    let benthos = if options.peers { peer::build("benthos", "benthos", ".")? } else { None };
    let mut table = Table::of_arms("log, steps, size, batch");
    let mut expected = Vec::new();
    for log in LogKind::all() {
        let log_name = log.name;
        for steps in STEPS {
            for size in SIZES {
                for batch in BATCHES {
                    let title = format!("{log_name}, {steps} steps, {size} B, {batch}");
                    if !options.wants(&title) {
                        continue;
                    }
                    let source = session(&generator, &json!({ "rate": 0, "size": size, "format": "text" }));
                    let by_index = session(&identity, &json!({}));
                    let sandboxed = Shape {
                        log: log.clone(),
                        batch,
                        source,
                        steps: vec![by_index; steps],
                        sink: session(&blackhole, &json!({})),
                        beside: None,
                    };
                    let native = Shape {
                        source: native::plan(native::Generator { size, json: false }),
                        steps: vec![native::plan(native::Pass); steps],
                        sink: native::plan(native::Blackhole),
                        ..sandboxed.clone()
                    };
                    for shape in [&sandboxed, &native] {
                        shape.prove(Arc::new(move |number, payload| look(size, number, payload))).await?;
                    }
                    let mut arms: Vec<Box<dyn Arm>> = Vec::new();
                    for (name, shape) in [(GUESTS, &sandboxed), ("guests again (A/A)", &sandboxed), ("native", &native)]
                    {
                        arms.push(Box::new(FlowArm { name: name.to_owned(), shape: shape.clone() }));
                    }
                    if let Some(program) = benthos.as_ref().filter(|_| steps == 3 && log_name == "memory") {
                        for (name, gogc) in [("benthos", None), ("benthos, GOGC=400", Some(400))] {
                            arms.push(Box::new(Benthos {
                                name: name.to_owned(),
                                program: program.clone(),
                                gogc,
                                batch,
                                size,
                                json: false,
                                expect: String::new(),
                                steps: vec!["root = content()".to_owned(); steps],
                            }));
                        }
                    }
                    let compared = options.compare(&title, arms).await?;
                    let data = json!({ "log": log_name, "steps": steps, "size": size, "batch": batch });
                    table.add_arms(&title, &data, &compared);
                    if log_name == "memory" && steps == 3 && batch == 1_000 {
                        expected.extend(judge(size, &compared));
                    }
                }
            }
        }
    }
    let method = "Records flow through the runtime's own flow, host and log, in one process, and are counted by the sink. The arms take \
                  turns; medians of the turns. CPU is the processor time of the whole process, generator and sink included. *Native* \
                  is the same pipeline with guests compiled into the process, through the same trait. *benthos* is the engine of \
                  Redpanda Connect 4.78.0 with a source and a sink written in Go, and `content()` for each step."
        .to_owned();
    Ok(Report { suite: "pipeline", method, tables: vec![table], expected })
}

/// Records arrive in order, each whole.
fn look(size: usize, number: u64, payload: &[u8]) -> Result<(), String> {
    let expected = format!("{number:020} ");
    if payload.len() == size && payload.starts_with(expected.as_bytes()) {
        return Ok(());
    }
    Err(format!("expected {size} bytes that begin with {expected:?}, not {:?}", String::from_utf8_lossy(payload)))
}

fn judge(size: usize, compared: &Compared) -> Vec<Expected> {
    let mut expected = Vec::new();
    if size == 100 {
        let per_core = compared.get(GUESTS).map(|figures| figures.per_core() / 1e6).unwrap_or_default();
        expected.push(Expected {
            what: "generator → 3 pass-through guests → blackhole, 100 B, batch 1,000, memory log: records/s per core"
                .into(),
            wanted: "≥ 5 M".into(),
            found: format!("{per_core:.2} M"),
            met: per_core >= 5.0,
        });
    }
    if size == 256 {
        for (peer, wanted) in [("benthos", 20.0), ("benthos, GOGC=400", 12.0)] {
            let what = format!("the same at 256 B against {peer}, per core");
            expected.extend(Expected::at_least(what, wanted, compared.per_core(GUESTS, peer)));
            let what = format!("the same at 256 B against {peer}, by the clock");
            expected.extend(Expected::at_least(what, wanted, compared.rate(GUESTS, peer)));
        }
    }
    expected
}
