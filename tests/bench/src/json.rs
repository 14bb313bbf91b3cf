//! Functions that do something: three steps, each of which edits one field of a JSON record.

use anyhow::Result;
use json_field::Edit;
use serde_json::{Value, json};
use std::sync::Arc;

use crate::Options;
use crate::measure::{Arm, Compared};
use crate::native;
use crate::peer::{self, Benthos};
use crate::report::{Expected, Report, Table, nanoseconds};
use crate::run::{FlowArm, Guests, LogKind, Shape, session};

const SIZE: usize = 256;
const BATCHES: [u32; 3] = [1, 100, 1_000];

const GUESTS: &str = "guest steps";
const NATIVE_STEPS: &str = "native steps";
const TUNED: &str = "benthos, GOGC=400";

/// The steps: what each does to which field, and the same for jq and in Bloblang.
fn steps() -> [(&'static str, Edit, Value, &'static str, &'static str); 3] {
    let filling = r#""edited""#;
    [
        (
            "sequence",
            Edit::Add(1.0),
            json!({ "field": "sequence", "add": 1.0 }),
            ".sequence += 1",
            "root = this\nroot.sequence = this.sequence + 1",
        ),
        (
            "value",
            Edit::Add(1.0),
            json!({ "field": "value", "add": 1.0 }),
            ".value += 1",
            "root = this\nroot.value = this.value + 1",
        ),
        (
            "filling",
            Edit::Set(filling.into()),
            json!({ "field": "filling", "set": "edited" }),
            r#".filling = "edited""#,
            "root = this\nroot.filling = \"edited\"",
        ),
    ]
}

pub(crate) async fn run(options: &Options) -> Result<Report> {
    let guests = Guests::new()?;
    let [generator, jq, blackhole] =
        [guests.shipped("generator").await?, guests.shipped("jq").await?, guests.shipped("blackhole").await?];
    let edit = guests.own("edit").await?;
    let benthos = if options.peers { peer::build("benthos", "benthos", ".")? } else { None };
    let mut table = Table::of_arms("batch");
    let mut expected = Vec::new();
    for batch in BATCHES {
        let title = batch.to_string();
        if !options.wants(&title) {
            continue;
        }
        let editing = Shape {
            log: LogKind::memory(),
            batch,
            source: session(&generator, &json!({ "rate": 0, "size": SIZE })),
            steps: steps().into_iter().map(|(_, _, arguments, ..)| session(&edit, &arguments)).collect(),
            sink: session(&blackhole, &json!({})),
            beside: None,
        };
        let native_steps = steps()
            .into_iter()
            .map(|(field, edit, ..)| native::plan(native::Editor { field: field.to_owned(), edit }))
            .collect();
        let native_steps = Shape { steps: native_steps, ..editing.clone() };
        let native = Shape {
            source: native::plan(native::Generator { size: SIZE, json: true }),
            sink: native::plan(native::Blackhole),
            ..native_steps.clone()
        };
        let with_jq = Shape {
            steps: steps()
                .into_iter()
                .map(|(_, _, _, program, _)| session(&jq, &json!({ "program": program })))
                .collect(),
            ..editing.clone()
        };
        let mut arms: Vec<Box<dyn Arm>> = Vec::new();
        let shapes = [
            (GUESTS, editing.clone()),
            ("guest steps again (A/A)", editing),
            (NATIVE_STEPS, native_steps),
            ("all native", native),
            ("jq steps", with_jq),
        ];
        for (name, shape) in shapes {
            shape.prove(Arc::new(look)).await?;
            arms.push(Box::new(FlowArm { name: name.to_owned(), shape }));
        }
        for (name, gogc) in [("benthos", None), (TUNED, Some(400))] {
            let Some(program) = &benthos else { break };
            arms.push(Box::new(Benthos {
                name: name.to_owned(),
                program: program.clone(),
                gogc,
                batch,
                size: SIZE,
                json: true,
                expect: r#""filling":"edited""#.to_owned(),
                steps: steps().into_iter().map(|(.., mapping)| mapping.to_owned()).collect(),
            }));
        }
        let compared = options.compare(&title, arms).await?;
        table.add_arms(&title, &json!({ "size": SIZE, "batch": batch }), &compared);
        expected.extend(judge(batch, &compared));
    }
    let step = crate::step::measure(&guests).await?;
    let share = step.boundary / step.guest;
    expected.push(Expected {
        what: "a step that edits, alone: the share of crossing the boundary".into(),
        wanted: "≤ 5 %".into(),
        found: format!("{:.1} % ({} of {})", share * 100.0, nanoseconds(step.boundary), nanoseconds(step.guest)),
        met: share <= 0.05,
    });
    let method = format!(
        "Three steps add 1 to `sequence`, add 1 to `value`, and set `filling`, in JSON records of {SIZE} B. *Guest steps* walk the \
         record once and change the value's own bytes (`tests/bench/guests/edit`); *native steps* are the same code in the process \
         between the same generator and sink; *all native* has native ends too. *jq steps* run a jq program each. benthos uses a \
         `mapping` for each step."
    );
    Ok(Report { suite: "json", method, tables: vec![table], expected })
}

/// What three edits made of the generator's record.
fn look(number: u64, payload: &[u8]) -> Result<(), String> {
    let record: Value = serde_json::from_slice(payload).map_err(|error| error.to_string())?;
    let value = record["value"].as_f64().unwrap_or_default();
    let right = record["sequence"].as_f64() == Some(number as f64 + 1.0)
        && (1.0..101.0).contains(&value)
        && record["filling"] == "edited";
    if right { Ok(()) } else { Err(format!("the edits were not done: {record}")) }
}

fn judge(batch: u32, compared: &Compared) -> Vec<Expected> {
    if batch < 100 {
        return Vec::new();
    }
    let mut expected = Vec::new();
    let what = format!("3 JSON edits, batch {batch}, against {TUNED}, per core");
    expected.extend(Expected::at_least(what, 5.0, compared.per_core(GUESTS, TUNED)));
    let what = format!("3 JSON edits, batch {batch}: guest steps against native steps, per core");
    expected.extend(Expected::at_least(what, 0.7, compared.per_core(GUESTS, NATIVE_STEPS)));
    expected
}
