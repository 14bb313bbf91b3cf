//! `ferrule explain`: the page of an error code.

use clap::Args;
use ferrule_model::Code;

use crate::context::Context;
use crate::exit::{Exit, Failure, Outcome};

/// Prints the page of an error code.
#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// Such as FE0001.
    code: String,
}

impl Explain {
    pub(crate) fn run(self, context: &Context) -> Outcome {
        let code: Code = self.code.parse().map_err(|_| {
            Failure::new(Exit::NotFound, format!("there is no error code {}", self.code))
                .with_code(Code::NotFound)
                .with_help("codes look like FE0101; docs/errors lists them")
        })?;
        context.output.raw(code.page().as_bytes())
    }
}
