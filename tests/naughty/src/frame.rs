//! The frame of every guest: types of the contract, the exports of its world, and functions that answer with nothing.

use std::fmt::Write as _;

use crate::imports::Import;

/// Where `$batch` puts its answer: a `result<pulled, error>`.
pub const ANSWER: u32 = 4096;

/// What kind of component it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum World {
    /// Takes records from the outside world.
    #[default]
    Source,
    /// Gives records to the outside world.
    Sink,
    /// Turns records into records.
    Function,
}

/// What differs from guest to guest.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// Its world.
    pub world: World,
    /// What it imports.
    pub imports: &'a [Import],
    /// Core functions, exported under the names of the contract (`next`, `apply`, ...), and whatever they need.
    pub code: &'a str,
    /// Further definitions of the component.
    pub outside: &'a str,
    /// The name in its description.
    pub name: &'a str,
    /// Whether it takes a little memory of its own: pages.
    pub pages: u32,
    /// The version of the contract that it names.
    pub contract: &'a str,
}

impl Default for Parts<'_> {
    fn default() -> Self {
        Self { world: World::Source, imports: &[], code: "", outside: "", name: "naughty", pages: 4, contract: "0.1.0" }
    }
}

/// A type of the contract: its name, and what it is; `$other` are types before it.
type Type = (&'static str, &'static str);

const COLUMN: Type = ("column", "(record (field \"bytes\" (list u8)) (field \"ends\" (list u32)))");
const BATCH: Type = (
    "batch",
    "(record (field \"count\" u32) (field \"payload\" $column) (field \"key\" $column) (field \"headers\" $column) \
     (field \"timestamps\" (list s64)) (field \"tokens\" (list u64)) (field \"upstream-ids\" $column) \
     (field \"record-ids\" $column) (field \"attempts\" (list u32)) (field \"extra\" (list (tuple u16 $column))))",
);
const ERROR: Type = (
    "error",
    "(variant (case \"unavailable\" string) (case \"invalid\" string) (case \"denied\" string) (case \"failed\" string))",
);
const REJECTION: Type = ("rejection", "(record (field \"record-ref\" u64) (field \"reason\" string))");
const POSTPONEMENT: Type =
    ("postponement", "(record (field \"token\" u64) (field \"after-ms\" (option u64)) (field \"reason\" string))");
const OUTCOMES: Type = (
    "outcomes",
    "(record (field \"delivered\" (list u64)) (field \"retry\" (list $postponement)) (field \"rejected\" (list $rejection)))",
);
const TRANSFORMED: Type = (
    "transformed",
    "(record (field \"origins\" (list u32)) (field \"also\" (list (tuple u32 u32))) (field \"changes\" (list u8)) \
     (field \"payload\" $column) (field \"key\" $column) (field \"headers\" $column) (field \"timestamps\" (list s64)) \
     (field \"routes\" (list u16)) (field \"rejected\" (list $rejection)) (field \"extra\" (list (tuple u16 $column))))",
);
const DIRECTION: Type = ("direction", "(enum \"ingress\" \"egress\" \"transform\")");

/// A function of the contract: its name, its type, and the parameters of the core function.
struct Function {
    name: &'static str,
    params: &'static str,
    result: &'static str,
    core: usize,
}

struct Interface {
    name: &'static str,
    types: &'static [Type],
    functions: &'static [Function],
}

const COMPONENT: Interface = Interface {
    name: "component",
    types: &[
        DIRECTION,
        ("columns", "(flags \"payload\" \"key\" \"headers\" \"timestamps\" \"record-ids\" \"attempts\")"),
        ("schema", "(record (field \"name\" string) (field \"content\" string))"),
        ("capability", "(record (field \"kind\" string) (field \"target\" string) (field \"reason\" string))"),
        (
            "description",
            "(record (field \"name\" string) (field \"version\" string) (field \"summary\" string) \
             (field \"directions\" (list $direction)) (field \"schemas\" (list $schema)) \
             (field \"capabilities\" (list $capability)) (field \"reads\" $columns) (field \"routes\" (list string)) \
             (field \"properties\" (list (tuple string string))))",
        ),
        (
            "problem",
            "(record (field \"scope\" string) (field \"path\" string) (field \"position\" (option (tuple u32 u32))) \
             (field \"message\" string))",
        ),
    ],
    functions: &[
        Function { name: "describe", params: "", result: "$description", core: 0 },
        Function {
            name: "validate",
            params: "(param \"static-parameters\" string) (param \"config\" string) (param \"stream\" string)",
            result: "(list $problem)",
            core: 6,
        },
    ],
};

const LIFECYCLE: Interface = Interface {
    name: "lifecycle",
    types: &[
        DIRECTION,
        ERROR,
        (
            "session",
            "(record (field \"name\" string) (field \"direction\" $direction) (field \"static-parameters\" string) \
             (field \"config\" string) (field \"parameters\" string) (field \"position\" (option (list u8))) \
             (field \"properties\" (list (tuple string string))))",
        ),
        ("opened", "(record (field \"replayable\" bool) (field \"properties\" (list (tuple string string))))"),
        ("configured", "(enum \"applied\" \"reopen\")"),
    ],
    functions: &[
        Function {
            name: "open",
            params: "(param \"session\" $session)",
            result: "(result $opened (error $error))",
            core: 14,
        },
        Function {
            name: "configure",
            params: "(param \"config\" string)",
            result: "(result $configured (error $error))",
            core: 2,
        },
        Function { name: "close", params: "", result: "(result (error $error))", core: 0 },
    ],
};

const CONSUME: Interface = Interface {
    name: "consume",
    types: &[
        COLUMN,
        BATCH,
        ERROR,
        (
            "limits",
            "(record (field \"max-records\" u32) (field \"max-bytes\" u32) (field \"linger-ms\" u32) (field \"max-wait-ms\" u32))",
        ),
        ("pulled", "(record (field \"records\" $batch) (field \"position\" (option (list u8))))"),
    ],
    functions: &[
        Function {
            name: "next",
            params: "(param \"limits\" $limits)",
            result: "(result $pulled (error $error))",
            core: 4,
        },
        Function {
            name: "settle",
            params: "(param \"tokens\" (list u64))",
            result: "(result (error $error))",
            core: 2,
        },
    ],
};

const PRODUCE: Interface = Interface {
    name: "produce",
    types: &[COLUMN, BATCH, ERROR, REJECTION, POSTPONEMENT, OUTCOMES],
    functions: &[
        Function {
            name: "write",
            params: "(param \"records\" $batch)",
            result: "(result $outcomes (error $error))",
            core: 1,
        },
        Function {
            name: "idle",
            params: "(param \"max-wait-ms\" u32)",
            result: "(result $outcomes (error $error))",
            core: 1,
        },
    ],
};

const TRANSFORM: Interface = Interface {
    name: "transform",
    types: &[COLUMN, BATCH, ERROR, REJECTION, TRANSFORMED],
    functions: &[Function {
        name: "apply",
        params: "(param \"records\" $batch)",
        result: "(result $transformed (error $error))",
        core: 1,
    }],
};

/// Memory, and what gives room in it: from one end to the other, never back.
const MEMORY: &str = r#"
  (core module $Memory
    (memory (export "memory") PAGES)
    (global $top (mut i32) (i32.const 65536))
    (func (export "realloc") (param i32 i32) (param $align i32) (param $size i32) (result i32) (local $at i32)
      (local.set $at (i32.and
        (i32.add (global.get $top) (i32.sub (local.get $align) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get $align))))
      (global.set $top (i32.add (local.get $at) (local.get $size)))
      (block $fits (loop $more
        (br_if $fits (i32.le_u (global.get $top) (i32.mul (memory.size) (i32.const 65536))))
        (if (i32.eq (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))
        (br $more)))
      (local.get $at))
    (data (i32.const 1024) "DESCRIPTION")
    (data (i32.const 2048) "TEXTS"))
  (core instance $memory (instantiate $Memory))
  (alias core export $memory "memory" (core memory $mem))
  (alias core export $memory "realloc" (core func $realloc))
"#;

/// What every guest can call: `$batch` makes a pulled batch of so many records of one byte, with tokens that go on from the last.
/// Its fields can be spoilt afterwards: `count` is at 4, `payload` at 8, `key` at 24, `headers` at 40, `timestamps` at 56, `tokens`
/// at 64, `upstream-ids` at 72, `record-ids` at 88, `attempts` at 104, `extra` at 112, `position` at 120.
const PRELUDE: &str = r#"
    (import "memory" "memory" (memory 1))
    (import "memory" "realloc" (func $alloc (param i32 i32 i32 i32) (result i32)))
    (global $token (mut i64) (i64.const 1))
    (func $batch (param $n i32) (result i32) (local $i i32) (local $bytes i32) (local $ends i32) (local $tokens i32)
      (local.set $bytes (i32.const 8192))
      (local.set $ends (i32.const 16384))
      (local.set $tokens (i32.const 32768))
      (loop $each
        (if (i32.lt_u (local.get $i) (local.get $n)) (then
          (i32.store8 (i32.add (local.get $bytes) (local.get $i)) (i32.const 120))
          (i32.store (i32.add (local.get $ends) (i32.mul (local.get $i) (i32.const 4))) (i32.add (local.get $i) (i32.const 1)))
          (i64.store (i32.add (local.get $tokens) (i32.mul (local.get $i) (i32.const 8))) (global.get $token))
          (global.set $token (i64.add (global.get $token) (i64.const 1)))
          (local.set $i (i32.add (local.get $i) (i32.const 1)))
          (br $each))))
      (i32.store (i32.const 4100) (local.get $n))
      (i32.store (i32.const 4104) (local.get $bytes))
      (i32.store (i32.const 4108) (local.get $n))
      (i32.store (i32.const 4112) (local.get $ends))
      (i32.store (i32.const 4116) (local.get $n))
      (i32.store (i32.const 4160) (local.get $tokens))
      (i32.store (i32.const 4164) (local.get $n))
      (i32.const 4096))
"#;

/// The text of a component.
#[must_use]
pub fn component(parts: &Parts<'_>) -> String {
    let interfaces = match parts.world {
        World::Source => [COMPONENT, LIFECYCLE, CONSUME],
        World::Sink => [COMPONENT, LIFECYCLE, PRODUCE],
        World::Function => [COMPONENT, LIFECYCLE, TRANSFORM],
    };
    let (description, texts) = description(parts);
    let mut text = String::from("(component\n");
    for import in parts.imports {
        text.push_str(import.declaration());
    }
    let memory = MEMORY.replace("PAGES", &parts.pages.to_string());
    text.push_str(&memory.replace("DESCRIPTION", &escaped(&description)).replace("TEXTS", &escaped(&texts)));
    let mut host = String::new();
    for import in parts.imports {
        text.push_str(import.lowered());
        host.push_str(import.given());
    }
    text.push_str("  (core module $Main");
    for import in parts.imports {
        text.push_str(import.core());
    }
    text.push_str(PRELUDE);
    text.push_str(parts.code);
    for function in interfaces.iter().flat_map(|interface| interface.functions) {
        if !parts.code.contains(&format!("(export \"{}\")", function.name)) {
            let params = "i32 ".repeat(function.core);
            let answer = if function.name == "describe" { 1024 } else { 0 };
            let _ = writeln!(
                text,
                "    (func (export \"{}\") (param {params}) (result i32) (i32.const {answer}))",
                function.name
            );
        }
    }
    let _ = writeln!(
        text,
        "  )\n  (core instance $main (instantiate $Main (with \"memory\" (instance $memory)) (with \"host\" (instance {host}))))"
    );
    for interface in &interfaces {
        text.push_str(&lifted(interface, parts.contract));
    }
    text.push_str(parts.outside);
    text.push_str(")\n");
    text
}

/// An exported interface: its functions lifted, and their types named, which takes a component of its own.
fn lifted(interface: &Interface, contract: &str) -> String {
    let name = interface.name;
    // Types are known apart by what they are for: `d` as defined, `i` as imported, `x` as exported.
    let renamed = |text: &str, suffix: &str| {
        let mut text = text.to_owned();
        for (known, _) in interface.types {
            for end in [")", " "] {
                text = text.replace(&format!("${known}{end}"), &format!("${known}-{suffix}{end}"));
            }
            if text == format!("${known}") {
                text = format!("${known}-{suffix}");
            }
        }
        text
    };
    let signature = |function: &Function, suffix: &str| {
        let result = match function.result.starts_with('$') {
            true => renamed(&format!("{} ", function.result), suffix),
            false => renamed(function.result, suffix),
        };
        format!("{} (result {result})", renamed(function.params, suffix))
    };
    let mut text = String::new();
    let outer = format!("{name}-o");
    for (known, definition) in interface.types {
        let _ = writeln!(text, "  (type ${known}-{outer} {})", renamed(definition, &outer));
    }
    for function in interface.functions {
        let _ = writeln!(
            text,
            "  (func $f-{0} {1} (canon lift (core func $main \"{0}\") (memory $mem) (realloc (core func $realloc))))",
            function.name,
            signature(function, &outer)
        );
    }
    let _ = writeln!(text, "  (component $C-{name}");
    for (known, definition) in interface.types {
        let _ = writeln!(text, "    (type ${known}-d {})", renamed(definition, "i"));
        let _ = writeln!(text, "    (import \"t-{known}\" (type ${known}-i (eq ${known}-d)))");
    }
    for function in interface.functions {
        let _ = writeln!(text, "    (import \"f-{0}\" (func $f-{0} {1}))", function.name, signature(function, "i"));
    }
    for (known, definition) in interface.types {
        let _ = writeln!(text, "    (type ${known}-e {})", renamed(definition, "x"));
        let _ = writeln!(text, "    (export ${known}-x \"{known}\" (type ${known}-e))");
    }
    for function in interface.functions {
        let _ =
            writeln!(text, "    (export \"{0}\" (func $f-{0}) (func {1}))", function.name, signature(function, "x"));
    }
    text.push_str("  )\n");
    let types: String =
        interface.types.iter().map(|(known, _)| format!(" (with \"t-{known}\" (type ${known}-{outer}))")).collect();
    let functions: String =
        interface.functions.iter().map(|f| format!(" (with \"f-{0}\" (func $f-{0}))", f.name)).collect();
    let _ = writeln!(text, "  (instance $I-{name} (instantiate $C-{name}{types}{functions}))");
    let _ = writeln!(text, "  (export \"ferrule:connector/{name}@{contract}\" (instance $I-{name}))");
    text
}

/// A description, and the texts it points to.
fn description(parts: &Parts<'_>) -> (Vec<u8>, Vec<u8>) {
    let mut texts: Vec<u8> = Vec::new();
    let mut place = |text: &[u8]| {
        let at = 2048 + texts.len() as u32;
        texts.extend_from_slice(text);
        (at, text.len() as u32)
    };
    let direction = [match parts.world {
        World::Source => 0,
        World::Sink => 1,
        World::Function => 2,
    }];
    let (name, version, direction) = (place(parts.name.as_bytes()), place(b"1.0.0"), place(&direction));
    let mut words = vec![name, version, (0, 0), direction, (0, 0), (0, 0)];
    // Which columns it reads: all.
    words.push((0b11_1111, 0));
    let mut record: Vec<u8> =
        words.iter().flat_map(|(at, length)| [at.to_le_bytes(), length.to_le_bytes()]).flatten().collect();
    // Routes and properties: none.
    record.extend([0; 16]);
    (record, texts)
}

fn escaped(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("\\{byte:02x}")).collect()
}
