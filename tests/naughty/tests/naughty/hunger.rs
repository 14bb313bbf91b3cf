//! Guests that want more than there is for them.

use ferrule_host::{CodeLimits, Limit};
use ferrule_naughty::Import;

use crate::case::{Act, Case, FIXED, Meets, Off, next};

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case::new(
            "grows-at-once",
            "wants 16 MiB in one step",
            next("(if (i32.eq (memory.grow (i32.const 256)) (i32.const -1)) (then unreachable)) (i32.const 0)"),
            Meets::Limit(Limit::Memory),
            Off::Limits(|limits| limits.memory_bytes = 64 << 20),
        )
        .with(|limits| limits.memory_bytes = 1 << 20),
        Case::new(
            "grows-in-small-steps",
            "wants a page, again and again",
            next(
                "(local $i i32)
                 (loop $l
                   (if (i32.eq (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))
                   (local.set $i (i32.add (local.get $i) (i32.const 1)))
                   (br_if $l (i32.lt_u (local.get $i) (i32.const 100))))
                 (i32.const 0)",
            ),
            Meets::Limit(Limit::Memory),
            Off::Limits(|limits| limits.memory_bytes = 64 << 20),
        )
        .with(|limits| limits.memory_bytes = 1 << 20),
        Case {
            act: Act::Start,
            pages: 64,
            ..Case::new(
                "begins-with-too-much-memory",
                "has 4 MiB before it does anything",
                "",
                Meets::Limit(Limit::Memory),
                Off::Limits(|limits| limits.memory_bytes = 64 << 20),
            )
            .with(|limits| limits.memory_bytes = 1 << 20)
        },
        Case {
            act: Act::Start,
            pages: 65_536,
            ..Case::new(
                "begins-with-all-there-is",
                "has 4 GiB before it does anything, in a file of a few KB",
                "",
                Meets::NotLoaded("memory"),
                FIXED,
            )
        },
        Case::new(
            "grows-a-table",
            "wants a table of 50,000 functions",
            format!(
                "(table $t 1 funcref) {}",
                next(
                    "(if (i32.eq (table.grow $t (ref.null func) (i32.const 50000)) (i32.const -1)) (then unreachable))
                     (i32.const 0)"
                )
            ),
            Meets::Limit(Limit::TableElements),
            Off::Limits(|limits| limits.table_elements = 100_000),
        )
        .with(|limits| limits.table_elements = 1_000),
        Case {
            act: Act::Start,
            ..Case::new(
                "begins-with-a-large-table",
                "has a table of 5,000 functions before it does anything",
                "(table $t 5000 funcref)",
                Meets::Limit(Limit::TableElements),
                Off::Limits(|limits| limits.table_elements = 100_000),
            )
            .with(|limits| limits.table_elements = 1_000)
        },
        Case {
            act: Act::Start,
            outside: format!("(core module $E) {}", "(core instance (instantiate $E))".repeat(20)),
            ..Case::new(
                "is-many",
                "is composed of twenty instances",
                "",
                Meets::Limit(Limit::Instances),
                Off::Limits(|limits| limits.instances = 64),
            )
            .with(|limits| limits.instances = 10)
        },
        Case {
            imports: &[Import::Clock],
            ..Case::new(
                "leaks-pollables",
                "asks for pollables and never lets go of one",
                next(
                    "(local $i i32)
                     (loop $l
                       (drop (call $after (i64.const 3600000000000)))
                       (local.set $i (i32.add (local.get $i) (i32.const 1)))
                       (br_if $l (i32.lt_u (local.get $i) (i32.const 200))))
                     (i32.const 0)",
                ),
                Meets::Limit(Limit::Handles),
                Off::Limits(|limits| limits.handles = 1_000),
            )
            .with(|limits| limits.handles = 50)
        },
        Case {
            imports: &[Import::Sockets],
            ..Case::new(
                "hoards-sockets",
                "makes 100 sockets of WASI and never closes one",
                next(
                    "(local $i i32)
                     (loop $l
                       (call $socket (i32.const 0) (i32.const 512))
                       (local.set $i (i32.add (local.get $i) (i32.const 1)))
                       (br_if $l (i32.lt_u (local.get $i) (i32.const 100))))
                     (i32.const 0)",
                ),
                Meets::Fine(|met| met.told.iter().any(|told| told == "limited sockets")),
                Off::Limits(|limits| limits.sockets = 1_000),
            )
            .with(|limits| limits.sockets = 10)
        },
        Case {
            imports: &[Import::Net],
            grants: &["127.0.0.1:PORT"],
            ..Case::new(
                "connects-without-end",
                "connects 100 times and never closes",
                format!(
                    "(data $d \"127.0.0.1\") {}",
                    next(
                        "(local $i i32)
                         (memory.init $d (i32.const 600) (i32.const 0) (i32.const 9))
                         (loop $l
                           (call $connect (i32.const 600) (i32.const 9) (i32.const PORT) (i32.const 0) (i32.const 0)
                             (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 512))
                           (local.set $i (i32.add (local.get $i) (i32.const 1)))
                           (br_if $l (i32.lt_u (local.get $i) (i32.const 100))))
                         (i32.const 0)"
                    )
                ),
                Meets::Fine(|met| met.callers <= 10 && met.told.iter().any(|told| told == "limited sockets")),
                Off::Limits(|limits| limits.sockets = 1_000),
            )
            .with(|limits| limits.sockets = 10)
        },
        Case {
            act: Act::Start,
            padding: 2 << 20,
            code_limits: CodeLimits { artifact_bytes: 1 << 20, ..CodeLimits::default() },
            ..Case::new(
                "is-huge",
                "is a file of more bytes than are taken",
                "",
                Meets::NotLoaded("at most 1048576 are taken"),
                Off::Code(|limits| limits.artifact_bytes = 128 << 20),
            )
        },
    ]
}
