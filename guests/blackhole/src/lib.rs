//! Sink that counts records and forgets them: the end of a trial, and the smallest sink there is.

use ferrule_sdk::metrics::Counter;
use ferrule_sdk::prelude::*;

static RECORDS: Counter = Counter::new("records_swallowed");
static BYTES: Counter = Counter::new("bytes_swallowed");

struct Blackhole;

impl Sink for Blackhole {
    type Static = NoParameters;
    type Config = NoParameters;
    type Parameters = NoParameters;

    fn about() -> About {
        About::new().reads(Columns::PAYLOAD).overlap()
    }

    fn open(_: Session<NoParameters, NoParameters, NoParameters>) -> Result<Self, Error> {
        Ok(Self)
    }

    fn write(&mut self, records: &Records, outcomes: &mut Outcomes) -> Result<(), Error> {
        RECORDS.add(records.len() as u64);
        BYTES.add(records.payload_bytes() as u64);
        outcomes.all_delivered(records);
        Ok(())
    }
}

ferrule_sdk::export!(sink: Blackhole);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_delivered() {
        let records = Records::of([Record::new("a").with_token(7), Record::new("b").with_token(9)]);
        let mut outcomes = Outcomes::new();
        Blackhole.write(&records, &mut outcomes).unwrap();
        assert_eq!(outcomes.delivered_tokens(), [7, 9]);
    }
}
