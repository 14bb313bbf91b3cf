//! Subscribes to the wake-up without end and keeps all it gets. The host must stop it at its limit of handles.

use naughty_connector::ferrule::connector::wakeup;
use naughty_connector::{Error, Limits, Naughty, Pulled, naughty};

struct LeaksHandles;

impl Naughty for LeaksHandles {
    fn next(_limits: Limits) -> Result<Pulled, Error> {
        let mut held = Vec::new();
        loop {
            held.push(wakeup::subscribe());
        }
    }
}

naughty!(LeaksHandles);
