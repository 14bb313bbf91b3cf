//! Function that edits one field of each JSON record: what an author writes who wants it fast.

use ferrule_sdk::prelude::*;
use json_field::Edit;

struct Editor {
    field: String,
    edit: Edit,
    scratch: Vec<u8>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Arguments {
    /// The field of the outermost object.
    field: String,
    /// Added to the field's number.
    add: Option<f64>,
    /// Put in the field's place.
    set: Option<serde_json::Value>,
}

impl Function for Editor {
    type Arguments = Arguments;

    fn about() -> About {
        About::new().reads(Columns::PAYLOAD).overlap()
    }

    fn open(session: Session<NoParameters, NoParameters, Arguments>) -> Result<Self, Error> {
        let Arguments { field, add, set } = session.parameters;
        let edit = match (add, set) {
            (Some(amount), None) => Edit::Add(amount),
            (None, Some(value)) => Edit::Set(value.to_string()),
            _ => return Err(Error::invalid("exactly one of `add` and `set` is needed")),
        };
        Ok(Self { field, edit, scratch: Vec::new() })
    }

    fn apply(&mut self, records: &Records, out: &mut Output) -> Result<(), Error> {
        for record in records {
            self.scratch.clear();
            match json_field::edit(record.payload(), self.field.as_bytes(), &self.edit, &mut self.scratch) {
                Ok(()) => out.replace_payload(record, &self.scratch),
                Err(error) => out.reject(record, error.to_string()),
            }
        }
        Ok(())
    }
}

ferrule_sdk::export!(function: Editor);
