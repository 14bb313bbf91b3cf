//! One guest's way to the log: bounded in lines a second and bytes a line; what is over is counted.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::limits;
use crate::observer::{Level, Observer};

/// The target of lines that the host itself adds about a guest.
const HOST: &str = "ferrule";

/// Lines of standard error kept to tell why a guest trapped; a panic message takes two or three.
const LAST_WORDS: usize = 6;

const WINDOW: Duration = Duration::from_secs(1);

pub(crate) struct LogGate {
    observer: Arc<dyn Observer>,
    lines_per_second: u32,
    state: Mutex<State>,
}

struct State {
    window: Instant,
    lines: u32,
    suppressed: u64,
    last_words: VecDeque<String>,
}

impl LogGate {
    pub(crate) fn new(observer: Arc<dyn Observer>, lines_per_second: u32) -> Self {
        let state =
            State { window: Instant::now(), lines: 0, suppressed: 0, last_words: VecDeque::with_capacity(LAST_WORDS) };
        Self { observer, lines_per_second, state: Mutex::new(state) }
    }

    pub(crate) fn enabled(&self, level: Level) -> bool {
        self.observer.log_enabled(level)
    }

    pub(crate) fn log(&self, level: Level, target: &str, message: &str, fields: &[(String, String)]) {
        if !self.enabled(level) || !self.admit(Instant::now()) {
            return;
        }
        let mut left = limits::LOG_LINE_BYTES;
        let message = take(message, &mut left);
        let target = take(target, &mut left);
        let size: usize = fields.iter().map(|(name, value)| name.len() + value.len()).sum();
        if size <= left {
            self.observer.log(level, target, message, fields);
            return;
        }
        let kept: Vec<_> = fields
            .iter()
            .map_while(|(name, value)| {
                (left > 0).then(|| (take(name, &mut left).to_owned(), take(value, &mut left).to_owned()))
            })
            .collect();
        self.observer.log(level, target, message, &kept);
    }

    /// A line that the guest wrote to standard output or error.
    pub(crate) fn line(&self, level: Level, line: &str) {
        if level >= Level::Warn {
            let mut state = self.state();
            if state.last_words.len() == LAST_WORDS {
                state.last_words.pop_front();
            }
            let mut left = limits::LOG_LINE_BYTES;
            state.last_words.push_back(take(line, &mut left).to_owned());
        }
        self.log(level, if level >= Level::Warn { "stderr" } else { "stdout" }, line, &[]);
    }

    /// The last lines of standard error, given once.
    pub(crate) fn last_words(&self) -> Option<String> {
        let lines: Vec<_> = self.state().last_words.drain(..).collect();
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    /// Tells how many lines were not kept, if any. Called when a window is over and when the guest ends.
    pub(crate) fn report(&self) {
        let suppressed = std::mem::take(&mut self.state().suppressed);
        self.tell(suppressed);
    }

    fn tell(&self, suppressed: u64) {
        if suppressed > 0 {
            let fields = [("suppressed".to_owned(), suppressed.to_string())];
            let message = format!(
                "{suppressed} lines were not kept: over {} a second (`limits.logLines`)",
                self.lines_per_second
            );
            self.observer.suppressed(suppressed);
            self.observer.log(Level::Warn, HOST, &message, &fields);
        }
    }

    fn admit(&self, now: Instant) -> bool {
        let mut state = self.state();
        let mut suppressed = 0;
        if now.duration_since(state.window) >= WINDOW {
            state.window = now;
            state.lines = 0;
            suppressed = std::mem::take(&mut state.suppressed);
        }
        let admitted = state.lines < self.lines_per_second;
        if admitted {
            state.lines += 1;
        } else {
            state.suppressed += 1;
        }
        drop(state);
        self.tell(suppressed);
        admitted
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for LogGate {
    fn drop(&mut self) {
        self.report();
    }
}

/// At most `left` bytes of a text, cut between characters.
fn take<'a>(text: &'a str, left: &mut usize) -> &'a str {
    let mut end = text.len().min(*left);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    *left -= end;
    text.get(..end).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observer::Unobserved;

    #[test]
    fn the_rate_is_bounded_and_what_is_over_is_counted() {
        let gate = LogGate::new(Arc::new(Unobserved), 3);
        let now = Instant::now();
        assert_eq!((0..10).filter(|_| gate.admit(now)).count(), 3);
        assert_eq!(gate.state().suppressed, 7);
        assert!(gate.admit(now + WINDOW));
        assert_eq!(gate.state().suppressed, 0);
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let mut left = 4;
        assert_eq!(take("aäöü", &mut left), "aä");
        assert_eq!(left, 1);
    }
}
