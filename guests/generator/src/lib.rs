//! Source of made-up records at a chosen rate, the same whenever it is asked: for trials, tests and benchmarks.

mod contents;
mod decimal;
mod pace;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use ferrule_sdk::metrics::Counter;
use ferrule_sdk::prelude::*;

use contents::Contents;
use decimal::Decimal;
use pace::Pace;

static GENERATED: Counter = Counter::new("records_generated");

/// Version of the saved position: the number of the next record.
const POSITION_VERSION: u8 = 1;

/// What a record looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Format {
    /// `{"sequence":7,"value":21.07,"filling":"…"}`
    #[default]
    Json,
    /// The number in 20 digits, a space, and filling.
    Text,
}

#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Parameters {
    /// Records per second; 0: as many as are taken.
    #[serde(default = "one")]
    #[schemars(range(min = 0.0))]
    rate: f64,
    /// Bytes of a record. One that cannot hold its number is as long as it must be.
    #[serde(default = "hundred")]
    #[schemars(range(max = 1_048_576))]
    size: u32,
    /// How many records in all; 0: without end.
    #[serde(default)]
    count: u64,
    /// What a record looks like.
    #[serde(default)]
    format: Format,
    /// Chooses the contents: the same seed makes the same records.
    #[serde(default)]
    seed: u64,
    /// How many different keys the records have; 0: no keys.
    #[serde(default)]
    keys: u64,
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Config {
    /// Records per second, in place of the stream's own `rate`; changes while it runs.
    #[schemars(range(min = 0.0))]
    rate: Option<f64>,
}

const fn one() -> f64 {
    1.0
}

const fn hundred() -> u32 {
    100
}

struct Generator {
    contents: Contents,
    parameters: Parameters,
    pace: Pace,
    started: Instant,
    /// The number of the next record.
    next: u64,
    key: Decimal,
}

impl Generator {
    fn left(&self) -> u64 {
        match self.parameters.count {
            0 => u64::MAX,
            count => count.saturating_sub(self.next),
        }
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }
}

fn check(scope: &'static str, rate: f64) -> Option<Problem> {
    let wrong = !(rate.is_finite() && rate >= 0.0);
    let message = format!("`{rate}` is not a rate: expected 0 (unlimited) or a number of records per second");
    wrong.then(|| if scope == "config" { Problem::config("/rate", message) } else { Problem::stream("/rate", message) })
}

impl Source for Generator {
    type Static = NoParameters;
    type Config = Config;
    type Parameters = Parameters;

    fn about() -> About {
        About::new().overlap()
    }

    fn validate(_: &NoParameters, config: &Config, parameters: &Parameters) -> Vec<Problem> {
        let config = config.rate.and_then(|rate| check("config", rate));
        check("stream", parameters.rate).into_iter().chain(config).collect()
    }

    fn open(session: Session<NoParameters, Config, Parameters>) -> Result<Self, Error> {
        let parameters = session.parameters;
        if let Some(problem) = Self::validate(&session.static_parameters, &session.config, &parameters).pop() {
            return Err(problem.into());
        }
        let next = session.position.as_deref().map_or(Ok(0), decode_position)?;
        Ok(Self {
            contents: Contents::new(parameters.format, parameters.size as usize, parameters.seed),
            pace: Pace::new(session.config.rate.unwrap_or(parameters.rate)),
            started: Instant::now(),
            parameters,
            next,
            key: Decimal::new(0),
        })
    }

    fn replayable(&self) -> bool {
        true
    }

    fn next(&mut self, pull: &mut Pull) -> Result<(), Error> {
        let mut full = false;
        while !full {
            let now = self.now();
            let due = self.pace.due(now).min(self.left());
            if due == 0 {
                let wait = match self.pace.until_next(now) {
                    Some(pause) if self.left() > 0 => pull.wait().and_at_most(pause),
                    _ => pull.wait(),
                };
                let over = pull.wait().remaining().is_some_and(|left| left.is_zero());
                if over || wait.sleep() == Ended::Woken {
                    break;
                }
                continue;
            }
            let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            let timestamp = i64::try_from(time.as_nanos()).ok();
            let mut made = 0;
            while made < due && !full {
                if let Some(key) = self.next.checked_rem(self.parameters.keys) {
                    self.key.set(key);
                }
                let key: &[u8] = if self.parameters.keys > 0 { self.key.digits() } else { &[] };
                let (upstream_id, payload) = self.contents.record(self.next);
                full = pull.is_full() || !pull.fits(payload.len() + key.len());
                if !full {
                    pull.push_row(&Row { payload, key, upstream_id, timestamp, ..Row::default() });
                    self.next += 1;
                    made += 1;
                }
            }
            self.pace.took(made);
        }
        GENERATED.add(pull.len() as u64);
        Ok(())
    }

    fn position(&self) -> Option<Vec<u8>> {
        Some(encode_position(self.next))
    }

    fn configure(&mut self, config: Config) -> Result<Configured, Error> {
        if let Some(problem) = config.rate.and_then(|rate| check("config", rate)) {
            return Err(problem.into());
        }
        self.pace = Pace::new(config.rate.unwrap_or(self.parameters.rate));
        self.started = Instant::now();
        Ok(Configured::Applied)
    }
}

fn encode_position(next: u64) -> Vec<u8> {
    let mut position = vec![POSITION_VERSION];
    position.extend_from_slice(&next.to_le_bytes());
    position
}

fn decode_position(position: &[u8]) -> Result<u64, Error> {
    match position.split_first() {
        Some((&POSITION_VERSION, number)) if number.len() == 8 => {
            Ok(number.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
        }
        _ => Err(Error::failed("the saved position is of a newer version of this connector, or of another one")),
    }
}

ferrule_sdk::export!(source: Generator);

#[cfg(test)]
mod tests {
    use super::*;

    fn generator(parameters: &str, position: Option<Vec<u8>>) -> Result<Generator, Error> {
        let parameters = ferrule_sdk::serde_json::from_str(parameters).unwrap();
        let mut session = Session::of(NoParameters {}, Config::default(), parameters);
        session.position = position;
        Generator::open(session)
    }

    #[test]
    fn an_unlimited_source_fills_the_batch_and_ends_at_its_count() {
        let mut source = generator(r#"{"rate":0,"count":25,"size":10}"#, None).unwrap();
        let mut sizes = Vec::new();
        for _ in 0..4 {
            let mut pull = Pull::of(10, Duration::from_millis(1));
            source.next(&mut pull).unwrap();
            sizes.push(pull.len());
        }
        assert_eq!(sizes, [10, 10, 5, 0]);
    }

    #[test]
    fn it_goes_on_where_it_was() {
        let mut source = generator(r#"{"rate":0,"count":25}"#, Some(encode_position(22))).unwrap();
        let mut pull = Pull::of(10, Duration::from_millis(1));
        source.next(&mut pull).unwrap();
        assert_eq!((pull.len(), source.position()), (3, Some(encode_position(25))));
        assert!(source.replayable());
    }

    #[test]
    fn positions_of_others_are_refused() {
        assert_eq!(decode_position(&encode_position(u64::MAX - 3)), Ok(u64::MAX - 3));
        for wrong in [&[][..], &[1, 2], &[2, 0, 0, 0, 0, 0, 0, 0, 0]] {
            assert!(decode_position(wrong).is_err());
        }
    }

    #[test]
    fn a_rate_below_nothing_is_a_problem() {
        let error = generator(r#"{"rate":-1}"#, None).err().unwrap();
        assert!(error.message().starts_with("stream parameters, `/rate`: `-1` is not a rate"), "{error}");
    }

    #[test]
    fn a_config_changes_the_rate_at_once() {
        let mut source = generator(r#"{"rate":0.001}"#, None).unwrap();
        assert_eq!(source.configure(Config { rate: Some(0.0) }).unwrap(), Configured::Applied);
        let mut pull = Pull::of(10, Duration::from_millis(1));
        source.next(&mut pull).unwrap();
        assert_eq!(pull.len(), 10);
        assert!(source.configure(Config { rate: Some(-2.0) }).is_err());
    }
}
