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

const BATCHES: [u32; 5] = [1, 10, 100, 1_000, 10_000];
const SIZES: [usize; 3] = [10, 100, 1024];
/// How often each arm has its turn. What is reported is the turn that a tenth of the others beat: whatever else the machine
/// does only adds to a turn, and the fastest of all may be luck.
const TURNS: usize = 60;
/// How long a turn lasts at least.
const TURN: Duration = Duration::from_millis(3);

/// Runs the benchmark and prints a table in Markdown.
pub(crate) async fn run() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/guests/identity.wasm");
    let bytes = fs::read(&path).with_context(|| format!("no {}; run `cargo xtask guests`", path.display()))?;
    let engine = Engine::new(EngineOptions::default())?;
    let component = engine.load(&bytes).await?;
    let mut by_index = open(&component, "{}").await?;
    let mut control = open(&component, "{}").await?;
    let mut rebuilt = open(&component, r#"{"rebuild": true}"#).await?;

    println!("| batch | record | by index | rebuilt | native | by index ÷ native | A/A |");
    println!("| ---: | ---: | ---: | ---: | ---: | ---: | ---: |");
    for size in SIZES {
        for count in BATCHES {
            let batch = batch(count, size)?;
            let mut turns: [Vec<f64>; 4] = Default::default();
            for _ in 0..TURNS {
                turns[0].push(guest_turn(&mut by_index, &batch).await?);
                turns[1].push(guest_turn(&mut control, &batch).await?);
                turns[2].push(guest_turn(&mut rebuilt, &batch).await?);
                turns[3].push(native_turn(&batch)?);
            }
            let [index, same, rebuild, native] = turns.map(undisturbed);
            println!(
                "| {count} | {size} B | {index:.1} ns | {rebuild:.1} ns | {native:.1} ns | {:.2} | {:.2} |",
                index / native,
                same / index
            );
        }
    }
    Ok(())
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
