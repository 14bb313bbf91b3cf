//! Function that passes every record on unchanged: what the platform itself costs, and a first function to read.

use ferrule_sdk::prelude::*;

struct Identity {
    rebuild: bool,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// Give each record's content back as a copy rather than by its index: what a function costs that changes everything.
    #[serde(default)]
    rebuild: bool,
}

impl Function for Identity {
    type Arguments = Arguments;

    fn about() -> About {
        About::new().reads(Columns::PAYLOAD).overlap()
    }

    fn open(session: Session<NoParameters, NoParameters, Arguments>) -> Result<Self, Error> {
        Ok(Self { rebuild: session.parameters.rebuild })
    }

    fn apply(&mut self, records: &Records, out: &mut Output) -> Result<(), Error> {
        if self.rebuild {
            records.iter().for_each(|record| out.replace_payload(record, record.payload()));
        } else {
            records.iter().for_each(|record| out.keep(record));
        }
        Ok(())
    }
}

ferrule_sdk::export!(function: Identity);

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(rebuild: bool) -> Vec<(u32, Option<Vec<u8>>)> {
        let records = Records::of([Record::new("a"), Record::new(""), Record::new("ccc")]);
        let mut out = Output::for_batch(&records);
        Identity { rebuild }.apply(&records, &mut out).unwrap();
        out.rows().into_iter().map(|(origin, payload, _)| (origin, payload.map(<[u8]>::to_vec))).collect()
    }

    #[test]
    fn by_index_nothing_is_copied() {
        assert_eq!(rows(false), [(0, None), (1, None), (2, None)]);
    }

    #[test]
    fn rebuilt_the_content_is_the_same() {
        assert_eq!(rows(true), [(0, Some(b"a".to_vec())), (1, Some(Vec::new())), (2, Some(b"ccc".to_vec()))]);
    }
}
