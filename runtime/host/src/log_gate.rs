//! One guest's way to the log: bounded in lines and bytes a second and bytes a line; what is over is counted. What it writes stays on
//! its line.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ferrule_model::plain;
use ferrule_model::redact::Redactor;

use crate::guards::Guards;
use crate::limits::{self, Breach, Limit, Limits};
use crate::observer::{Level, Observer};

/// The target of lines that the host itself adds about a guest.
const HOST: &str = "ferrule";

/// Lines of standard error kept to tell why a guest trapped; a panic message takes two or three.
const LAST_WORDS: usize = 6;

const WINDOW: Duration = Duration::from_secs(1);

pub(crate) struct LogGate {
    observer: Arc<dyn Observer>,
    limits: Limits,
    guards: Guards,
    redactor: Redactor,
    state: Mutex<State>,
}

struct State {
    window: Instant,
    lines: u32,
    bytes: usize,
    over: Over,
    last_words: VecDeque<String>,
}

/// Lines that were not kept, by what they were over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Over {
    lines: u64,
    bytes: u64,
}

impl LogGate {
    pub(crate) fn new(observer: Arc<dyn Observer>, limits: &Limits, guards: Guards, redactor: Redactor) -> Self {
        let state = State {
            window: Instant::now(),
            lines: 0,
            bytes: 0,
            over: Over::default(),
            last_words: VecDeque::with_capacity(LAST_WORDS),
        };
        Self { observer, limits: limits.clone(), guards, redactor, state: Mutex::new(state) }
    }

    pub(crate) fn enabled(&self, level: Level) -> bool {
        self.observer.log_enabled(level)
    }

    pub(crate) fn log(&self, level: Level, target: &str, message: &str, fields: &[(String, String)]) {
        if !self.enabled(level) {
            return;
        }
        // Before anything is cut: half of a value would not be found.
        let (message, target) = (self.redactor.mask(message), self.redactor.mask(target));
        let masked: Vec<(String, String)>;
        let fields = if self.redactor.is_empty() {
            fields
        } else {
            let mask = |text: &str| self.redactor.mask(text).into_owned();
            masked = fields.iter().map(|(name, value)| (mask(name), mask(value))).collect();
            &masked
        };
        let mut left = limits::LOG_LINE_BYTES;
        let message = take(&message, &mut left);
        let target = take(&target, &mut left);
        let fields: Vec<_> = fields
            .iter()
            .map_while(|(name, value)| (left > 0).then(|| (take(name, &mut left), take(value, &mut left))))
            .collect();
        if !self.admit(Instant::now(), limits::LOG_LINE_BYTES - left) {
            return;
        }
        let clean = |text: &str| if self.guards.texts { plain::line(text).into_owned() } else { text.to_owned() };
        let fields: Vec<_> = fields.into_iter().map(|(name, value)| (clean(name), clean(value))).collect();
        self.observer.log(level, &clean(target), &clean(message), &fields);
    }

    /// How many bytes of a line have to be kept until it is masked.
    pub(crate) fn line_bytes(&self) -> usize {
        limits::LOG_LINE_BYTES + self.redactor.longest()
    }

    /// A line that the guest wrote to standard output or error.
    pub(crate) fn line(&self, level: Level, line: &str) {
        let line = &*self.redactor.mask(line);
        if level >= Level::Warn {
            let mut state = self.state();
            if state.last_words.len() == LAST_WORDS {
                state.last_words.pop_front();
            }
            state.last_words.push_back(plain::line(plain::clipped(line, limits::LOG_LINE_BYTES)).into_owned());
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
        let over = std::mem::take(&mut self.state().over);
        self.tell(over);
    }

    fn tell(&self, over: Over) {
        for (limit, lines) in [(Limit::LogLines, over.lines), (Limit::LogBytes, over.bytes)] {
            if lines > 0 {
                let breach = self.limits.breach(limit);
                let fields = [("suppressed".to_owned(), lines.to_string())];
                let Breach { value, .. } = &breach;
                let message =
                    format!("{lines} lines were not kept: over {value} {} (`{}`)", limit.name(), limit.field());
                self.observer.suppressed(lines);
                self.observer.limited(&breach, lines);
                self.observer.log(Level::Warn, HOST, &message, &fields);
            }
        }
    }

    fn admit(&self, now: Instant, bytes: usize) -> bool {
        let mut state = self.state();
        let mut over = Over::default();
        if now.duration_since(state.window) >= WINDOW {
            state.window = now;
            (state.lines, state.bytes) = (0, 0);
            over = std::mem::take(&mut state.over);
        }
        let admitted = if state.lines >= self.limits.log_lines_per_second {
            state.over.lines += 1;
            false
        } else if state.bytes.saturating_add(bytes) > self.limits.log_bytes_per_second {
            state.over.bytes += 1;
            false
        } else {
            state.lines += 1;
            state.bytes += bytes;
            true
        };
        drop(state);
        self.tell(over);
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
    let taken = plain::clipped(text, *left);
    *left -= taken.len();
    taken
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observer::Unobserved;

    fn gate(lines: u32, bytes: usize) -> LogGate {
        let limits = Limits { log_lines_per_second: lines, log_bytes_per_second: bytes, ..Limits::default() };
        LogGate::new(Arc::new(Unobserved), &limits, Guards::default(), Redactor::default())
    }

    #[test]
    fn the_rate_is_bounded_in_lines_and_bytes_and_what_is_over_is_counted() {
        let (few, short) = (gate(3, 1_000), gate(1_000, 100));
        let now = Instant::now();
        assert_eq!((0..10).filter(|_| few.admit(now, 10)).count(), 3);
        assert_eq!(few.state().over, Over { lines: 7, bytes: 0 });
        assert!(few.admit(now + WINDOW, 10));
        assert_eq!(few.state().over, Over::default());
        assert_eq!((0..10).filter(|_| short.admit(now, 40)).count(), 2);
        assert_eq!(short.state().over, Over { lines: 0, bytes: 8 });
    }
}
