//! Checks that tests switch off, one at a time, to see that the test of each fails without it.

/// Which checks are made. All are, outside of tests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Guards {
    /// That an answer fits the contract.
    pub answers: bool,
    /// That a guest's texts stay on their line and do not drive a terminal.
    pub texts: bool,
}

impl Default for Guards {
    fn default() -> Self {
        Self { answers: true, texts: true }
    }
}
