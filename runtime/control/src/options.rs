//! What can be chosen when the control part starts.

use std::time::Duration;

use ferrule_store::Principal;

use crate::site::Site;

/// How the control part works.
#[derive(Debug, Clone)]
pub struct ControlOptions {
    /// Which service domain this runtime is.
    pub site: Site,
    /// In whose name statuses are written.
    pub principal: Principal,
    /// How long to wait for further changes after one, so that a file of documents is resolved as a whole.
    pub debounce: Duration,
    /// How often what runs is looked at; what changed is written.
    pub refresh: Duration,
    /// How often counts alone make a status be written. Each write is durable, so not at every look.
    pub counters: Duration,
    /// How long to wait before trying again what could not be applied.
    pub retry: Duration,
}

impl Default for ControlOptions {
    fn default() -> Self {
        Self {
            site: Site::default(),
            principal: Principal::new("control"),
            debounce: Duration::from_millis(20),
            refresh: Duration::from_secs(1),
            counters: Duration::from_secs(5),
            retry: Duration::from_secs(2),
        }
    }
}
