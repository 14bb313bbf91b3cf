//! Takes memory without end. The host must stop it at its limit and tell it as that limit.

use naughty_connector::{Error, Limits, Naughty, Pulled, naughty};

struct HoardsMemory;

impl Naughty for HoardsMemory {
    fn next(_limits: Limits) -> Result<Pulled, Error> {
        let mut hoard = Vec::new();
        loop {
            hoard.push(std::hint::black_box(vec![1_u8; 1 << 20]));
        }
    }
}

naughty!(HoardsMemory);
