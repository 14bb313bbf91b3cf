//! Waiting for a condition.

use std::thread;
use std::time::{Duration, Instant};

/// How long a condition may take. Generous: a loaded machine must not fail a test, and a passing one never waits so long.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Asks again and again until there is an answer, and returns it.
///
/// # Panics
///
/// When there is none within [`PATIENCE`]; `what` says what was waited for.
#[allow(clippy::panic, reason = "a test fails by panicking")]
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}
