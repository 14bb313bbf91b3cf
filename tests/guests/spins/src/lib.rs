//! Never returns from `next` and never waits. The host must end it by its computing time, and serve others meanwhile.

use naughty_connector::{Error, Limits, Naughty, Pulled, naughty};

struct Spins;

impl Naughty for Spins {
    fn next(_limits: Limits) -> Result<Pulled, Error> {
        let mut turns = 0_u64;
        loop {
            turns = std::hint::black_box(turns.wrapping_add(1));
        }
    }
}

naughty!(Spins);
