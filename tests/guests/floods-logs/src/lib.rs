//! Logs without measure, through the contract and on standard output. The host must bound it and count the rest.

use naughty_connector::ferrule::connector::logging::{Level, log};
use naughty_connector::{Error, Limits, Naughty, Pulled, empty, naughty};

struct FloodsLogs;

impl Naughty for FloodsLogs {
    fn next(_limits: Limits) -> Result<Pulled, Error> {
        for line in 0..5_000 {
            log(Level::Info, "flood", &format!("line {line} {}", "x".repeat(100)), &[]);
            println!("printed {line}");
        }
        log(Level::Error, "flood", &"y".repeat(1 << 20), &[("long".into(), "z".repeat(1 << 20))]);
        Ok(Pulled { records: empty(), position: None })
    }
}

naughty!(FloodsLogs);
