//! `wakeup`: the pollable that is ready while the host wants the guest to return.

use wasmtime::component::Resource;
use wasmtime_wasi::p2::{DynPollable, subscribe};

use crate::bindings::ferrule::connector::wakeup;
use crate::guest::Guest;
use crate::wake::Wakeup;

impl wakeup::Host for &mut Guest {
    fn subscribe(&mut self) -> wasmtime::Result<Resource<DynPollable>> {
        let wakeup = self.table.push(Wakeup(self.wake.clone()))?;
        subscribe(&mut self.table, wakeup)
    }
}
