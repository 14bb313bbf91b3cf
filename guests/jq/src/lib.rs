//! A function that runs a jq program on every record: each value that the program puts out becomes a record.

pub mod program;

use ferrule_sdk::prelude::*;

use program::{Form, Program};

/// Arguments of the function.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Arguments {
    /// The program, in the language of jq. Its input is the payload as JSON; `$key` is the record's key or null, and `$headers`
    /// an object of its headers.
    pub program: String,
    /// How an output value is written as a payload.
    #[serde(default)]
    pub output: OutputForm,
}

/// How an output value is written as a payload.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "kebab-case")]
pub enum OutputForm {
    /// As JSON in one line.
    #[default]
    Json,
    /// A string as itself, without quotes and escapes; any other value as JSON.
    Text,
}

impl From<OutputForm> for Form {
    fn from(form: OutputForm) -> Self {
        match form {
            OutputForm::Json => Self::Json,
            OutputForm::Text => Self::Text,
        }
    }
}

/// A program and how its output is written.
#[derive(Debug)]
pub struct Jq {
    program: Program,
    form: Form,
}

impl Function for Jq {
    type Arguments = Arguments;

    fn about() -> About {
        About::new().reads(Columns::PAYLOAD | Columns::KEY | Columns::HEADERS)
    }

    fn validate(arguments: &Arguments) -> Vec<Problem> {
        Program::compile(&arguments.program).err().unwrap_or_default().into_iter().map(problem).collect()
    }

    fn open(session: Session<NoParameters, NoParameters, Arguments>) -> Result<Self, Error> {
        match Program::compile(&session.parameters.program) {
            Ok(program) => Ok(Self { program, form: session.parameters.output.into() }),
            Err(faults) => Err(match faults.into_iter().next() {
                Some(fault) => problem(fault).into(),
                None => Error::invalid("the program does not compile"),
            }),
        }
    }

    fn apply(&mut self, records: &Records, out: &mut Output) -> Result<(), Error> {
        for record in records {
            self.apply_one(record, out);
        }
        Ok(())
    }
}

impl Jq {
    fn apply_one(&self, record: RecordRef<'_>, out: &mut Output) {
        let headers =
            if self.program.wants_headers { program::headers(record.headers().iter()) } else { Default::default() };
        let key = if self.program.wants_key { record.key() } else { None };
        // A record is refused whole or passed on whole: what it became before the program failed is kept back until it ends.
        let mut made: Vec<Vec<u8>> = Vec::new();
        match self.program.run(record.payload(), key, headers, self.form, |value| made.push(value.to_vec())) {
            Ok(()) => made.iter().for_each(|payload| out.replace_payload(record, payload)),
            Err(reason) => out.reject(record, reason),
        }
    }
}

fn problem(fault: program::Fault) -> Problem {
    let problem = Problem::stream("/program", fault.message);
    match fault.position {
        Some((line, column)) => problem.at(line, column),
        None => problem,
    }
}

ferrule_sdk::export!(function: Jq);

#[cfg(test)]
mod tests {
    use super::*;

    fn open(program: &str) -> Result<Jq, Error> {
        let arguments = Arguments { program: program.to_owned(), output: OutputForm::Json };
        Jq::open(Session::of(NoParameters {}, NoParameters {}, arguments))
    }

    #[test]
    fn records_become_none_one_or_many() {
        let records = Records::of(["[1,2]", "[]", "no", "[3, {}]", "[4]"].map(Record::new));
        let mut out = Output::for_batch(&records);
        open(".[] + 1").unwrap().apply(&records, &mut out).unwrap();
        let expected: [(u32, Option<&[u8]>, u16); 3] = [(0, Some(b"2"), 0), (0, Some(b"3"), 0), (4, Some(b"5"), 0)];
        assert_eq!(out.rows(), expected);
        let rejected: Vec<_> =
            out.rejections().map(|(index, reason)| (index, reason.split(':').next().unwrap())).collect();
        assert_eq!(rejected, [(2, "the payload is not JSON"), (3, "the program failed")]);
    }

    #[test]
    fn a_program_sees_key_and_headers() {
        let records = Records::of([Record::new("{}").with_key("k").with_header("site", b"7")]);
        let mut out = Output::for_batch(&records);
        open("{key: $key, site: $headers.site}").unwrap().apply(&records, &mut out).unwrap();
        assert_eq!(out.rows()[0].1, Some(&br#"{"key":"k","site":"7"}"#[..]));
    }

    #[test]
    fn a_program_that_does_not_parse_is_named_with_its_place() {
        let arguments = Arguments { program: ".a |\n  nope".to_owned(), output: OutputForm::Json };
        let problems = Jq::validate(&arguments);
        assert_eq!((problems[0].path.as_str(), problems[0].position), ("/program", Some((2, 3))));
        let error = open(".a |\n  nope").unwrap_err();
        assert_eq!(error.message(), "stream parameters, `/program` (line 2, column 3): there is no filter `nope`");
    }
}
