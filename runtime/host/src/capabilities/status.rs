//! `status`: the session's health, as the guest sees it, bounded in how often it is told.

use std::time::Instant;

use ferrule_model::plain;

use crate::bindings::ferrule::connector::status;
use crate::convert::lift_severity;
use crate::guest::Guest;
use crate::limits::{self, Limit};
use crate::observer::Health;

impl status::Host for &mut Guest {
    fn healthy(&mut self, message: String) -> wasmtime::Result<()> {
        self.say(Health { healthy: true, message: self.told(&message) });
        Ok(())
    }

    fn unhealthy(&mut self, message: String) -> wasmtime::Result<()> {
        self.say(Health { healthy: false, message: self.told(&message) });
        Ok(())
    }

    fn raise(&mut self, severity: status::Severity, name: String, message: String) -> wasmtime::Result<()> {
        if self.check_alert(&name) && self.admit_series(&name, &[]) && self.admit_update() {
            self.observer.alert(lift_severity(severity), &name, &self.told(&message));
        }
        Ok(())
    }

    fn clear(&mut self, name: String) -> wasmtime::Result<()> {
        // It takes something away, and only what was raised: nothing to bound.
        self.observer.clear(&name);
        Ok(())
    }
}

impl Guest {
    /// What it said last and had no room for is told as soon as there is.
    pub(crate) fn catch_up(&mut self) {
        if let Some(health) = self.unsaid.take_if(|_| self.updates.admits(Instant::now())) {
            self.observer.health(health);
        }
    }

    fn say(&mut self, health: Health) {
        self.unsaid = None;
        if self.admit_update() {
            self.observer.health(health);
        } else {
            self.unsaid = Some(health);
        }
    }

    fn admit_update(&mut self) -> bool {
        let admitted = self.updates.admits(Instant::now());
        if !admitted {
            self.observer.limited(&self.limits.breach(Limit::StatusUpdates), 1);
        }
        admitted
    }

    /// A text of the guest's as it is kept.
    fn told(&self, text: &str) -> String {
        plain::text(plain::clipped(text, limits::TEXT_BYTES)).into_owned()
    }
}
