//! Keeps what a guest tells during a test, so that a failure can show it.

use std::sync::Mutex;

use ferrule_host::{Decision, Health, Level, Observer, Severity};

/// What a guest told, in order, as lines for a person.
#[derive(Debug, Default)]
pub struct Observed {
    lines: Mutex<Vec<String>>,
}

/// More lines than this help nobody.
const MOST_LINES: usize = 500;

impl Observed {
    fn push(&self, line: String) {
        if let Ok(mut lines) = self.lines.lock()
            && lines.len() < MOST_LINES
        {
            lines.push(line);
        }
    }

    /// Everything so far.
    #[must_use]
    pub fn text(&self) -> String {
        self.lines.lock().map(|lines| lines.join("\n")).unwrap_or_default()
    }
}

impl Observer for Observed {
    fn log(&self, level: Level, target: &str, message: &str, fields: &[(String, String)]) {
        let fields: String = fields.iter().map(|(name, value)| format!(" {name}={value}")).collect();
        self.push(format!("{level:?} {target}: {message}{fields}"));
    }

    fn count(&self, _name: &str, _labels: &[(String, String)], _amount: u64) {}

    fn gauge(&self, _name: &str, _labels: &[(String, String)], _value: f64) {}

    fn health(&self, health: Health) {
        let word = if health.healthy { "healthy" } else { "unhealthy" };
        self.push(format!("status {word}: {}", health.message));
    }

    fn alert(&self, severity: Severity, name: &str, message: &str) {
        self.push(format!("alert {name} ({severity:?}): {message}"));
    }

    fn clear(&self, name: &str) {
        self.push(format!("alert {name} is over"));
    }

    fn decided(&self, decision: &Decision) {
        match &decision.refusal {
            Some(refusal) => self.push(format!("refused: {}", refusal.message)),
            None => self.push(format!("allowed: {} {}:{}", decision.kind, decision.host, decision.port)),
        }
    }
}
