//! One step alone, without the flow around it: what the sandbox makes of a function's cost, and what the boundary is of it.
//!
//! `gate` is the one check that `.ci/run` makes of speed: ratios of processor time within one run, with generous bounds. A time
//! is never judged.

use anyhow::{Result, ensure};
use ferrule_flow::guest::Guest;
use ferrule_flow::plan::GuestPlan;
use ferrule_host::{Session, Unobserved};
use ferrule_model::component::Direction;
use ferrule_model::record::{Batch, Transformed};
use json_field::Edit;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

use crate::measure::Spread;
use crate::native;
use crate::report::nanoseconds;
use crate::run::{Guests, session};

/// Records in the batch.
const RECORDS: usize = 1_000;

/// How often each arm has its turn. The least counts: what else the machine does can only add.
const TURNS: usize = 15;

/// Processor time of a turn at least.
const TURN: Duration = Duration::from_millis(10);

/// How much more processor time an edit in a guest may take than the same code natively. 2.3 to 2.5 were seen.
const EDIT_AT_MOST: f64 = 3.5;

/// How much of an editing step's time may go into crossing the boundary with the same batch and nothing done to it: 0.03 was seen.
const BOUNDARY_AT_MOST: f64 = 0.15;

/// Nanoseconds of processor time for a record in one step.
#[derive(Debug)]
pub(crate) struct Steps {
    /// A guest that edits a field.
    pub(crate) guest: f64,
    /// The same natively.
    pub(crate) native: f64,
    /// A guest that passes everything on.
    pub(crate) boundary: f64,
}

/// Measures the steps, in turns.
pub(crate) async fn measure(guests: &Guests) -> Result<Steps> {
    let (edit, identity) = (guests.own("edit").await?, guests.shipped("identity").await?);
    let field = "value".to_owned();
    let plans = [
        session(&edit, &json!({ "field": field, "add": 1.0 })),
        native::plan(native::Editor { field, edit: Edit::Add(1.0) }),
        session(&identity, &json!({})),
    ];
    let batch = batch()?;
    let mut opened = Vec::new();
    for plan in &plans {
        opened.push(open(plan).await?);
    }
    let proof = [apply(&mut *opened[0], &batch).await?, apply(&mut *opened[1], &batch).await?];
    ensure!(proof[0] == proof[1], "guest and native code made different records");
    ensure!(proof[0].payload != batch.payload, "nothing was edited");
    let mut turns: [Vec<f64>; 3] = Default::default();
    for _ in 0..TURNS {
        for (guest, turns) in opened.iter_mut().zip(&mut turns) {
            turns.push(turn(&mut **guest, &batch).await?);
        }
    }
    let [guest, native, boundary] = turns.map(|turns| Spread::of(turns).least);
    Ok(Steps { guest, native, boundary })
}

/// How often the gate measures before it fails: what else the machine does can spoil a measurement, and never mend one.
const TRIES: usize = 3;

/// Fails when a ratio is far from what it was, each time that it is measured.
pub(crate) async fn gate() -> Result<()> {
    let guests = Guests::new()?;
    let (mut edit, mut share) = (f64::INFINITY, f64::INFINITY);
    for _ in 0..TRIES {
        let Steps { guest, native, boundary } = measure(&guests).await?;
        (edit, share) = (edit.min(guest / native), share.min(boundary / guest));
        println!(
            "an edit takes {} in a guest and {} natively: {:.2} times as long (at most {EDIT_AT_MOST}); crossing the boundary alone takes {}: {:.0} % of it (at most {:.0} %)",
            nanoseconds(guest),
            nanoseconds(native),
            guest / native,
            nanoseconds(boundary),
            boundary / guest * 100.0,
            BOUNDARY_AT_MOST * 100.0,
        );
        if edit <= EDIT_AT_MOST && share <= BOUNDARY_AT_MOST {
            return Ok(());
        }
    }
    ensure!(edit <= EDIT_AT_MOST, "guest code became slow beside native code: {edit:.2} > {EDIT_AT_MOST}");
    ensure!(share <= BOUNDARY_AT_MOST, "crossing the boundary became dear: {share:.2} > {BOUNDARY_AT_MOST}");
    Ok(())
}

fn batch() -> Result<Batch> {
    let filling = "f".repeat(200);
    let record = |number: usize| {
        format!(r#"{{"sequence":{number},"value":{}.{:02},"filling":"{filling}"}}"#, number % 97, number % 89)
    };
    Ok(Batch::of((0..RECORDS).map(record))?)
}

async fn open(plan: &GuestPlan) -> Result<Box<dyn Guest>> {
    let mut guest = plan.component.artifact().instantiate("step", plan, Arc::new(Unobserved)).await?;
    let empty = || "{}".to_owned();
    let session = Session {
        name: "step".into(),
        direction: Direction::Transform,
        static_parameters: empty(),
        config: empty(),
        parameters: plan.parameters.clone(),
        position: None,
        properties: Vec::new(),
    };
    guest.open(session).await?;
    Ok(guest)
}

async fn apply(guest: &mut dyn Guest, batch: &Batch) -> Result<Batch> {
    let transformed: Transformed = guest.apply(batch).await?;
    Ok(transformed.assemble(batch)?)
}

/// Nanoseconds of processor time for a record. The turn is this thread's alone.
async fn turn(guest: &mut dyn Guest, batch: &Batch) -> Result<f64> {
    let clock = || rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    let nanoseconds = |from: rustix::time::Timespec, to: rustix::time::Timespec| {
        (to.tv_sec - from.tv_sec) as f64 * 1e9 + (to.tv_nsec - from.tv_nsec) as f64
    };
    let (start, mut records) = (clock(), 0_usize);
    loop {
        records += apply(guest, batch).await?.len();
        let spent = nanoseconds(start, clock());
        if spent >= TURN.as_nanos() as f64 {
            return Ok(spent / records as f64);
        }
    }
}
