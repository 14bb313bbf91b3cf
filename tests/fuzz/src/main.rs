//! Feeds the readers of strangers' bytes with random and mutated input: `cargo xtask fuzz [--seconds N] [--seed S] [TARGET]`.
//!
//! A small driver of our own, so that it runs wherever cargo does. It knows nothing of coverage; what it has is good seeds, and every
//! input that fails is one that its seed and number give again.

mod random;
mod targets;

use anyhow::{Result, bail};
use clap::Parser;
use std::panic::catch_unwind;
use std::time::{Duration, Instant};

use random::Random;
use targets::TARGETS;

/// Runs each target for a while.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask fuzz")]
struct Options {
    /// Only targets whose name holds this.
    #[arg(default_value = "")]
    only: String,
    /// How long each target is run.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Which inputs: the same ones for the same seed.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Bytes of an input at most.
const LARGEST: usize = 4 << 10;

fn main() -> Result<()> {
    let options = Options::parse();
    let wanted: Vec<_> = TARGETS.iter().filter(|target| target.name.contains(&options.only)).collect();
    if wanted.is_empty() {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        bail!("there is no target {:?}; there are: {}", options.only, names.join(", "));
    }
    for target in wanted {
        let seeds = (target.seeds)()?;
        let mut random = Random::new(options.seed);
        let until = Instant::now() + Duration::from_secs_f64(options.seconds);
        let mut count: u64 = 0;
        while count == 0 || Instant::now() < until {
            let input = random.input(&seeds, LARGEST);
            if catch_unwind(|| (target.run)(&input)).is_err() {
                bail!("{} panics at input {count} of seed {}:\n{}", target.name, options.seed, hex(&input));
            }
            count += 1;
        }
        println!("{:<10} {count} inputs, no panic", target.name);
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
