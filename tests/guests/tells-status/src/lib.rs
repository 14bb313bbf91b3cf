//! Counts, gauges, raises alerts and tells its health; then names metrics without end. The host must hand on the first and
//! bound the second.

use naughty_connector::ferrule::connector::{metrics, status};
use naughty_connector::{Error, Limits, Naughty, Opened, Pulled, Session, empty, naughty};

struct TellsStatus;

impl Naughty for TellsStatus {
    fn open(_session: Session) -> Result<Opened, Error> {
        status::unhealthy("connecting");
        status::raise(status::Severity::Warning, "cold", "it is cold");
        status::clear("cold");
        status::healthy("up");
        metrics::count("records", &[("kind".into(), "a".into())], 2);
        metrics::gauge("level", &[], 0.5);
        metrics::count("Not A Name", &[], 1);
        Ok(Opened { replayable: false, properties: Vec::new() })
    }

    fn next(_limits: Limits) -> Result<Pulled, Error> {
        for number in 0..10_000 {
            metrics::count("peers", &[("address".into(), number.to_string())], 1);
        }
        Ok(Pulled { records: empty(), position: None })
    }
}

naughty!(TellsStatus);
