//! A jq program: compiled once, run on one JSON text after another.

use jaq_core::data::JustLut;
use jaq_core::load::{self, Arena, File, Loader};
use jaq_core::{Compiler, Ctx, Filter, Vars, compile};
use jaq_json::{Map, Num, Val, read, write};

/// JSON texts nest at most so deep: reading them uses the stack.
const DEEPEST: usize = 512;
/// What one record becomes takes up at most so many bytes.
const LARGEST_OUTPUT: usize = 16 * 1024 * 1024;

/// Something wrong with the text of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Line and column, both from 1.
    pub position: Option<(u32, u32)>,
    /// What is wrong and what was expected.
    pub message: String,
}

/// How a value is written as a payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// As JSON.
    #[default]
    Json,
    /// A string as itself, without quotes and escapes; any other value as JSON.
    Text,
}

/// A program that compiled.
pub struct Program {
    filter: Filter<JustLut<Val>>,
    /// Whether it looks at `$key`.
    pub wants_key: bool,
    /// Whether it looks at `$headers`.
    pub wants_headers: bool,
}

impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program").finish_non_exhaustive()
    }
}

impl Program {
    /// Compiles a program, or says all that is wrong with it.
    pub fn compile(code: &str) -> Result<Self, Vec<Fault>> {
        let definitions = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs());
        let functions = jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs());
        let arena = Arena::default();
        let modules = Loader::new(definitions).load(&arena, File { code, path: () }).map_err(|errors| {
            errors.into_iter().flat_map(|(file, error)| load_faults(code, file.code, error)).collect::<Vec<_>>()
        })?;
        let filter =
            Compiler::default().with_funs(functions).with_global_vars(["$headers", "$key"]).compile(modules).map_err(
                |errors| {
                    errors
                        .into_iter()
                        .flat_map(|(_, errors)| errors)
                        .map(|(name, undefined)| undefined_fault(code, name, &undefined))
                        .collect::<Vec<_>>()
                },
            )?;
        Ok(Self { filter, wants_key: code.contains("$key"), wants_headers: code.contains("$headers") })
    }

    /// Runs the program on one JSON text and gives each value that it puts out, written as `form` says, to `emit`.
    pub fn run(
        &self,
        payload: &[u8],
        key: Option<&[u8]>,
        headers: Val,
        form: Form,
        mut emit: impl FnMut(&[u8]),
    ) -> Result<(), String> {
        if depth(payload) > DEEPEST {
            return Err(format!("the payload nests deeper than {DEEPEST} levels"));
        }
        let input = read::parse_single(payload).map_err(|error| format!("the payload is not JSON: {error}"))?;
        let key = key.map_or(Val::Null, text);
        let context = Ctx::<JustLut<Val>>::new(&self.filter.lut, Vars::new([headers, key]));
        let mut written = Vec::new();
        let mut total = 0;
        for output in self.filter.id.run((context, input)) {
            let value = match output.map_err(|exception| exception.get_err()) {
                Ok(value) => value,
                Err(Ok(error)) => return Err(format!("the program failed: {}", shortened(&error.to_string()))),
                Err(Err(exception)) => match exception.get_halt() {
                    Ok(0) => break,
                    Ok(code) => return Err(format!("the program halted with code {code}")),
                    Err(_) => return Err("the program broke out of a label that is not there".into()),
                },
            };
            check(&value, 0)?;
            written.clear();
            match (form, &value) {
                (Form::Text, Val::TStr(bytes)) => written.extend_from_slice(bytes),
                _ => write::write(&mut written, &write::Pp::default(), 0, &value)
                    .map_err(|error| format!("an output value cannot be written: {error}"))?,
            }
            total += written.len();
            if total > LARGEST_OUTPUT {
                return Err(format!("the program makes more than {} MiB of this record", LARGEST_OUTPUT / 1024 / 1024));
            }
            emit(&written);
        }
        Ok(())
    }
}

/// Headers as an object for `$headers`; of several of one name the first counts.
pub fn headers<'a>(all: impl Iterator<Item = (&'a str, &'a [u8])>) -> Val {
    let mut map = Map::default();
    for (name, value) in all {
        map.entry(text(name.as_bytes())).or_insert_with(|| text(value));
    }
    Val::obj(map)
}

fn text(bytes: &[u8]) -> Val {
    Val::from(String::from_utf8_lossy(bytes).into_owned())
}

/// The values of jaq are more than JSON; those that are not JSON are refused rather than written as something else.
fn check(value: &Val, level: usize) -> Result<(), String> {
    if level > DEEPEST {
        return Err(format!("the program puts out a value that nests deeper than {DEEPEST} levels"));
    }
    let not_json = |what: &str| Err(format!("the program puts out {what}, which JSON does not have"));
    match value {
        Val::Num(Num::Float(number)) if number.is_nan() => not_json("a number that is not a number (`nan`)"),
        Val::Num(Num::Float(number)) if number.is_infinite() => not_json("an infinite number"),
        Val::BStr(_) => not_json("a byte string"),
        Val::TStr(bytes) if std::str::from_utf8(bytes).is_err() => not_json("a string that is not UTF-8"),
        Val::Arr(values) => values.iter().try_for_each(|value| check(value, level + 1)),
        Val::Obj(members) => members.iter().try_for_each(|(name, value)| match name {
            Val::TStr(bytes) if std::str::from_utf8(bytes).is_ok() => check(value, level + 1),
            _ => not_json("an object with a key that is not a string"),
        }),
        _ => Ok(()),
    }
}

/// How deep brackets nest outside of strings.
fn depth(json: &[u8]) -> usize {
    let (mut level, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in json {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                level += 1;
                deepest = deepest.max(level);
            }
            b']' | b'}' => level = level.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

/// An error text holds values of the record, which may be long.
fn shortened(text: &str) -> String {
    const LONGEST: usize = 300;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{} …", &text[..end]),
        None => text.to_owned(),
    }
}

fn load_faults(code: &str, at_fault: &str, error: load::Error<&str>) -> Vec<Fault> {
    match error {
        load::Error::Io(errors) => errors
            .into_iter()
            .map(|(path, _)| Fault {
                position: position(code, path),
                message: "a module; programs here are one text, without `import` and `include`".into(),
            })
            .collect(),
        load::Error::Lex(errors) => errors
            .into_iter()
            .map(|(expected, found)| {
                let (place, message) = match expected {
                    load::lex::Expect::Delim(open) => {
                        (open, format!("`{open}` is not closed; expected {}", expected.as_str()))
                    }
                    _ => (found, expected_found(expected.as_str(), found)),
                };
                Fault { position: position(at_fault, place), message }
            })
            .collect(),
        load::Error::Parse(errors) => errors
            .into_iter()
            .map(|(expected, found)| Fault {
                position: position(at_fault, found),
                message: expected_found(expected.as_str(), found),
            })
            .collect(),
    }
}

fn expected_found(expected: &str, found: &str) -> String {
    match found.split_whitespace().next() {
        None => format!("the program ends where {expected} is expected"),
        Some(word) => format!("expected {expected}, found `{}`", word.chars().take(20).collect::<String>()),
    }
}

fn undefined_fault(code: &str, name: &str, undefined: &compile::Undefined) -> Fault {
    let message = match undefined {
        compile::Undefined::Filter(0) => format!("there is no filter `{name}`"),
        compile::Undefined::Filter(arity) => format!("there is no filter `{name}` that takes {arity} arguments"),
        compile::Undefined::Var => format!("there is no variable `{name}`; a record has `$key` and `$headers`"),
        other => format!("there is no {} `{name}`", other.as_str()),
    };
    Fault { position: position(code, name), message }
}

/// Line and column of `part`, a slice of `whole`.
fn position(whole: &str, part: &str) -> Option<(u32, u32)> {
    let offset = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    let before = whole.get(..offset)?;
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Some((line as u32, column as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_with(code: &str, payload: &str, form: Form) -> Result<Vec<String>, String> {
        let program = Program::compile(code).unwrap();
        let mut outputs = Vec::new();
        let headers = headers([("unit", &b"celsius"[..]), ("unit", b"second")].into_iter());
        let emit = |bytes: &[u8]| outputs.push(String::from_utf8(bytes.to_vec()).unwrap());
        program.run(payload.as_bytes(), Some(b"kitchen"), headers, form, emit).map(|()| outputs)
    }

    fn run(code: &str, payload: &str) -> Result<Vec<String>, String> {
        run_with(code, payload, Form::Json)
    }

    #[test]
    fn none_one_or_many_values() {
        assert_eq!(run(".a", r#"{"a": {"b": [1, 2.50, "x"]}}"#).unwrap(), [r#"{"b":[1,2.50,"x"]}"#]);
        assert_eq!(run(".[]", "[1,2,3]").unwrap(), ["1", "2", "3"]);
        assert_eq!(run("select(.t > 30)", r#"{"t": 21}"#).unwrap(), [""; 0]);
        assert_eq!(run("empty, 1, halt, 2", "0").unwrap(), ["1"]);
        assert_eq!(
            run("{t, at: (.ms / 1000 | todate)}", r#"{"t":1,"ms":0}"#).unwrap(),
            [r#"{"t":1,"at":"1970-01-01T00:00:00Z"}"#]
        );
    }

    #[test]
    fn the_record_has_variables() {
        assert_eq!(run("$key + \":\" + $headers.unit", "null").unwrap(), ["\"kitchen:celsius\""]);
        let program = Program::compile("$key").unwrap();
        assert!(program.wants_key && !program.wants_headers);
    }

    #[test]
    fn strings_may_be_written_as_themselves() {
        assert_eq!(run_with(".[]", r#"["a\"b", 1]"#, Form::Text).unwrap(), ["a\"b", "1"]);
    }

    #[test]
    fn what_cannot_be_done_has_a_reason() {
        assert!(run(".", "21.5 degrees").unwrap_err().starts_with("the payload is not JSON: "));
        assert!(run(".", "").unwrap_err().starts_with("the payload is not JSON: "));
        assert!(run(".", &"[".repeat(100_000)).unwrap_err().contains("nests deeper"));
        assert!(run(".", &format!("\"{}\"", "[".repeat(100_000))).is_ok());
        assert_eq!(run("error(\"too hot\")", "1").unwrap_err(), "the program failed: \"too hot\"");
        assert!(run(".a.b", "[1]").unwrap_err().starts_with("the program failed: "));
        assert_eq!(run("halt(3)", "1").unwrap_err(), "the program halted with code 3");
        assert!(run("[range(100000)] | tojson | error", "1").unwrap_err().len() < 500);
        assert!(run("[nan]", "1").unwrap_err().contains("`nan`"));
        assert!(run("{a: infinite}", "1").unwrap_err().contains("infinite"));
        assert!(run("{(1|tojson): 2} | with_entries(.key |= tonumber)", "1").is_err());
        assert!(
            run("\"x\" * 1000000 | ., ., ., ., ., ., ., ., ., ., ., ., ., ., ., ., ., .", "1")
                .unwrap_err()
                .contains("16 MiB")
        );
    }

    fn faults(code: &str) -> Vec<Fault> {
        Program::compile(code).unwrap_err()
    }

    #[test]
    fn faults_of_a_program_have_a_place() {
        let at = |code: &str| faults(code)[0].position.unwrap();
        assert_eq!(at(".a |"), (1, 5));
        assert_eq!(at(".a\n  | (.b"), (2, 5));
        assert_eq!(at("\"ä\" | nothing(1)"), (1, 7));
        assert_eq!(faults("nothing(.)")[0].message, "there is no filter `nothing` that takes 1 arguments");
        assert_eq!(faults(". as $x | $y")[0].message, "there is no variable `$y`; a record has `$key` and `$headers`");
        assert_eq!(
            faults("import \"a\" as a; .")[0].message,
            "a module; programs here are one text, without `import` and `include`"
        );
        assert_eq!(faults("")[0].message, "the program ends where term is expected");
        assert!(faults("a, b, c").len() == 3);
        for code in ["\"", "\"\\q\"", "[", "{", "\"\\(1", ")", "if", "§", ".[", "$", "@", "1e", "def f"] {
            assert!(!faults(code).is_empty(), "{code}");
        }
    }
}
