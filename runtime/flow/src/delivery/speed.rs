//! What a record costs in the decision core, printed: offered, written and delivered in batches of 1,000. Not run by default, and
//! no test of anything: `cargo test --release -p ferrule-flow -- --ignored --nocapture what_a_record_costs`.

use std::hint::black_box;
use std::time::Instant;

use super::*;
use crate::progress::Progress;

const BATCH: usize = 1_000;

fn per_record(what: &str, mut batch: impl FnMut(&mut Delivery, &mut Progress, Duration)) {
    let mut delivery = Delivery::new(Policy::default(), 1, 0, Jitter::new(1));
    let mut progress = Progress::starting_at(0);
    let mut rounds: Vec<f64> = Vec::new();
    for _ in 0..15 {
        let begun = Instant::now();
        for _ in 0..200 {
            progress.take(delivery.next_id(), BATCH);
            batch(&mut delivery, &mut progress, Duration::from_secs(1));
            assert_eq!((delivery.open(), progress.open()), (0, 0));
            black_box(progress.take_completed_ranges());
        }
        rounds.push(begun.elapsed().as_nanos() as f64 / (200 * BATCH) as f64);
    }
    rounds.sort_by(f64::total_cmp);
    println!("{what}: {:.2} ns per record ({:.2} to {:.2})", rounds[7], rounds[0], rounds[14]);
}

fn in_bulk(keys: &[Vec<u8>], size: impl Fn(usize) -> usize) -> impl FnMut(&mut Delivery, &mut Progress, Duration) {
    move |delivery, progress, now| {
        delivery.offer_all(now, 0, BATCH, |index| &keys[index], &size);
        while let runs = delivery.next_runs(now, 0)
            && !runs.is_empty()
        {
            for run in runs {
                for done in delivery.delivered(run.ids) {
                    progress.done_all(done.ids);
                }
            }
        }
    }
}

#[test]
#[ignore = "prints figures and checks none"]
fn what_a_record_costs() {
    let keys = |key: fn(usize) -> String| -> Vec<Vec<u8>> { (0..BATCH).map(|index| key(index).into_bytes()).collect() };
    let none = keys(|_| String::new());
    per_record("in bulk, without keys", in_bulk(&none, |_| 100));
    per_record("in bulk, without keys, sizes differ", in_bulk(&none, |index| 100 + index % 7));
    let one = keys(|_| "sensors/one".to_owned());
    per_record("in bulk, one key", in_bulk(&one, |_| 100));
    let many = keys(|index| format!("sensors/{}", index % 100));
    per_record("in bulk, a hundred keys in turn", in_bulk(&many, |_| 100));
    per_record("one by one, without keys", |delivery, progress, now| {
        for _ in 0..BATCH {
            delivery.offer(now, 0, b"", 100);
        }
        for write in delivery.next_write(now, 0) {
            if let Some(done) = delivery.outcome(now, write.id, Outcome::Delivered) {
                progress.done(done.id);
            }
        }
    });
}
