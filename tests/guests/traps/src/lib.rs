//! Panics in `next`. The host must tell it as a trap, with the panic's message, and make no further call.

use naughty_connector::{Error, Limits, Naughty, Pulled, naughty};

struct Traps;

impl Naughty for Traps {
    fn next(_limits: Limits) -> Result<Pulled, Error> {
        panic!("the pump burst")
    }
}

naughty!(Traps);
