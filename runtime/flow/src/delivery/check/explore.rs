//! Every state that a world can get into, breadth first, so that a breach is found with the shortest way to it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::super::Blame;
use super::world::{Breach, Event, Setup, World};

/// How many states a world may have: one that has more is too large to be checked, and says so.
const MOST_STATES: usize = 400_000;

/// How many steps a healthy sink may need to finish a small world.
const MOST_STEPS: usize = 400;

/// Goes through all states of a world. How many there are, or what is broken and how one gets there.
pub(super) fn explore(setup: &Arc<Setup>) -> Result<usize, Breach> {
    let start = World::new(setup);
    // For each state the one that it was met from first, and by which event.
    let mut met: HashMap<u128, Option<(u128, Event)>> = HashMap::new();
    let mut finishing = HashSet::new();
    let mut queue = VecDeque::new();
    met.insert(start.fingerprint(), None);
    queue.push_back((start.fingerprint(), start));
    while let Some((from, world)) = queue.pop_front() {
        let told = |breach: Breach, met: &HashMap<_, _>, last: Option<&Event>| {
            let mut way: Vec<String> = way(met, from).iter().map(|event| format!("{event:?}")).collect();
            way.extend(last.map(|event| format!("{event:?}")));
            format!("world {}: {breach}\nafter {} states, by way of {way:#?}", setup.name, met.len())
        };
        world.check_wake().map_err(|breach| told(breach, &met, None))?;
        finish(world.clone(), &mut finishing).map_err(|breach| told(breach, &met, None))?;
        for event in world.events() {
            let mut next = world.clone();
            next.step(&event).map_err(|breach| told(breach, &met, Some(&event)))?;
            let fingerprint = next.fingerprint();
            if let std::collections::hash_map::Entry::Vacant(place) = met.entry(fingerprint) {
                place.insert(Some((from, event)));
                queue.push_back((fingerprint, next));
            }
        }
        if met.len() > MOST_STATES {
            return Err(format!("world {} has more than {MOST_STATES} states", setup.name));
        }
    }
    Ok(met.len())
}

fn way(met: &HashMap<u128, Option<(u128, Event)>>, mut at: u128) -> Vec<Event> {
    let mut way = Vec::new();
    while let Some(Some((from, event))) = met.get(&at) {
        way.push(event.clone());
        at = *from;
    }
    way.reverse();
    way
}

/// From here on the sinks are healthy, but for poison: everything is done in the end. States in `known` were tried before.
pub(super) fn finish(mut world: World, known: &mut HashSet<u128>) -> Result<(), Breach> {
    for _ in 0..MOST_STEPS {
        if !known.insert(world.fingerprint()) || world.is_done() {
            return Ok(());
        }
        let before = world.fingerprint();
        world.step(&Event::Expire)?;
        while world.may_offer() {
            world.step(&Event::Offer)?;
        }
        for sink in 0..world.setup.sinks {
            let mut writes = 0;
            loop {
                writes += 1;
                if writes > MOST_STEPS {
                    return Err(format!("healthy sinks, and sink {sink} is not done after {MOST_STEPS} writes"));
                }
                let flying = world.flying(sink);
                if flying.iter().any(|id| world.setup.poison.contains(id)) {
                    world.step(&Event::Lost { sink, ids: flying, blame: Blame::Sole })?;
                } else {
                    world.step(&Event::DeliverAll(sink))?;
                }
                if world.write(sink)?.is_empty() {
                    break;
                }
            }
        }
        if world.fingerprint() == before {
            let wakes = (0..world.setup.sinks).filter_map(|sink| world.delivery.next_wake(sink));
            match wakes.chain(world.delivery.next_expiry()).min() {
                Some(wake) if wake > world.now => world.now = wake,
                wake => return Err(format!("healthy sinks, and {} are stuck; next: {wake:?}", world.delivery.open())),
            }
        }
    }
    Err(format!("healthy sinks, and {} are not done after {MOST_STEPS} rounds", world.delivery.open()))
}
