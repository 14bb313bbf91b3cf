//! This machine's live measurements.

use anyhow::Result;
use serde_json::json;
use std::time::{SystemTime, UNIX_EPOCH};
use sysinfo::{Disks, Networks, System};

/// Measures processor, memory, disk and network.
pub(crate) struct Meter {
    system: System,
    disks: Disks,
    networks: Networks,
    sequence: u64,
}

/// One measurement, as it is published.
pub(crate) struct Reading {
    /// The topic, `machine/QUANTITY/reading`.
    pub(crate) topic: String,
    /// A JSON object: quantity, value, unit, sequence, time.
    pub(crate) payload: String,
}

impl Meter {
    pub(crate) fn new() -> Result<Meter> {
        let disks = Disks::new_with_refreshed_list()?;
        Ok(Meter { system: System::new()?, disks, networks: Networks::new_with_refreshed_list()?, sequence: 0 })
    }

    /// Reads all quantities once.
    pub(crate) fn read(&mut self) -> Vec<Reading> {
        self.system.refresh_cpu_usage();
        self.system.refresh_memory();
        self.disks.refresh(true);
        self.networks.refresh(true);
        let share = |part: u64, whole: u64| if whole == 0 { 0.0 } else { part as f64 * 100.0 / whole as f64 };
        let (free, space) = self
            .disks
            .iter()
            .fold((0, 0), |(free, space), disk| (free + disk.available_space(), space + disk.total_space()));
        let bytes: u64 = self.networks.values().map(|network| network.received() + network.transmitted()).sum();
        let quantities = [
            ("cpu", f64::from(self.system.global_cpu_usage()), "percent"),
            ("memory", share(self.system.used_memory(), self.system.total_memory()), "percent"),
            ("disk", share(space - free.min(space), space), "percent"),
            ("network", bytes as f64, "bytes since the last reading"),
        ];
        quantities.into_iter().map(|(quantity, value, unit)| self.reading(quantity, value, unit)).collect()
    }

    fn reading(&mut self, quantity: &str, value: f64, unit: &str) -> Reading {
        self.sequence += 1;
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let value = (value * 10.0).round() / 10.0;
        let payload = json!({"quantity": quantity, "value": value, "unit": unit, "sequence": self.sequence, "time_ms": time as u64}).to_string();
        Reading { topic: format!("machine/{quantity}/reading"), payload }
    }
}
