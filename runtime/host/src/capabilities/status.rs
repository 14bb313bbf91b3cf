//! `status`: the session's health, as the guest sees it.

use crate::bindings::ferrule::connector::status;
use crate::convert::lift_severity;
use crate::guest::Guest;
use crate::observer::Health;

impl status::Host for &mut Guest {
    fn healthy(&mut self, message: String) -> wasmtime::Result<()> {
        self.observer.health(Health { healthy: true, message });
        Ok(())
    }

    fn unhealthy(&mut self, message: String) -> wasmtime::Result<()> {
        self.observer.health(Health { healthy: false, message });
        Ok(())
    }

    fn raise(&mut self, severity: status::Severity, name: String, message: String) -> wasmtime::Result<()> {
        if self.admit_series(&name, &[]) {
            self.observer.alert(lift_severity(severity), &name, &message);
        }
        Ok(())
    }

    fn clear(&mut self, name: String) -> wasmtime::Result<()> {
        self.observer.clear(&name);
        Ok(())
    }
}
