//! {{summary}}

use std::time::{Duration, Instant};

use ferrule_sdk::log;
use ferrule_sdk::prelude::*;
use ferrule_sdk::serde_json::json;

/// The stream's parameters. Their JSON Schema is made from this type, comments included.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Parameters {
    /// What each record says.
    #[serde(default = "greeting")]
    greeting: String,
    /// Milliseconds from one record to the next.
    #[serde(default = "interval_ms")]
    #[schemars(range(min = 1))]
    interval_ms: u64,
    /// How many records in all; 0: without end.
    #[serde(default)]
    count: u64,
}

fn greeting() -> String {
    "hello".to_owned()
}

fn interval_ms() -> u64 {
    500
}

/// One session of one stream. What it keeps in memory belongs to that stream alone.
struct Ticker {
    parameters: Parameters,
    /// The number of the next record.
    next: u64,
    /// When it is due.
    due: Instant,
}

impl Source for Ticker {
    type Static = NoParameters;
    type Config = NoParameters;
    type Parameters = Parameters;

    /// What it needs is asked for here and granted by the operator, such as
    /// `.capability("tcp", "{address}", "the server to read from")`; this one needs nothing.
    fn about() -> About {
        About::new().overlap()
    }

    fn open(session: Session<NoParameters, NoParameters, Parameters>) -> Result<Self, Error> {
        let next = match session.position.as_deref() {
            None => 1,
            Some(position) => number(position)?,
        };
        log::info!("begins with record {next}");
        Ok(Self {
            parameters: session.parameters,
            next,
            due: Instant::now(),
        })
    }

    /// The position says where to go on, so what was in flight can be read again.
    fn replayable(&self) -> bool {
        true
    }

    fn read(&mut self, wait: &Wait) -> Result<Option<Record<'_>>, Error> {
        if self.parameters.count > 0 && self.next > self.parameters.count {
            wait.sleep();
            return Ok(None);
        }
        let pause = self.due.saturating_duration_since(Instant::now());
        if !pause.is_zero() {
            // Returns early when the host wants the call back; then there is simply no record yet.
            wait.and_at_most(pause).sleep();
            if Instant::now() < self.due {
                return Ok(None);
            }
        }
        let number = self.next;
        self.next += 1;
        self.due = Instant::now() + Duration::from_millis(self.parameters.interval_ms);
        let text = json!({"number": number, "text": self.parameters.greeting}).to_string();
        Ok(Some(Record::new(text).with_upstream_id(number.to_string())))
    }

    fn position(&self) -> Option<Vec<u8>> {
        Some(self.next.to_string().into_bytes())
    }
}

/// Reads a saved position.
fn number(position: &[u8]) -> Result<u64, Error> {
    std::str::from_utf8(position)
        .ok()
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Error::failed("the saved position is not one of this connector"))
}

ferrule_sdk::export!(source: Ticker);

#[cfg(test)]
mod tests {
    use super::*;

    fn ticker(count: u64) -> Ticker {
        let parameters = Parameters {
            greeting: "hi".to_owned(),
            interval_ms: 1,
            count,
        };
        Ticker::open(Session::of(NoParameters {}, NoParameters {}, parameters)).unwrap()
    }

    #[test]
    fn records_are_numbered() {
        let mut source = ticker(2);
        let wait = Wait::at_most(Duration::from_secs(5));
        let first = source.read(&wait).unwrap().unwrap();
        assert_eq!(first.payload(), br#"{"number":1,"text":"hi"}"#);
        let second = source.read(&wait).unwrap().unwrap();
        assert_eq!(second.upstream_id(), Some(&b"2"[..]));
        assert!(
            source
                .read(&Wait::at_most(Duration::from_millis(1)))
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn a_position_is_taken_up() {
        assert_eq!(number(&ticker(0).position().unwrap()).unwrap(), 1);
        assert!(number(b"nonsense").is_err());
    }
}
