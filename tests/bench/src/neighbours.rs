//! Whether a guest that misbehaves costs others anything: a pipeline at half of what the machine carries, alone, beside a guest that
//! spins for ever, and beside one that traps again and again.

use anyhow::{Context as _, Result};
use ferrule_host::Component;
use ferrule_naughty::{Parts, assemble, component};
use serde_json::json;

use crate::Options;
use crate::measure::Arm;
use crate::report::{Expected, Report, Table, count};
use crate::run::{FlowArm, Guests, LogKind, Shape, session};

const SIZE: u32 = 100;

/// What the others may lose.
const KEPT: f64 = 0.9;

const ALONE: &str = "alone";

pub(crate) async fn run(options: &Options) -> Result<Report> {
    let guests = Guests::new()?;
    let [generator, identity, blackhole] =
        [guests.shipped("generator").await?, guests.shipped("identity").await?, guests.shipped("blackhole").await?];
    let hostile = [
        ("beside one that spins", hostile(&guests, "(loop $l (br $l)) (i32.const 0)").await?),
        ("beside one that traps", hostile(&guests, "unreachable").await?),
    ];
    let mut table = Table::of_arms("log, rate");
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
        let rate = highest.records as f64 / highest.wall.as_secs_f64() / 2.0;
        let title = format!("{}, half of the highest rate ({}/s)", log.name, count(rate));
        if !options.wants(&title) {
            continue;
        }
        let source = session(&generator, &json!({ "rate": rate, "size": SIZE, "format": "text" }));
        let alone = Shape { source, ..shape };
        let mut arms: Vec<Box<dyn Arm>> = Vec::new();
        for name in [ALONE, "alone again (A/A)"] {
            arms.push(Box::new(FlowArm { name: name.into(), shape: alone.clone() }));
        }
        for (name, other) in &hostile {
            let shape = Shape { beside: Some(session(other, &json!({}))), ..alone.clone() };
            arms.push(Box::new(FlowArm { name: (*name).into(), shape }));
        }
        let compared = options.compare(&title, arms).await?;
        for (name, _) in &hostile {
            let what = format!("{}: throughput {name}, of that alone", log.name);
            expected.extend(Expected::at_least(what, KEPT, compared.rate(name, ALONE)));
        }
        table.add_arms(&title, &json!({ "log": log.name, "rate": rate }), &compared);
    }
    let method = "One pipeline (generator, one function, blackhole) at half of the rate that it reaches alone, in one process with a source \
                  that misbehaves in every call of `next`, under the default limits. Its processor time is in the figures per record \
                  too; what counts is the rate by the clock."
        .to_owned();
    Ok(Report { suite: "neighbours", method, tables: vec![table], expected })
}

/// A source whose `next` does this.
async fn hostile(guests: &Guests, body: &str) -> Result<Component> {
    let code = format!("(func (export \"next\") (param i32 i32 i32 i32) (result i32) {body})");
    let text = component(&Parts { code: &code, ..Parts::default() });
    guests.compile(&assemble(&text).context("the hostile guest's text")?).await
}
