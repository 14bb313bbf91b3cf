//! Arms that take turns, and what their turns say: medians with the least and the most.

use anyhow::{Context as _, Result};
use async_trait::async_trait;
use serde_json::{Value, json};
use std::time::Duration;

/// What one turn of an arm did, as counted at the far end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    /// Records that arrived.
    pub(crate) records: u64,
    /// How long it took.
    pub(crate) wall: Duration,
    /// Processor time of the arm's process, or of what runs the arm in this one.
    pub(crate) cpu: Duration,
}

impl Sample {
    fn per_second(&self) -> f64 {
        self.records as f64 / self.wall.as_secs_f64()
    }

    /// Nanoseconds of processor time for a record.
    fn cpu_per_record(&self) -> f64 {
        self.cpu.as_nanos() as f64 / self.records as f64
    }
}

/// One way to do the work.
#[async_trait]
pub(crate) trait Arm: Send {
    /// Its name in tables.
    fn name(&self) -> &str;

    /// One turn.
    async fn turn(&mut self) -> Result<Sample>;
}

/// The median of some turns, with the least and the most.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spread {
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
}

impl Spread {
    pub(crate) fn of(values: impl IntoIterator<Item = f64>) -> Spread {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let at = |index: usize| values.get(index).copied().unwrap_or(f64::NAN);
        Spread { median: at(values.len() / 2), least: at(0), most: at(values.len().saturating_sub(1)) }
    }

    pub(crate) fn json(&self) -> Value {
        json!({ "median": self.median, "least": self.least, "most": self.most })
    }
}

/// What an arm's turns say.
#[derive(Clone, Debug)]
pub(crate) struct Figures {
    pub(crate) arm: String,
    /// Records a second by the clock on the wall.
    pub(crate) rate: Spread,
    /// Nanoseconds of processor time for a record.
    pub(crate) cpu: Spread,
}

impl Figures {
    /// Records for each second of one processor.
    pub(crate) fn per_core(&self) -> f64 {
        1e9 / self.cpu.median
    }

    pub(crate) fn json(&self) -> Value {
        json!({
            "arm": self.arm,
            "records_per_second": self.rate.json(),
            "cpu_ns_per_record": self.cpu.json(),
            "records_per_core_second": self.per_core(),
        })
    }
}

/// The arms of one shape, in the order given.
#[derive(Debug)]
pub(crate) struct Compared(pub(crate) Vec<Figures>);

impl Compared {
    pub(crate) fn get(&self, arm: &str) -> Option<&Figures> {
        self.0.iter().find(|figures| figures.arm == arm)
    }

    /// How many times more records a second of one processor `arm` moves than `other`.
    pub(crate) fn per_core(&self, arm: &str, other: &str) -> Option<f64> {
        Some(self.get(arm)?.per_core() / self.get(other)?.per_core())
    }

    /// How many times more records a second by the clock.
    pub(crate) fn rate(&self, arm: &str, other: &str) -> Option<f64> {
        Some(self.get(arm)?.rate.median / self.get(other)?.rate.median)
    }
}

/// Lets the arms take turns, every other round backwards, so that what drifts is the same for all.
pub(crate) async fn alternate(arms: &mut [Box<dyn Arm>], turns: usize) -> Result<Compared> {
    let mut samples: Vec<Vec<Sample>> = arms.iter().map(|_| Vec::with_capacity(turns)).collect();
    for turn in 0..turns {
        let mut order: Vec<usize> = (0..arms.len()).collect();
        if turn % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let Some(arm) = arms.get_mut(index) else { continue };
            let sample = arm.turn().await.with_context(|| format!("the arm {:?}", arm.name()))?;
            if let Some(samples) = samples.get_mut(index) {
                samples.push(sample);
            }
        }
    }
    let figures = arms.iter().zip(samples).map(|(arm, samples)| Figures {
        arm: arm.name().to_owned(),
        rate: Spread::of(samples.iter().map(Sample::per_second)),
        cpu: Spread::of(samples.iter().map(Sample::cpu_per_record)),
    });
    Ok(Compared(figures.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(&'static str, u64, Vec<&'static str>);

    #[async_trait]
    impl Arm for Fixed {
        fn name(&self) -> &str {
            self.0
        }

        async fn turn(&mut self) -> Result<Sample> {
            self.2.push(self.0);
            let (wall, cpu) = (Duration::from_secs(1), Duration::from_millis(500));
            Ok(Sample { records: self.1 * self.2.len() as u64, wall, cpu })
        }
    }

    #[tokio::test]
    async fn arms_take_turns_and_the_median_stands() {
        let mut arms: Vec<Box<dyn Arm>> = vec![Box::new(Fixed("a", 100, vec![])), Box::new(Fixed("b", 50, vec![]))];
        let compared = alternate(&mut arms, 3).await.unwrap();
        let a = compared.get("a").unwrap();
        assert_eq!(a.rate, Spread { median: 200.0, least: 100.0, most: 300.0 });
        assert_eq!(a.cpu.median, 500e6 / 200.0);
        assert_eq!(a.per_core(), 400.0);
        assert_eq!(compared.per_core("a", "b"), Some(2.0));
        assert_eq!(compared.rate("a", "b"), Some(2.0));
    }
}
