//! Guests whose answers break the contract.

use ferrule_host::Limit;
use ferrule_naughty::World;

use crate::case::{Act, Case, ENGINE, Meets, Off, apply, next};

/// A good batch of ten records, with something of it spoilt.
fn spoilt(body: &str) -> String {
    next(&format!("(drop (call $batch (i32.const 10))) {body} (i32.const 4096)"))
}

fn batch(name: &str, rule: &'static str, body: &str, words: &'static str) -> Case {
    Case::new(name, rule, spoilt(body), Meets::Malformed(words), Off::Answers)
}

/// The answer of a function, whose fields are at: `origins` 4, `also` 12, `changes` 20, `payload` 28, `key` 44, `headers` 60,
/// `timestamps` 76, `routes` 84, `rejected` 92, all from 4096.
fn function(name: &str, rule: &'static str, body: &str, meets: Meets, off: Off) -> Case {
    Case::new(name, rule, apply(&format!("{body} (i32.const 4096)")), meets, off).function()
}

pub(crate) fn cases() -> Vec<Case> {
    vec![
        batch(
            "ends-go-backwards",
            "gives a column whose ends fall",
            "(i32.store (i32.const 16388) (i32.const 9)) (i32.store (i32.const 16392) (i32.const 2))",
            "",
        ),
        batch(
            "ends-exceed-the-bytes",
            "gives a column whose last end is beyond its bytes",
            "(i32.store (i32.const 16420) (i32.const 4000))",
            "",
        ),
        batch(
            "ends-overflow",
            "gives a column whose ends are near the largest number",
            "(i32.store (i32.const 16420) (i32.const -1))",
            "",
        ),
        batch("columns-disagree", "gives keys for other than all records", "(i32.store (i32.const 4132) (i32.const 3)) (i32.store (i32.const 4128) (i32.const 16384)) (i32.store (i32.const 4124) (i32.const 3)) (i32.store (i32.const 4120) (i32.const 8192))", ""),
        batch(
            "timestamps-disagree",
            "gives timestamps for other than all records",
            "(i32.store (i32.const 4152) (i32.const 32768)) (i32.store (i32.const 4156) (i32.const 3))",
            "",
        ),
        batch(
            "claims-all-records",
            "says that there are 2^32-1 records",
            "(i32.store (i32.const 4100) (i32.const -1))",
            "",
        ),
        batch("has-no-tokens", "gives records that cannot be settled", "(i32.store (i32.const 4164) (i32.const 0))", "no tokens"),
        batch(
            "has-no-payload",
            "gives records without a payload",
            "(i32.store (i32.const 4108) (i32.const 0)) (i32.store (i32.const 4116) (i32.const 0))",
            "",
        ),
        Case::new(
            "gives-more-than-asked",
            "gives 11 records where 10 were asked for",
            next("(call $batch (i32.const 11))"),
            Meets::Malformed("11 records where at most 10"),
            Off::Answers,
        ),
        batch(
            "has-a-huge-position",
            "has the host store 100 KB with each batch",
            "(i32.store8 (i32.const 4216) (i32.const 1)) (i32.store (i32.const 4220) (i32.const 8192)) (i32.store (i32.const 4224) (i32.const 100000))",
            "a position of 100000 bytes",
        ),
        Case::new(
            "points-outside",
            "gives bytes that are not in its memory",
            spoilt("(i32.store (i32.const 4104) (i32.const -16))"),
            Meets::Trap(""),
            ENGINE,
        ),
        Case::new(
            "is-not-utf-8",
            "answers with an error whose text is no text",
            next(
                "(i32.store8 (i32.const 4096) (i32.const 1)) (i32.store8 (i32.const 4100) (i32.const 3))
                 (i32.store8 (i32.const 700) (i32.const 255))
                 (i32.store (i32.const 4104) (i32.const 700)) (i32.store (i32.const 4108) (i32.const 1)) (i32.const 4096)",
            ),
            Meets::Trap("utf-8"),
            ENGINE,
        ),
        Case::new(
            "answers-without-end",
            "describes an answer that is larger than its memory, by lists that overlap",
            spoilt("(i32.store (i32.const 4108) (i32.const 200000))"),
            Meets::Limit(Limit::AnswerBytes),
            Off::Limits(|limits| limits.answer_bytes = 128 << 20),
        )
        .with(|limits| limits.answer_bytes = 64 << 10),
        Case::new(
            "gives-too-many-bytes",
            "gives more bytes than a batch may have",
            next("(call $batch (i32.const 10))"),
            Meets::Limit(Limit::BatchBytes),
            Off::Limits(|limits| limits.batch_bytes = 64 << 20),
        )
        .with(|limits| limits.batch_bytes = 5),
        function(
            "multiplies-records",
            "makes 200 records of one",
            "(i32.store (i32.const 4104) (i32.const 200))",
            Meets::Limit(Limit::BatchRecords),
            Off::Limits(|limits| limits.batch_records = 100_000),
        )
        .with(|limits| limits.batch_records = 100),
        function(
            "multiplies-bytes",
            "names one large record again and again, which costs it nothing",
            "(i32.store (i32.const 4104) (i32.const 200))",
            Meets::Limit(Limit::BatchBytes),
            Off::Limits(|limits| limits.batch_bytes = 64 << 20),
        )
        .with(|limits| limits.batch_bytes = 100_000),
        function(
            "names-records-that-are-not-there",
            "says that an output comes from the sixth input, of one",
            "(i32.store (i32.const 5000) (i32.const 5)) (i32.store (i32.const 4100) (i32.const 5000)) (i32.store (i32.const 4104) (i32.const 1))",
            Meets::Malformed(""),
            Off::Answers,
        ),
        function(
            "rejects-records-that-are-not-there",
            "refuses the sixth input, of one",
            "(i64.store (i32.const 5000) (i64.const 5)) (i32.store (i32.const 4188) (i32.const 5000)) (i32.store (i32.const 4192) (i32.const 1))",
            Meets::Malformed(""),
            Off::Answers,
        ),
        function(
            "rejects-and-keeps",
            "refuses an input and makes an output of it",
            "(i64.store (i32.const 5000) (i64.const 0)) (i32.store (i32.const 4188) (i32.const 5000)) (i32.store (i32.const 4192) (i32.const 1))
             (i32.store (i32.const 4104) (i32.const 1))",
            Meets::Malformed(""),
            Off::Answers,
        ),
        function(
            "takes-a-route-that-is-not-there",
            "sends an output to the eighth route, of one",
            "(i32.store16 (i32.const 5000) (i32.const 7)) (i32.store (i32.const 4180) (i32.const 5000)) (i32.store (i32.const 4184) (i32.const 1))
             (i32.store (i32.const 4104) (i32.const 1))",
            Meets::Malformed("route 7"),
            Off::Answers,
        ),
        function(
            "changes-without-content",
            "says that a payload is new and gives none",
            "(i32.store8 (i32.const 5000) (i32.const 1)) (i32.store (i32.const 4116) (i32.const 5000)) (i32.store (i32.const 4120) (i32.const 1))
             (i32.store (i32.const 4104) (i32.const 1))",
            Meets::Malformed(""),
            Off::Answers,
        ),
        Case {
            world: World::Sink,
            act: Act::Write,
            ..Case::new(
                "answers-with-too-many-outcomes",
                "answers for more tokens than fit into the host",
                "(func (export \"write\") (param i32) (result i32)
                   (i32.store (i32.const 4104) (i32.const 20000)) (i32.const 4096))",
                Meets::Limit(Limit::AnswerBytes),
                Off::Limits(|limits| limits.answer_bytes = 128 << 20),
            )
            .with(|limits| limits.answer_bytes = 64 << 10)
        },
    ]
}
