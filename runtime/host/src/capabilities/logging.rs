//! `logging`: lines for the people who run the guest.

use crate::bindings::ferrule::connector::logging;
use crate::convert::lift_level;
use crate::guest::Guest;

impl logging::Host for &mut Guest {
    fn log(
        &mut self,
        level: logging::Level,
        target: String,
        message: String,
        fields: Vec<(String, String)>,
    ) -> wasmtime::Result<()> {
        self.log.log(lift_level(level), &target, &message, &fields);
        Ok(())
    }

    fn enabled(&mut self, level: logging::Level) -> wasmtime::Result<bool> {
        Ok(self.log.enabled(lift_level(level)))
    }
}
