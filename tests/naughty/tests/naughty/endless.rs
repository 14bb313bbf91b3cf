//! Guests that crash, never end, or end only after a while.

use std::time::Duration;

use ferrule_host::{Limits, Spent};
use ferrule_naughty::{Import, World};

use crate::case::{Act, Case, ENGINE, FIXED, Meets, Off, next};

/// Every call of the contract: its name, the world that has it, the parameters of the core function, and whether it may wait.
const CALLS: [(&str, World, &str, Act, bool); 9] = [
    ("validate", World::Source, "i32 i32 i32 i32 i32 i32", Act::Validate, false),
    ("open", World::Source, "i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32 i32", Act::Open, true),
    ("configure", World::Source, "i32 i32", Act::Configure, false),
    ("close", World::Source, "", Act::Close, false),
    ("next", World::Source, "i32 i32 i32 i32", Act::Next, true),
    ("settle", World::Source, "i32 i32", Act::Settle, false),
    ("write", World::Sink, "i32", Act::Write, true),
    ("idle", World::Sink, "i32", Act::Idle, true),
    ("apply", World::Function, "i32", Act::Apply, false),
];

const SHORT: Duration = Duration::from_millis(150);

fn for_ever(limits: &mut Limits) {
    limits.call_time = Duration::from_secs(3_600);
    limits.wait = Duration::from_secs(3_600);
}

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for (call, world, params, act, waits) in CALLS {
        let function = |body: &str| format!("(func (export \"{call}\") (param {params}) (result i32) {body})");
        let case = |kind: &str, rule, body: &str, meets, off| Case {
            world,
            act,
            ..Case::new(&format!("{kind}-{call}"), rule, function(body), meets, off)
        };
        cases.push(case("traps-in", "ends itself", "unreachable", Meets::Trap("it ended itself"), ENGINE));
        let off = if call == "validate" { FIXED } else { Off::Limits(for_ever) };
        let spins =
            case("spins-in", "never ends", "(loop $l (br $l)) (i32.const 0)", Meets::TimedOut(Spent::Computing), off);
        cases.push(spins.with(|limits| limits.call_time = SHORT));
        if call != "validate" {
            let sleeps = Case {
                imports: &[Import::Clock],
                // Whoever may wait has to return when it is woken.
                woken: waits,
                ..case(
                    "sleeps-in",
                    "sleeps for ever, and does not hear the wake-up",
                    "(call $block (call $after (i64.const 3600000000000))) (i32.const 0)",
                    Meets::TimedOut(Spent::Waiting),
                    Off::Limits(for_ever),
                )
            };
            cases.push(sleeps.with(|limits| limits.wait = SHORT));
        }
    }
    let describe = |name: &str, rule, body: &str, meets| Case {
        act: Act::Start,
        ..Case::new(name, rule, format!("(func (export \"describe\") (result i32) {body})"), meets, FIXED)
    };
    cases.extend([
        describe("traps-in-describe", "ends itself", "unreachable", Meets::NotLoaded("it ended itself")),
        describe("spins-in-describe", "never ends", "(loop $l (br $l)) (i32.const 0)", Meets::NotLoaded("computing")),
        Case::new(
            "overflows-the-stack",
            "calls itself without end",
            format!("(func $f (result i32) (call $f) drop (call $f)) {}", next("(call $f)")),
            Meets::Trap("call stack exhausted"),
            ENGINE,
        ),
        Case {
            act: Act::Nexts(1_001),
            ..Case::new(
                "traps-after-a-thousand-batches",
                "is good until it is trusted",
                format!(
                    "(global $n (mut i32) (i32.const 0)) {}",
                    next(
                        "(global.set $n (i32.add (global.get $n) (i32.const 1)))
                         (if (i32.gt_u (global.get $n) (i32.const 1000)) (then unreachable))
                         (call $batch (i32.const 10))"
                    )
                ),
                Meets::Trap("it ended itself"),
                ENGINE,
            )
        },
        Case {
            imports: &[Import::Clock],
            ..Case::new(
                "waits-for-nothing",
                "spins through the clock: each wait is over at once",
                format!(
                    "(global $p (mut i32) (i32.const 0)) {}",
                    next(
                        "(loop $l
                           (global.set $p (call $after (i64.const 0)))
                           (call $block (global.get $p))
                           (call $drop (global.get $p))
                           (br $l))
                         (i32.const 0)"
                    )
                ),
                Meets::TimedOut(Spent::Computing),
                Off::Limits(for_ever),
            )
            .with(|limits| limits.call_time = SHORT)
        },
        Case {
            imports: &[Import::Clock],
            ..Case::new(
                "turns-back-the-clock",
                "waits until a time that never comes, and looks at the clock all the while",
                next("(loop $l (br_if $l (i64.ge_s (call $now) (i64.const 0)))) (i32.const 0)"),
                Meets::TimedOut(Spent::Computing),
                Off::Limits(for_ever),
            )
            .with(|limits| limits.call_time = SHORT)
        },
        Case::new(
            "takes-a-processor",
            "computes for longer than its share",
            next(
                "(local $i i32) (loop $l (local.set $i (i32.add (local.get $i) (i32.const 1))) (br $l)) (i32.const 0)",
            ),
            Meets::TimedOut(Spent::Computing),
            // Without a share it is at its computing time before anybody gives up.
            Off::Never("what it meets is the same; that it is parked shows in `the_share_of_a_spinner_is_told`"),
        )
        .with(|limits| {
            limits.call_time = SHORT;
            limits.cpu_percent = Some(50);
        }),
    ]);
    cases
}
