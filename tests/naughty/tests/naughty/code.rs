//! Components that are hostile before anything of them runs.

use std::time::Duration;

use ferrule_host::CodeLimits;
use ferrule_naughty::Import;

use crate::case::{Act, Case, ENGINE, FIXED, Meets, Off};

fn describe(name: &str, rule: &'static str, body: &str, words: &'static str) -> Case {
    let code = format!("(func (export \"describe\") (result i32) {body} (i32.const 1024))");
    Case { act: Act::Start, ..Case::new(name, rule, code, Meets::NotLoaded(words), FIXED) }
}

pub(crate) fn cases() -> Vec<Case> {
    let start = |case: Case| Case { act: Act::Start, ..case };
    vec![
        Case {
            pages: 16,
            ..describe(
                "says-too-much-in-describe",
                "describes itself in 500 KB",
                "(i32.store (i32.const 1040) (i32.const 8192)) (i32.store (i32.const 1044) (i32.const 500000))",
                "its texts have",
            )
        },
        describe("has-no-name", "describes itself without a name", "(i32.store (i32.const 1028) (i32.const 0))", "`name` is"),
        describe(
            "goes-no-way",
            "describes a direction that its world does not have",
            "(i32.store8 (i32.load (i32.const 1048)) (i32.const 2))",
            "`directions` names",
        ),
        Case {
            imports: &[Import::Chance],
            ..describe(
                "describes-itself-by-chance",
                "says something else each time",
                "(i32.store (i32.const 1040) (i32.const 2048)) (i32.store (i32.const 1044) (i32.wrap_i64 (i64.and (call $chance) (i64.const 0xffff))))
                 (memory.fill (i32.const 3000) (i32.const 97) (i32.const 65535)) (i32.store (i32.const 1040) (i32.const 3000))",
                "something else each time",
            )
        },
        describe(
            "has-a-schema-that-is-none",
            "describes a schema that is not JSON",
            "(i32.store (i32.const 1056) (i32.const 600)) (i32.store (i32.const 1060) (i32.const 1))
             (i32.store (i32.const 600) (i32.const 2048)) (i32.store (i32.const 604) (i32.const 3))
             (i32.store (i32.const 608) (i32.const 2048)) (i32.store (i32.const 612) (i32.const 3))",
            "is not JSON",
        ),
        start(Case {
            contract: "0.2.0",
            ..Case::new("is-from-the-future", "exports a later contract", "", Meets::NotLoaded("was built for version 0.2.0"), FIXED)
        }),
        start(Case {
            outside: "(import \"wasi:nn/graph@0.2.0\" (func))".to_owned(),
            ..Case::new("wants-what-is-not-there", "imports an interface that nobody offers", "", Meets::NotLoaded("does not offer"), ENGINE)
        }),
        start(Case {
            outside: "(component)".repeat(600),
            code_limits: CodeLimits { nested: 550, ..CodeLimits::default() },
            ..Case::new(
                "is-nested",
                "holds 600 components",
                "",
                Meets::NotLoaded("modules and components in it"),
                Off::Code(|limits| limits.nested = 10_000),
            )
        }),
        start(Case {
            outside: format!("(core module (func {}))", "nop ".repeat(300_000)),
            code_limits: CodeLimits { function_bytes: 200_000, ..CodeLimits::default() },
            ..Case::new(
                "has-a-huge-function",
                "has a function that takes long to compile",
                "",
                Meets::NotLoaded("bytes in one function"),
                Off::Code(|limits| limits.function_bytes = 64 << 20),
            )
        }),
        start(Case {
            code_limits: CodeLimits { compile_time: Duration::ZERO, ..CodeLimits::default() },
            ..Case::new(
                "takes-too-long-to-compile",
                "is not compiled in its time",
                "",
                Meets::NotLoaded("is given up"),
                Off::Code(|limits| limits.compile_time = Duration::from_secs(60)),
            )
        }),
        start(Case {
            outside: {
                let doubled = (1..40).map(|n| format!("(type $bomb{n} (tuple $bomb{0} $bomb{0}))", n - 1));
                format!("(type $bomb0 (tuple u8 u8)) {}", doubled.collect::<String>())
            },
            ..Case::new("has-a-bomb-of-types", "has a type of 2^40 fields", "", Meets::NotLoaded("type size"), ENGINE)
        }),
    ]
}
