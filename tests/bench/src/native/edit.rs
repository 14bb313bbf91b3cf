//! Native functions: one that passes on, one that edits a field.

use std::sync::Arc;

use async_trait::async_trait;
use ferrule_flow::guest::{Guest, Waker};
use ferrule_host::{CallError, Configured, Observer, Opened, Session};
use ferrule_model::record::{Batch, CHANGED_PAYLOAD, ColumnBuilder, Rejection, Transformed};
use json_field::Edit;

use super::Native;

/// Looks at every record and passes it on by index.
#[derive(Clone)]
pub(crate) struct Pass;

impl Native for Pass {
    const NAME: &'static str = "native-pass";

    fn guest(&self, _: Arc<dyn Observer>) -> Box<dyn Guest> {
        Box::new(Function(Work::Pass))
    }
}

/// Edits one field of each record, as the guest `edit` does.
#[derive(Clone)]
pub(crate) struct Editor {
    pub(crate) field: String,
    pub(crate) edit: Edit,
}

impl Native for Editor {
    const NAME: &'static str = "native-edit";

    fn guest(&self, _: Arc<dyn Observer>) -> Box<dyn Guest> {
        Box::new(Function(Work::Edit { editor: self.clone(), scratch: Vec::new() }))
    }
}

enum Work {
    Pass,
    Edit { editor: Editor, scratch: Vec<u8> },
}

struct Function(Work);

#[async_trait]
impl Guest for Function {
    fn waker(&self) -> Waker {
        Waker::new(|| {})
    }

    async fn open(&mut self, _: Session) -> Result<Opened, CallError> {
        Ok(Opened { replayable: true, properties: Vec::new() })
    }

    async fn configure(&mut self, _: &str) -> Result<Configured, CallError> {
        Ok(Configured::Applied)
    }

    async fn close(&mut self) -> Result<(), CallError> {
        Ok(())
    }

    async fn apply(&mut self, records: &Batch) -> Result<Transformed, CallError> {
        let transformed = match &mut self.0 {
            Work::Pass => {
                let mut origins = Vec::with_capacity(records.len());
                for (index, record) in (0..).zip(records.iter()) {
                    std::hint::black_box(record.payload);
                    origins.push(index);
                }
                Transformed { origins, ..Transformed::default() }
            }
            Work::Edit { editor, scratch } => apply(editor, scratch, records)?,
        };
        // As the host checks what a guest answers.
        transformed.check(records).map_err(|error| malformed(&error))?;
        Ok(transformed)
    }
}

fn apply(editor: &Editor, scratch: &mut Vec<u8>, records: &Batch) -> Result<Transformed, CallError> {
    let mut made = Transformed { origins: Vec::with_capacity(records.len()), ..Transformed::default() };
    let mut payload = ColumnBuilder::with_capacity(records.len(), records.payload.bytes.len());
    for (index, record) in (0_u32..).zip(records.iter()) {
        scratch.clear();
        match json_field::edit(record.payload, editor.field.as_bytes(), &editor.edit, scratch) {
            Ok(()) => {
                payload.push(scratch).map_err(|error| malformed(&error))?;
                made.origins.push(index);
                made.changes.push(CHANGED_PAYLOAD);
            }
            Err(error) => made.rejected.push(Rejection { record_ref: index.into(), reason: error.to_string() }),
        }
    }
    made.payload = payload.finish();
    Ok(made)
}

fn malformed(error: &ferrule_model::record::BatchError) -> CallError {
    CallError::Trap { call: "apply", reason: error.to_string() }
}
