//! Guests that say too much, or what they should not.

use ferrule_naughty::Import;

use crate::case::{Case, FIXED, Meets, Met, Off, next};

fn count(met: &Met, beginning: &str) -> usize {
    met.told.iter().filter(|told| told.starts_with(beginning)).count()
}

fn limited(met: &Met, word: &str) -> bool {
    met.told.iter().any(|told| told == &format!("limited {word}"))
}

/// Does something many times; `$i` is how often before. The name at 700 has the number in letters.
fn often(times: u32, body: &str) -> String {
    next(&format!(
        "(local $i i32)
         (i32.store (i32.const 700) (i32.const 0x61616161))
         (loop $l
           (i32.store8 (i32.const 700) (i32.add (i32.const 97) (i32.rem_u (local.get $i) (i32.const 26))))
           (i32.store8 (i32.const 701)
             (i32.add (i32.const 97) (i32.rem_u (i32.div_u (local.get $i) (i32.const 26)) (i32.const 26))))
           {body}
           (local.set $i (i32.add (local.get $i) (i32.const 1)))
           (br_if $l (i32.lt_u (local.get $i) (i32.const {times}))))
         (i32.const 0)"
    ))
}

const LOG: &str =
    "(call $log (i32.const 2) (i32.const 0) (i32.const 0) (i32.const 700) (i32.const 4) (i32.const 0) (i32.const 0))";

pub(crate) fn cases() -> Vec<Case> {
    vec![
        Case {
            imports: &[Import::Logging],
            ..Case::new(
                "floods-the-log",
                "logs 600 lines at once",
                often(600, LOG),
                Meets::Fine(|met| count(met, "log Info") <= 250 && count(met, "log Info") >= 100),
                Off::Limits(|limits| limits.log_lines_per_second = 1_000_000),
            )
        },
        Case {
            imports: &[Import::Logging],
            ..Case::new(
                "floods-the-log-with-long-lines",
                "logs 60 lines of 8 KB at once",
                often(60, "(call $log (i32.const 2) (i32.const 0) (i32.const 0) (i32.const 8192) (i32.const 8000) (i32.const 0) (i32.const 0))"),
                Meets::Fine(|met| count(met, "log Info") <= 40),
                Off::Limits(|limits| limits.log_bytes_per_second = 1 << 30),
            )
            .with(|limits| limits.log_bytes_per_second = 100_000)
        },
        Case {
            imports: &[Import::Logging],
            ..Case::new(
                "logs-a-huge-line",
                "logs one line of 100 KB",
                next("(call $log (i32.const 2) (i32.const 0) (i32.const 0) (i32.const 8192) (i32.const 100000) (i32.const 0) (i32.const 0)) (i32.const 0)"),
                Meets::Fine(|met| met.told.len() == 1 && met.told[0].len() < 80_000),
                FIXED,
            )
        },
        Case {
            imports: &[Import::Logging],
            ..Case::new(
                "forges-a-line",
                "logs a newline, and what looks like a line of somebody else",
                next(
                    "(i32.store (i32.const 700) (i32.const 0x4f520a78))
                     (call $log (i32.const 2) (i32.const 700) (i32.const 4) (i32.const 700) (i32.const 4) (i32.const 0) (i32.const 0))
                     (i32.const 0)",
                ),
                Meets::Fine(|met| met.told == ["log Info x\\nRO: x\\nRO"]),
                Off::Texts,
            )
        },
        Case {
            imports: &[Import::Logging],
            ..Case::new(
                "drives-the-terminal",
                "logs an escape sequence that clears the screen",
                next(
                    "(i32.store (i32.const 700) (i32.const 0x4a325b1b))
                     (call $log (i32.const 2) (i32.const 0) (i32.const 0) (i32.const 700) (i32.const 4) (i32.const 0) (i32.const 0))
                     (i32.const 0)",
                ),
                Meets::Fine(|met| met.told == ["log Info : \\u{1b}[2J"]),
                Off::Texts,
            )
        },
        Case {
            imports: &[Import::Metrics, Import::Logging],
            ..Case::new(
                "floods-the-metrics",
                "counts under 500 names",
                often(500, "(call $count (i32.const 700) (i32.const 4) (i32.const 0) (i32.const 0) (i64.const 1))"),
                Meets::Fine(|met| count(met, "count ") <= 200 && limited(met, "metrics")),
                Off::Limits(|limits| limits.metric_series = 1_000_000),
            )
        },
        Case {
            imports: &[Import::Metrics],
            ..Case::new(
                "has-an-odd-name-for-a-metric",
                "counts under a name that no monitoring takes",
                next("(i32.store (i32.const 700) (i32.const 0x0a223d7b)) (call $count (i32.const 700) (i32.const 4) (i32.const 0) (i32.const 0) (i64.const 1)) (i32.const 0)"),
                Meets::Fine(|met| count(met, "count ") == 0),
                FIXED,
            )
        },
        Case {
            imports: &[Import::Metrics],
            ..Case::new(
                "has-huge-labels",
                "counts under a label whose value has 10 KB",
                next(
                    "(i32.store (i32.const 700) (i32.const 0x61616161))
                     (i32.store (i32.const 720) (i32.const 700)) (i32.store (i32.const 724) (i32.const 4))
                     (i32.store (i32.const 728) (i32.const 8192)) (i32.store (i32.const 732) (i32.const 10000))
                     (call $count (i32.const 700) (i32.const 4) (i32.const 720) (i32.const 1) (i64.const 1)) (i32.const 0)",
                ),
                Meets::Fine(|met| count(met, "count ") == 0),
                FIXED,
            )
        },
        Case {
            imports: &[Import::Status],
            ..Case::new(
                "flaps",
                "says 300 times that it is well and that it is not",
                often(300, "(call $healthy (i32.const 700) (i32.const 4)) (call $unhealthy (i32.const 700) (i32.const 4))"),
                Meets::Fine(|met| count(met, "health ") <= 60 && limited(met, "statusUpdates")),
                Off::Limits(|limits| limits.status_updates_per_second = 1_000_000),
            )
        },
        Case {
            imports: &[Import::Status],
            ..Case::new(
                "raises-too-many-alerts",
                "raises 500 alerts",
                often(500, "(call $raise (i32.const 1) (i32.const 700) (i32.const 4) (i32.const 700) (i32.const 4))"),
                Meets::Fine(|met| count(met, "alert ") <= 200 && limited(met, "metrics")),
                Off::Limits(|limits| limits.metric_series = 1_000_000),
            )
            .with(|limits| limits.status_updates_per_second = 1_000_000)
        },
        Case {
            imports: &[Import::Status],
            ..Case::new(
                "says-too-much-of-itself",
                "says in 100 KB that it is well",
                next("(call $healthy (i32.const 8192) (i32.const 100000)) (i32.const 0)"),
                Meets::Fine(|met| met.told.len() == 1 && met.told[0].len() < 80_000),
                FIXED,
            )
        },
        Case {
            imports: &[Import::Status],
            ..Case::new(
                "has-an-odd-name-for-an-alert",
                "raises an alert whose name has a newline",
                next("(i32.store (i32.const 700) (i32.const 0x0a610a61)) (call $raise (i32.const 1) (i32.const 700) (i32.const 4) (i32.const 700) (i32.const 4)) (i32.const 0)"),
                Meets::Fine(|met| count(met, "alert ") == 0),
                FIXED,
            )
        },
    ]
}
