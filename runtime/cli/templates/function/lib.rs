//! {{summary}}

use ferrule_sdk::prelude::*;
use ferrule_sdk::serde_json::{self, Value};

/// The function's arguments. Their JSON Schema is made from this type, comments included.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// The member of the JSON object to look at.
    field: String,
    /// Records whose value is not above this are dropped.
    above: f64,
}

/// One step of one pipeline.
struct Above {
    arguments: Arguments,
}

impl Function for Above {
    type Arguments = Arguments;

    fn validate(arguments: &Arguments) -> Vec<Problem> {
        if arguments.field.is_empty() {
            vec![Problem::stream("/field", "expected the name of a member")]
        } else {
            Vec::new()
        }
    }

    fn open(session: Session<NoParameters, NoParameters, Arguments>) -> Result<Self, Error> {
        Ok(Self {
            arguments: session.parameters,
        })
    }

    /// A record that `out` is not told of is dropped; one that is kept costs no copy.
    fn apply(&mut self, records: &Records, out: &mut Output) -> Result<(), Error> {
        for record in records {
            match self.value(record.payload()) {
                Ok(value) if value > self.arguments.above => out.keep(record),
                Ok(_) => out.drop(record),
                Err(reason) => out.reject(record, reason),
            }
        }
        Ok(())
    }
}

impl Above {
    fn value(&self, payload: &[u8]) -> Result<f64, String> {
        let json: Value =
            serde_json::from_slice(payload).map_err(|error| format!("expected JSON: {error}"))?;
        let field = &self.arguments.field;
        json.get(field)
            .and_then(Value::as_f64)
            .ok_or_else(|| format!("expected a number in `{field}`"))
    }
}

ferrule_sdk::export!(function: Above);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_above_stay() {
        let arguments = Arguments {
            field: "value".to_owned(),
            above: 20.0,
        };
        let mut function = Above { arguments };
        let payloads = [
            r#"{"value":21}"#,
            r#"{"value":20}"#,
            "nonsense",
            r#"{"value":"x"}"#,
        ];
        let records = Records::of(payloads.map(Record::new));
        let mut out = Output::for_batch(&records);
        function.apply(&records, &mut out).unwrap();
        assert_eq!(out.rows(), [(0, None, 0)]);
        let rejected: Vec<u64> = out.rejections().map(|(index, _)| index).collect();
        assert_eq!(rejected, [2, 3]);
    }
}
