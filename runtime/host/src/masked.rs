//! The edge where words of a guest enter: what it was given of secrets is masked before anybody keeps or shows them.

use std::sync::Arc;

use ferrule_model::capability::Allowance;
use ferrule_model::record::{Outcomes, Rejection};
use ferrule_model::redact::Redactor;

use crate::error::{CallError, GuestError, Refusal};
use crate::observer::{Decision, Health, Level, Observer, Severity};

/// An observer that hears masked words. Lines of log are masked before they are cut to their length, by
/// [`crate::log_gate::LogGate`].
struct Masked {
    inner: Arc<dyn Observer>,
    redactor: Redactor,
}

/// `observer`, which is to hear nothing that `redactor` masks.
pub(crate) fn observer(observer: Arc<dyn Observer>, redactor: &Redactor) -> Arc<dyn Observer> {
    if redactor.is_empty() { observer } else { Arc::new(Masked { inner: observer, redactor: redactor.clone() }) }
}

impl Masked {
    fn labels(&self, labels: &[(String, String)]) -> Vec<(String, String)> {
        let mask = |text: &str| self.redactor.mask(text).into_owned();
        labels.iter().map(|(name, value)| (mask(name), mask(value))).collect()
    }
}

impl Observer for Masked {
    fn log(&self, level: Level, target: &str, message: &str, fields: &[(String, String)]) {
        self.inner.log(level, target, message, fields);
    }

    fn log_enabled(&self, level: Level) -> bool {
        self.inner.log_enabled(level)
    }

    fn suppressed(&self, lines: u64) {
        self.inner.suppressed(lines);
    }

    fn count(&self, name: &str, labels: &[(String, String)], amount: u64) {
        self.inner.count(&metric(&self.redactor, name), &self.labels(labels), amount);
    }

    fn gauge(&self, name: &str, labels: &[(String, String)], value: f64) {
        self.inner.gauge(&metric(&self.redactor, name), &self.labels(labels), value);
    }

    fn health(&self, health: Health) {
        self.inner.health(Health { message: self.redactor.mask_owned(health.message), ..health });
    }

    fn alert(&self, severity: Severity, name: &str, message: &str) {
        self.inner.alert(severity, &self.redactor.mask(name), &self.redactor.mask(message));
    }

    fn clear(&self, name: &str) {
        self.inner.clear(&self.redactor.mask(name));
    }

    fn decided(&self, decision: &Decision) {
        let mut decision = decision.clone();
        decision.host = self.redactor.mask_owned(decision.host);
        decision.rule = self.redactor.mask_owned(decision.rule);
        decision.words = decision.words.map(|words| Allowance::new(words.kind, self.redactor.mask_owned(words.target)));
        decision.refusal = decision.refusal.map(|refusal| refusal.masked(&self.redactor));
        self.inner.decided(&decision);
    }
}

/// The name of a metric cannot have the characters of the mask.
fn metric(redactor: &Redactor, name: &str) -> String {
    redactor.mask(name).replace('*', "_")
}

impl Refusal {
    fn masked(mut self, redactor: &Redactor) -> Self {
        for text in [&mut self.host, &mut self.message, &mut self.remedy] {
            *text = redactor.mask_owned(std::mem::take(text));
        }
        self
    }
}

impl CallError {
    pub(crate) fn masked(self, redactor: &Redactor) -> Self {
        let mask = |text: String| redactor.mask_owned(text);
        match self {
            Self::Guest(error) => Self::Guest(GuestError { message: mask(error.message), ..error }),
            Self::Refused { refusal, guest } => {
                Self::Refused { refusal: Box::new(refusal.masked(redactor)), guest: mask(guest) }
            }
            Self::Trap { call, reason } => Self::Trap { call, reason: mask(reason) },
            Self::Malformed { call, problem } => Self::Malformed { call, problem: mask(problem) },
            Self::Gone(reason) => Self::Gone(mask(reason)),
            Self::Host { code, message } => Self::Host { code, message: mask(message) },
            same @ (Self::TimedOut { .. } | Self::Limit { .. } | Self::NotExported { .. }) => same,
        }
    }
}

/// Masks the reasons that a sink gives.
pub(crate) fn outcomes(mut outcomes: Outcomes, redactor: &Redactor) -> Outcomes {
    for postponed in &mut outcomes.retry {
        postponed.reason = redactor.mask_owned(std::mem::take(&mut postponed.reason));
    }
    rejections(&mut outcomes.rejected, redactor);
    outcomes
}

/// Masks the reasons of rejections.
pub(crate) fn rejections(rejected: &mut [Rejection], redactor: &Redactor) {
    for rejection in rejected {
        rejection.reason = redactor.mask_owned(std::mem::take(&mut rejection.reason));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use ferrule_model::Code;
    use ferrule_model::capability::AbilityKind;

    use super::*;
    use crate::guards::Guards;
    use crate::limits::Limits;
    use crate::log_gate::LogGate;

    const SECRET: &str = "hunter2-canary";

    #[derive(Default)]
    struct Heard(Mutex<Vec<String>>);

    impl Heard {
        fn hear(&self, what: impl std::fmt::Debug) {
            self.0.lock().unwrap().push(format!("{what:?}"));
        }
    }

    impl Observer for Heard {
        fn log(&self, _: Level, target: &str, message: &str, fields: &[(String, String)]) {
            self.hear((target, message, fields));
        }
        fn count(&self, name: &str, labels: &[(String, String)], _: u64) {
            self.hear((name, labels));
        }
        fn gauge(&self, name: &str, labels: &[(String, String)], _: f64) {
            self.hear((name, labels));
        }
        fn health(&self, health: Health) {
            self.hear(health);
        }
        fn alert(&self, _: Severity, name: &str, message: &str) {
            self.hear((name, message));
        }
        fn clear(&self, name: &str) {
            self.hear(name);
        }
        fn decided(&self, decision: &Decision) {
            self.hear(decision);
        }
    }

    fn refusal() -> Refusal {
        Refusal {
            code: Code::NetDenied,
            guest: "s".into(),
            kind: "tcp".into(),
            host: SECRET.into(),
            address: None,
            port: 1,
            message: format!("may not connect to {SECRET}"),
            remedy: format!("tcp: {SECRET}:1"),
        }
    }

    #[test]
    fn nothing_that_a_guest_tells_has_what_it_was_given() {
        let heard = Arc::new(Heard::default());
        let redactor = Redactor::new([SECRET.as_bytes()]);
        let all = observer(heard.clone(), &redactor);
        let labels = [(SECRET.to_owned(), format!("<{SECRET}>"))];
        all.count("hunter2-canary", &labels, 1);
        all.gauge("g", &labels, 1.0);
        all.health(Health { healthy: false, message: SECRET.into() });
        all.alert(Severity::Info, SECRET, SECRET);
        all.clear(SECRET);
        all.decided(&Decision {
            class: "c".into(),
            component: "sha256:1".into(),
            interface: "net",
            kind: AbilityKind::Tcp,
            host: SECRET.into(),
            address: None,
            port: 1,
            rule: SECRET.into(),
            words: Some(Allowance::new(AbilityKind::Tcp, SECRET)),
            refusal: Some(refusal()),
        });
        let gate = LogGate::new(all, &Limits::default(), Guards::default(), redactor.clone());
        gate.log(Level::Info, SECRET, SECRET, &labels);
        gate.line(Level::Warn, &format!("panicked: {SECRET}"));
        // Cut in the middle of the value, were it not masked first.
        gate.line(Level::Info, &format!("{}{SECRET}", "x".repeat(crate::limits::LOG_LINE_BYTES - 8)));
        heard.hear(gate.last_words());
        for error in [
            CallError::Guest(GuestError { kind: crate::GuestErrorKind::Failed, message: SECRET.into() }),
            CallError::Refused { refusal: Box::new(refusal()), guest: SECRET.into() },
            CallError::Trap { call: "open", reason: SECRET.into() },
            CallError::Malformed { call: "open", problem: SECRET.into() },
            CallError::Gone(SECRET.into()),
            CallError::Host { code: Code::Unreadable, message: SECRET.into() },
        ] {
            heard.hear(error.masked(&redactor));
        }
        let rejected = vec![Rejection { record_ref: 1, reason: SECRET.into() }];
        let retry = vec![ferrule_model::record::Postponement { token: 1, after_ms: None, reason: SECRET.into() }];
        heard.hear(outcomes(Outcomes { rejected, retry, ..Outcomes::default() }, &redactor));
        let heard = heard.0.lock().unwrap();
        assert_eq!(heard.len(), 17, "{heard:#?}");
        for line in &*heard {
            assert!(line.contains("****") || line.contains("xxxx"), "{line}");
            assert!(!line.contains("hunter"), "{line}");
        }
    }
}
