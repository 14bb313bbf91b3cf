//! Waits in `next`, `settle` and `close` for an hour without the wake-up. The host must end it at its deadline.

use naughty_connector::{Error, Limits, Naughty, Pulled, empty, naughty};
use std::time::Duration;

struct IgnoresWakeup;

const HOUR: Duration = Duration::from_secs(3600);

impl Naughty for IgnoresWakeup {
    fn next(_limits: Limits) -> Result<Pulled, Error> {
        std::thread::sleep(HOUR);
        Ok(Pulled { records: empty(), position: None })
    }

    fn settle(_tokens: Vec<u64>) -> Result<(), Error> {
        std::thread::sleep(HOUR);
        Ok(())
    }
}

naughty!(IgnoresWakeup);
