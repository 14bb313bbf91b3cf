//! Counters and rates.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::snapshot::Distribution;

/// How far back a rate looks: long enough to be steady, short enough to show a change within a glance.
const MEMORY: Duration = Duration::from_secs(5);

/// Samples closer together than this say more about the sampling than about the rate.
const SHORTEST: Duration = Duration::from_millis(200);

/// How often values up to each bound came.
#[derive(Debug)]
pub(crate) struct Histogram {
    bounds: &'static [u64],
    /// For each bound those up to it and above the one before, and last those above all.
    counts: Vec<AtomicU64>,
    sum: AtomicU64,
}

impl Histogram {
    pub(crate) fn new(bounds: &'static [u64]) -> Self {
        Self { bounds, counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(), sum: AtomicU64::new(0) }
    }

    /// The value came so many times.
    pub(crate) fn add(&self, value: u64, times: u64) {
        let place = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get(place) {
            count.fetch_add(times, Relaxed);
        }
        self.sum.fetch_add(value.saturating_mul(times), Relaxed);
    }

    pub(crate) fn counts(&self) -> Distribution {
        Distribution {
            bounds: self.bounds.to_vec(),
            counts: self.counts.iter().map(|count| count.load(Relaxed)).collect(),
            sum: self.sum.load(Relaxed),
        }
    }
}

/// Counts records and bytes, and how many come a second.
#[derive(Debug)]
pub(crate) struct Meter {
    records: AtomicU64,
    bytes: AtomicU64,
    rate: Mutex<Rate>,
}

#[derive(Debug)]
struct Rate {
    sampled: Instant,
    begun: bool,
    records: u64,
    bytes: u64,
    records_per_second: f64,
    bytes_per_second: f64,
}

impl Meter {
    pub(crate) fn new(now: Instant) -> Self {
        let rate =
            Rate { sampled: now, begun: false, records: 0, bytes: 0, records_per_second: 0.0, bytes_per_second: 0.0 };
        Self { records: AtomicU64::new(0), bytes: AtomicU64::new(0), rate: Mutex::new(rate) }
    }

    pub(crate) fn add(&self, records: u64, bytes: u64) {
        self.records.fetch_add(records, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
    }

    pub(crate) fn totals(&self) -> (u64, u64) {
        (self.records.load(Relaxed), self.bytes.load(Relaxed))
    }

    /// Records and bytes a second, as of the last sample.
    pub(crate) fn rates(&self) -> (f64, f64) {
        let rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        (rate.records_per_second, rate.bytes_per_second)
    }

    /// Takes a sample; called about once a second.
    pub(crate) fn sample(&self, now: Instant) {
        let (records, bytes) = self.totals();
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        let elapsed = now.saturating_duration_since(rate.sampled);
        if elapsed < SHORTEST {
            return;
        }
        let seconds = elapsed.as_secs_f64();
        let records_now = records.saturating_sub(rate.records) as f64 / seconds;
        let bytes_now = bytes.saturating_sub(rate.bytes) as f64 / seconds;
        let weight = if rate.begun { 1.0 - (-seconds / MEMORY.as_secs_f64()).exp() } else { 1.0 };
        rate.records_per_second += weight * (records_now - rate.records_per_second);
        rate.bytes_per_second += weight * (bytes_now - rate.bytes_per_second);
        rate.begun |= records > 0;
        rate.sampled = now;
        rate.records = records;
        rate.bytes = bytes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_follows_what_comes() {
        let start = Instant::now();
        let meter = Meter::new(start);
        let second = Duration::from_secs(1);
        meter.sample(start + second);
        assert_eq!(meter.rates(), (0.0, 0.0));
        meter.add(100, 1_000);
        meter.sample(start + second * 2);
        assert_eq!(meter.rates(), (100.0, 1_000.0), "the first rate counts in full");
        for index in 3..60 {
            meter.add(10, 100);
            meter.sample(start + second * index);
        }
        assert!((meter.rates().0 - 10.0).abs() < 0.1, "{:?}", meter.rates());
        assert_eq!(meter.totals(), (670, 6_700));
    }
}
