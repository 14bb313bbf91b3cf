//! Processor time: this process's, and that of others.

use anyhow::{Context as _, Result};
use std::fs;
use std::time::Duration;

/// Ticks a second in `/proc`: fixed at 100 in the kernel's interface.
const TICKS: u64 = 100;

/// Processor time of this process so far, all threads.
pub(crate) fn own() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Processor time of another process so far, all threads, to a hundredth of a second.
pub(crate) fn of(process: u32) -> Result<Duration> {
    let fields = stat(process)?;
    let field = |number: usize| fields.get(number).and_then(|field| field.parse::<u64>().ok()).unwrap_or_default();
    // utime and stime, the 14th and 15th of proc(5); the first two were cut off.
    Ok(Duration::from_millis((field(11) + field(12)) * 1000 / TICKS))
}

/// Bytes of memory that only this process holds: what its end would free.
pub(crate) fn memory(process: u32) -> Result<u64> {
    let path = format!("/proc/{process}/smaps_rollup");
    let text = fs::read_to_string(&path).with_context(|| format!("could not read {path}"))?;
    let kib = |name: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_whitespace().next()).and_then(|number| number.parse().ok()).unwrap_or_default()
    };
    Ok((kib("Private_Clean:") + kib("Private_Dirty:")) * 1024)
}

fn stat(process: u32) -> Result<Vec<String>> {
    let path = format!("/proc/{process}/stat");
    let text = fs::read_to_string(&path).with_context(|| format!("could not read {path}"))?;
    // The name in parentheses may hold spaces; what follows does not.
    let rest = text.rsplit_once(')').map_or("", |(_, rest)| rest);
    Ok(rest.split_whitespace().map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_ways_to_ask_for_processor_time_agree() {
        let start = own();
        let mut sum = 0_u64;
        while own() - start < Duration::from_millis(60) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        let (first, second, last) = (own(), of(std::process::id()).unwrap(), own());
        let slack = Duration::from_millis(30);
        assert!(second + slack >= first && second <= last + slack, "{first:?} {second:?} {last:?}");
        assert!(memory(std::process::id()).unwrap() > 1 << 20);
    }
}
