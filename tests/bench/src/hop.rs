//! What one hop through a function guest costs a record, by the length of the batch and the size of the record.
//!
//! Four arms take turns, so that a machine that changes its speed changes it for all: the guest that passes records on by
//! index, twice (the second is the A/A control: its ratio to the first is the noise), the guest that rebuilds every record, and
//! the same work as the first done natively. A hop is complete when its output batch is assembled and counted.

use anyhow::{Context as _, Result, ensure};
use ferrule_host::{Component, Engine, EngineOptions, Instance, InstanceOptions, Session};
use ferrule_model::component::Direction;
use ferrule_model::record::{Batch, BatchBuilder, RecordRef, Transformed};
use std::fs;
use std::hint::black_box;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::Options;
use crate::report::{Expected, Report, Table};

const BATCHES: [u32; 5] = [1, 10, 100, 1_000, 10_000];
const SIZES: [usize; 3] = [10, 100, 1024];
/// How often each arm has its turn. What is reported is the turn that a tenth of the others beat: whatever else the machine
/// does only adds to a turn, and the fastest of all may be luck.
const TURNS: usize = 60;
/// How long a turn lasts at least.
const TURN: Duration = Duration::from_millis(3);

/// What the page and the aims are about.
const AIM: (u32, usize) = (1_000, 100);

/// Runs the benchmark. Of the options only `only` counts, as a part of `COUNT × SIZE B`.
pub(crate) async fn run(options: &Options) -> Result<Report> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/guests/identity.wasm");
    let bytes = fs::read(&path).with_context(|| format!("no {}; run `cargo xtask guests`", path.display()))?;
    let engine = Engine::new(EngineOptions::default())?;
    let component = engine.load(&bytes).await?;
    let mut by_index = open(&component, "{}").await?;
    let mut control = open(&component, "{}").await?;
    let mut rebuilt = open(&component, r#"{"rebuild": true}"#).await?;

    let mut table = Table::new(&["batch", "record", "by index", "rebuilt", "native", "by index ÷ native", "A/A"]);
    let mut expected = Vec::new();
    for size in SIZES {
        for count in BATCHES.into_iter().filter(|count| options.wants(&format!("{count} × {size} B"))) {
            let batch = batch(count, size)?;
            let mut turns: [Vec<f64>; 4] = Default::default();
            for _ in 0..TURNS {
                turns[0].push(guest_turn(&mut by_index, &batch).await?);
                turns[1].push(guest_turn(&mut control, &batch).await?);
                turns[2].push(guest_turn(&mut rebuilt, &batch).await?);
                turns[3].push(native_turn(&batch)?);
            }
            let [index, same, rebuild, native] = turns.map(undisturbed);
            let times = [index, rebuild, native].map(|time| format!("{time:.1} ns"));
            let ratios = [index / native, same / index].map(|ratio| format!("{ratio:.2}"));
            let row: Vec<String> =
                [count.to_string(), format!("{size} B")].into_iter().chain(times).chain(ratios).collect();
            eprintln!("hop: {}", row.join(", "));
            table.rows.push(row);
            table.data.push(json!({
                "batch": count, "size": size, "by_index_ns": index, "rebuilt_ns": rebuild, "native_ns": native, "control_ns": same,
            }));
            if (count, size) == AIM {
                for (what, aim, found) in [("by index", 10.0, index), ("rebuilt", 20.0, rebuild)] {
                    expected.push(Expected {
                        what: format!("one hop of {count} records of {size} B, {what}, per record"),
                        wanted: format!("≤ {aim} ns"),
                        found: format!("{found:.1} ns"),
                        met: found <= aim,
                    });
                }
            }
        }
    }
    let method = format!(
        "A batch goes from the host into a function guest written with the SDK and comes back, is checked, and its output batch is assembled \
         and counted. Nanoseconds per record; the arms take turns, {TURNS} turns of {} ms each, and the figure is the turn that a tenth of the \
         others beat. *Native* is the same work as *by index* without a guest. *A/A* is a second instance of the *by index* guest against \
         the first: how far it is from 1 is the noise.",
        TURN.as_millis()
    );
    Ok(Report { suite: "hop", method, tables: vec![table], expected })
}

async fn open(component: &Component, arguments: &str) -> Result<Instance> {
    let mut instance = component.instantiate(InstanceOptions::new("bench")).await?;
    let empty = || "{}".to_owned();
    let session = Session {
        name: "bench".into(),
        direction: Direction::Transform,
        static_parameters: empty(),
        config: empty(),
        parameters: arguments.into(),
        position: None,
        properties: Vec::new(),
    };
    instance.open(session).await?;
    Ok(instance)
}

/// Records whose every byte depends on their place, so that nothing can be shared by chance.
fn batch(count: u32, size: usize) -> Result<Batch> {
    let mut builder = BatchBuilder::default();
    for number in 0..count {
        let payload: Vec<u8> = (0..size).map(|place| (number as usize * 31 + place) as u8).collect();
        builder.push(&RecordRef::of(&payload))?;
    }
    Ok(builder.finish())
}

/// Nanoseconds per record of one turn of the guest.
async fn guest_turn(instance: &mut Instance, batch: &Batch) -> Result<f64> {
    let (start, mut hops) = (Instant::now(), 0_u64);
    while start.elapsed() < TURN {
        let output = instance.apply(batch).await?.assemble(batch)?;
        ensure!(output.count == batch.count, "{} of {} records arrived", output.count, batch.count);
        black_box(&output);
        hops += 1;
    }
    Ok(per_record(start, hops, batch))
}

/// Nanoseconds per record of the same work done natively: every record is looked at, and passed on by index.
fn native_turn(batch: &Batch) -> Result<f64> {
    let (start, mut hops) = (Instant::now(), 0_u64);
    while start.elapsed() < TURN {
        let mut origins = Vec::with_capacity(batch.count as usize);
        for (index, record) in black_box(batch).iter().enumerate() {
            black_box(record.payload);
            origins.push(index as u32);
        }
        let output = Transformed { origins, ..Transformed::default() }.assemble(batch)?;
        ensure!(output.count == batch.count, "{} of {} records arrived", output.count, batch.count);
        black_box(&output);
        hops += 1;
    }
    Ok(per_record(start, hops, batch))
}

fn per_record(start: Instant, hops: u64, batch: &Batch) -> f64 {
    start.elapsed().as_nanos() as f64 / (hops as f64 * f64::from(batch.count))
}

fn undisturbed(mut turns: Vec<f64>) -> f64 {
    turns.sort_by(f64::total_cmp);
    turns[turns.len() / 10]
}
