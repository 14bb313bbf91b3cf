//! What the guest `generator` makes, by its own code.

#[path = "../../../../guests/generator/src/contents.rs"]
mod contents;
#[path = "../../../../guests/generator/src/decimal.rs"]
mod decimal;

pub(crate) use contents::Contents;

/// What a record looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    Json,
    Text,
}
