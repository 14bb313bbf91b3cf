//! `metrics`: numbers for the operator, bounded in names.

use crate::bindings::ferrule::connector::metrics;
use crate::guest::Guest;

impl metrics::Host for &mut Guest {
    fn count(&mut self, name: String, labels: Vec<(String, String)>, amount: u64) -> wasmtime::Result<()> {
        if self.admit(&name, &labels) {
            self.observer.count(&name, &labels, amount);
        }
        Ok(())
    }

    fn gauge(&mut self, name: String, labels: Vec<(String, String)>, value: f64) -> wasmtime::Result<()> {
        if self.admit(&name, &labels) {
            self.observer.gauge(&name, &labels, value);
        }
        Ok(())
    }
}

impl Guest {
    fn admit(&mut self, name: &str, labels: &[(String, String)]) -> bool {
        self.check_name(name)
            && labels.iter().all(|(label, value)| self.check_name(label) && self.check_value(value))
            && self.admit_series(name, labels)
    }
}
