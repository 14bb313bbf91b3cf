//! Guests that reach for what they were not granted, and misuse what they have.

use ferrule_naughty::Import;

use crate::case::{Case, ENGINE, FIXED, Meets, Met, Off, next};

/// Connects to a host on the port of the test's listener.
fn connects(host: &str) -> String {
    connects_and(host, "")
}

/// The same, and then goes on; what came of it is at 512.
fn connects_and(host: &str, then: &str) -> String {
    let length = host.len();
    format!(
        "(data $d \"{host}\") {}",
        next(&format!(
            "(memory.init $d (i32.const 600) (i32.const 0) (i32.const {length}))
             (call $connect (i32.const 600) (i32.const {length}) (i32.const PORT) (i32.const 0) (i32.const 0)
               (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 512))
             {then} (i32.const 0)"
        ))
    )
}

fn nothing_reached(met: &Met) -> bool {
    met.callers == 0 && met.told.iter().all(|told| !told.starts_with("allowed"))
}

fn denied(met: &Met) -> bool {
    nothing_reached(met) && met.told.iter().any(|told| told.starts_with("denied tcp"))
}

fn reaches(
    name: &str,
    rule: &'static str,
    host: &str,
    grants: &'static [&'static str],
    meets: Meets,
    off: Off,
) -> Case {
    Case { imports: &[Import::Net], grants, ..Case::new(name, rule, connects(host), meets, off) }
}

pub(crate) fn cases() -> Vec<Case> {
    let never = Off::Never("no grant opens it, and what it means would be reached");
    let (refused, unread) = (Meets::Fine(denied), Meets::Fine(nothing_reached));
    let mut cases = vec![
        reaches("connects-without-a-grant", "connects to where nobody let it", "127.0.0.1", &[], refused, Off::Granted),
        reaches(
            "hides-behind-a-wildcard",
            "takes a grant for everything as one for this machine",
            "127.0.0.1",
            &["*:*"],
            refused,
            Off::Granted,
        ),
        reaches(
            "takes-another-port",
            "connects to another port than the granted one",
            "127.0.0.1",
            &["127.0.0.1:1"],
            refused,
            Off::Granted,
        ),
        reaches(
            "spells-this-machine-mapped",
            "writes 127.0.0.1 as an IPv6 address",
            "::ffff:127.0.0.1",
            &["*:*"],
            refused,
            Off::Granted,
        ),
        reaches(
            "names-this-machine",
            "says localhost under a grant for everything",
            "localhost",
            &["*:*"],
            refused,
            never,
        ),
        reaches(
            "reaches-for-metadata",
            "connects to the metadata service of a cloud",
            "169.254.169.254",
            &["*:*"],
            refused,
            never,
        ),
        reaches(
            "reaches-for-metadata-in-nat64",
            "writes the metadata address as NAT64",
            "64:ff9b::a9fe:a9fe",
            &["*:*"],
            refused,
            never,
        ),
        reaches("connects-to-nowhere", "connects to the unspecified address", "0.0.0.0", &["*:*"], refused, never),
        reaches("connects-to-everybody", "connects to a multicast address", "224.0.0.1", &["*:*"], refused, never),
        reaches(
            "spells-an-address-in-decimal",
            "writes 127.0.0.1 as one number",
            "2130706433",
            &["*:*"],
            unread,
            FIXED,
        ),
        reaches("spells-an-address-in-hex", "writes 127.0.0.1 in hexadecimal", "0x7f000001", &["*:*"], unread, FIXED),
        reaches("spells-an-address-in-octal", "writes 127.0.0.1 in octal", "0177.0.0.1", &["*:*"], unread, FIXED),
    ];
    cases.extend([
        Case {
            imports: &[Import::Surroundings],
            ..Case::new(
                "looks-for-arguments",
                "looks for arguments and variables of the process",
                next(
                    "(call $arguments (i32.const 512)) (call $variables (i32.const 520))
                     (if (i32.or (i32.load (i32.const 516)) (i32.load (i32.const 524))) (then unreachable))
                     (i32.const 0)",
                ),
                Meets::Fine(|met| met.told.is_empty()),
                Off::Never("a guest is made with nothing"),
            )
        },
        Case {
            imports: &[Import::Clock],
            ..Case::new(
                "drops-twice",
                "lets go of a pollable twice",
                format!(
                    "(global $p (mut i32) (i32.const 0)) {}",
                    next(
                        "(global.set $p (call $after (i64.const 0))) (call $drop (global.get $p)) (call $drop (global.get $p))
                         (i32.const 0)"
                    )
                ),
                Meets::Trap("handle"),
                ENGINE,
            )
        },
        Case {
            imports: &[Import::Clock],
            ..Case::new(
                "uses-what-it-dropped",
                "waits for a pollable that it let go of",
                format!(
                    "(global $p (mut i32) (i32.const 0)) {}",
                    next(
                        "(global.set $p (call $after (i64.const 0))) (call $drop (global.get $p)) (call $block (global.get $p))
                         (i32.const 0)"
                    )
                ),
                Meets::Trap("handle"),
                ENGINE,
            )
        },
        Case {
            imports: &[Import::Children],
            grants: &["127.0.0.1:PORT"],
            ..Case::new(
                "drops-parents-before-children",
                "lets go of a connection while it still waits for it",
                connects_and(
                    "127.0.0.1",
                    "(drop (call $subscribe (i32.load (i32.const 516)))) (call $abandon (i32.load (i32.const 516)))",
                ),
                Meets::Trap("children"),
                ENGINE,
            )
        },
        Case {
            imports: &[Import::Clock],
            ..Case::new(
                "guesses-handles",
                "waits for a pollable that it was never given",
                next("(call $block (i32.const 4711)) (i32.const 0)"),
                Meets::Trap("handle"),
                ENGINE,
            )
        },
    ]);
    cases
}
