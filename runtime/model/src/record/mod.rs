//! Records in packed columns: the batch, its headers, its outcomes, and what a function makes of it.
//!
//! The layout is that of `wit/types.wit`; columns are shared, so cloning a batch copies no record.

mod batch;
mod column;
mod headers;
mod id;
mod outcome;
mod transformed;

pub use batch::{Batch, BatchBuilder, NO_TIMESTAMP, RecordRef};
pub use column::{Column, ColumnBuilder};
pub use headers::{Headers, HeadersRef};
pub use id::{RecordAddress, RecordId};
pub use outcome::{Outcomes, Postponement, Rejection};
pub use transformed::{CHANGED_HEADERS, CHANGED_KEY, CHANGED_PAYLOAD, CHANGED_TIMESTAMP, Transformed};

/// What is wrong with a batch; the sender made it so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// A column holds neither `count` rows nor none.
    #[error("column `{column}` has {found} rows, where {expected} or none are expected")]
    Rows {
        /// The column.
        column: &'static str,
        /// Its rows.
        found: usize,
        /// The rows it should have.
        expected: usize,
    },
    /// The ends of a column decrease, or do not end with its bytes.
    #[error("the ends of column `{column}` do not fit its bytes: {detail}")]
    Ends {
        /// The column.
        column: &'static str,
        /// What does not fit.
        detail: String,
    },
    /// A row of headers is not in the layout of the contract.
    #[error("the headers of record {row} are malformed: {detail}")]
    Headers {
        /// The record's index.
        row: usize,
        /// What is wrong.
        detail: &'static str,
    },
    /// An index points outside of what it refers to.
    #[error("{what} {index} does not exist; there are {count}")]
    Index {
        /// What is referred to.
        what: &'static str,
        /// The index.
        index: u64,
        /// How many there are.
        count: usize,
    },
    /// An input is rejected and named by an output, or rejected twice.
    #[error("input {0} is rejected and named again; an input is either rejected or named by outputs")]
    Twice(u64),
    /// A change with bits that mean nothing.
    #[error("the changes of output {row} are {bits}; only 1, 2, 4 and 8, added up, have a meaning")]
    Changes {
        /// The output's index.
        row: usize,
        /// Its bits.
        bits: u8,
    },
    /// More bytes than offsets of 32 bits can name.
    #[error("a column would hold more than 4 GiB")]
    TooLarge,
}
