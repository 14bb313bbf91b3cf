//! Long random runs in worlds too large to go through: many keys, several sinks, changing policies.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use proptest::prelude::*;

use super::explore::finish;
use super::world::{Event, Output, Setup, TICK, World};
use super::*;

fn policies() -> impl Strategy<Value = Policy> {
    let order = prop_oneof![Just(KeyOrder::OneWrite), Just(KeyOrder::OneRecord), Just(KeyOrder::Pipelined)];
    let limits = (prop::option::of(1u32..5), prop::option::of(1u32..20));
    (order, 1usize..20, 1usize..12, 1usize..200, 1usize..100, 0u32..3, limits, 1u32..4).prop_map(
        |(key_order, window, batch_records, window_bytes, batch_bytes, linger, (attempts, age), first)| Policy {
            batch_records,
            batch_bytes,
            linger: TICK * linger,
            window,
            window_bytes,
            key_order,
            backoff: BackoffPolicy { first: TICK * first, longest: TICK * 8 },
            attempts,
            age: age.map(|age| TICK * age),
        },
    )
}

fn setups() -> impl Strategy<Value = Setup> {
    let output = |sinks: usize| (0..sinks, 0u8..6, prop_oneof![Just(10usize), 0usize..60]);
    let inputs = move |sinks| prop::collection::vec(prop::collection::vec(output(sinks), 0..8), 1..25);
    let world = (1usize..4).prop_flat_map(move |sinks| (Just(sinks), inputs(sinks)));
    let harm = prop_oneof![
        (Just(BTreeSet::new()), any::<bool>()),
        prop::collection::btree_set(0u64..60, 1..5).prop_map(|poison| (poison, false)),
    ];
    (world, prop::collection::vec(policies(), 1..4), harm, any::<bool>()).prop_map(
        |((sinks, inputs), policies, (poison, crashes), losses): ((_, Vec<Vec<Output>>), _, _, _)| Setup {
            name: "random",
            sinks,
            inputs,
            policies,
            poison,
            retries: vec![None, Some(0), Some(3)],
            rejects: true,
            losses,
            crashes,
            ticks: true,
            flushes: true,
        },
    )
}

/// Of what can happen, kinds are as likely as each other: offers and writes must not drown in parts of what is in flight.
fn pick(events: &[Event], kind: usize, which: usize) -> Option<&Event> {
    let mut kinds: Vec<Vec<&Event>> = Vec::new();
    for event in events {
        let alike = |kind: &&mut Vec<&Event>| std::mem::discriminant(kind[0]) == std::mem::discriminant(event);
        match kinds.iter_mut().find(alike) {
            Some(kind) => kind.push(event),
            None => kinds.push(vec![event]),
        }
    }
    let kind = kinds.get(kind % kinds.len().max(1))?;
    kind.get(which % kind.len()).copied()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, max_shrink_iters: 4_000, ..ProptestConfig::default() })]

    #[test]
    fn long_runs_keep_every_promise(setup in setups(), steps in prop::collection::vec((any::<usize>(), any::<usize>()), 1..400)) {
        let mut world = World::new(&Arc::new(setup));
        let mut way = Vec::new();
        for (kind, which) in steps {
            let events = world.events();
            let Some(event) = pick(&events, kind, which) else { continue };
            way.push(event.clone());
            let stepped = world.step(event).and_then(|()| world.check_wake());
            prop_assert!(stepped.is_ok(), "{}\nby way of {way:?}", stepped.unwrap_err());
        }
        let ended = finish(world, &mut HashSet::new());
        prop_assert!(ended.is_ok(), "{}\nafter {way:?}", ended.unwrap_err());
    }
}
