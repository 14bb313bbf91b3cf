//! Numbers for the operator. Names are `[a-z][a-z0-9_]*`; the host adds a prefix and the stream.

#[cfg(target_family = "wasm")]
use crate::bindings::ferrule::connector::metrics as host;

/// Something that is counted. Adding is a call to the host: once a batch rather than once a record.
///
/// ```
/// use ferrule_sdk::metrics::Counter;
/// static READ: Counter = Counter::new("bytes_read");
/// READ.add(17);
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Counter {
    name: &'static str,
}

impl Counter {
    /// A counter of that name.
    pub const fn new(name: &'static str) -> Self {
        Self { name }
    }

    /// Adds to it.
    pub fn add(&self, amount: u64) {
        self.add_with(&[], amount);
    }

    /// Adds to the one with these labels.
    #[cfg_attr(not(target_family = "wasm"), allow(unused_variables, reason = "natively there is no host"))]
    pub fn add_with(&self, labels: &[(&str, &str)], amount: u64) {
        #[cfg(target_family = "wasm")]
        if amount > 0 {
            host::count(self.name, &owned(labels), amount);
        }
    }
}

/// Something that is measured.
#[derive(Clone, Copy, Debug)]
pub struct Gauge {
    name: &'static str,
}

impl Gauge {
    /// A gauge of that name.
    pub const fn new(name: &'static str) -> Self {
        Self { name }
    }

    /// Sets it.
    pub fn set(&self, value: f64) {
        self.set_with(&[], value);
    }

    /// Sets the one with these labels.
    #[cfg_attr(not(target_family = "wasm"), allow(unused_variables, reason = "natively there is no host"))]
    pub fn set_with(&self, labels: &[(&str, &str)], value: f64) {
        #[cfg(target_family = "wasm")]
        host::gauge(self.name, &owned(labels), value);
    }
}

#[cfg(target_family = "wasm")]
fn owned(labels: &[(&str, &str)]) -> Vec<(String, String)> {
    labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}
