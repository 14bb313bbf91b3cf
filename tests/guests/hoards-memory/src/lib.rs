//! Takes memory without end, in `next` and in `write`. The host must stop it at its limit and tell it as that limit.

use naughty_connector::{Batch, Error, Limits, Naughty, Outcomes, Pulled, naughty};

struct HoardsMemory;

impl Naughty for HoardsMemory {
    fn next(_limits: Limits) -> Result<Pulled, Error> {
        hoard()
    }

    fn write(_records: Batch) -> Result<Outcomes, Error> {
        hoard()
    }
}

fn hoard<T>() -> Result<T, Error> {
    let mut hoard = Vec::new();
    loop {
        hoard.push(std::hint::black_box(vec![1_u8; 1 << 20]));
    }
}

naughty!(HoardsMemory);
