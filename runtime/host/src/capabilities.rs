//! What a guest may import of ours, one file an interface. Each is a thin layer over [`crate::guest::Guest`].

mod logging;
mod metrics;
mod net;
mod status;
mod wakeup;

use ferrule_model::plain;

use crate::guest::Guest;
use crate::limits::Limit;
use crate::observer::Level;

/// Longest name of a metric, label, or alert. Threat: names end up in the memory of whatever keeps metrics.
const NAME_BYTES: usize = 64;

/// Longest value of a label. Threat: as above.
const VALUE_BYTES: usize = 256;

impl Guest {
    /// Whether one more name fits; tells the log when it does not.
    fn admit_series(&mut self, name: &str, labels: &[(String, String)]) -> bool {
        let mut series = name.to_owned();
        for (label, value) in labels {
            series.push('\n');
            series.push_str(label);
            series.push('=');
            series.push_str(value);
        }
        if self.series.contains(&series) {
            return true;
        }
        if self.series.len() >= self.limits.metric_series {
            let breach = self.limits.breach(Limit::Metrics);
            let field = breach.limit.field();
            let message = format!("`{name}` is not kept: over {} names and labels (`{field}`)", breach.value);
            self.observer.limited(&breach, 1);
            self.log.log(Level::Warn, "ferrule", &message, &[]);
            return false;
        }
        self.series.insert(series);
        true
    }

    /// Whether an alert may have this name: anything short that is one line.
    fn check_alert(&self, name: &str) -> bool {
        let good = name.len() <= NAME_BYTES && !name.is_empty() && plain::line(name) == name;
        if !good {
            let message = format!("`{name:.80}` is no name for an alert: write at most {NAME_BYTES} bytes on one line");
            self.log.log(Level::Warn, "ferrule", &message, &[]);
        }
        good
    }

    /// Whether the value of a label is short enough.
    fn check_value(&self, value: &str) -> bool {
        let good = value.len() <= VALUE_BYTES;
        if !good {
            let message = format!("`{value:.80}...` is too long for the value of a label: at most {VALUE_BYTES} bytes");
            self.log.log(Level::Warn, "ferrule", &message, &[]);
        }
        good
    }

    /// Whether this is a name of the form `[a-z][a-z0-9_]*`; tells the log when it is not.
    fn check_name(&self, name: &str) -> bool {
        let good = is_name(name);
        if !good {
            let message = format!("`{name:.80}` is no name for a metric: write a letter, then letters, digits and `_`");
            self.log.log(Level::Warn, "ferrule", &message, &[]);
        }
        good
    }
}

fn is_name(name: &str) -> bool {
    name.len() <= NAME_BYTES
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::is_name;

    #[test]
    fn names_of_metrics() {
        for good in ["a", "records_2", "x_y"] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "A", "2x", "a-b", "a b", "ä", &"a".repeat(65)] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
