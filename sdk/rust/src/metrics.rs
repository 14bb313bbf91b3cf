//! Numbers for the operator. Names are `[a-z][a-z0-9_]*`; the host adds a prefix and the stream.

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
    pub fn add_with(&self, labels: &[(&str, &str)], amount: u64) {
        if amount > 0 {
            host::count(self.name, labels, amount);
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
    pub fn set_with(&self, labels: &[(&str, &str)], value: f64) {
        host::gauge(self.name, labels, value);
    }
}

#[cfg(target_family = "wasm")]
mod host {
    use crate::bindings::ferrule::connector::metrics;

    pub(super) fn count(name: &str, labels: &[(&str, &str)], amount: u64) {
        metrics::count(name, &owned(labels), amount);
    }

    pub(super) fn gauge(name: &str, labels: &[(&str, &str)], value: f64) {
        metrics::gauge(name, &owned(labels), value);
    }

    fn owned(labels: &[(&str, &str)]) -> Vec<(String, String)> {
        labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }
}

/// In a unit test that runs natively nobody counts.
#[cfg(not(target_family = "wasm"))]
mod host {
    pub(super) fn count(_: &str, _: &[(&str, &str)], _: u64) {}

    pub(super) fn gauge(_: &str, _: &[(&str, &str)], _: f64) {}
}
