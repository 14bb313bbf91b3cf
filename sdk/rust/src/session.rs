//! What a session is opened with: parameters as the author's own types.

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::bindings::exports::ferrule::connector::component as wit;
use crate::bindings::exports::ferrule::connector::lifecycle;
use crate::error::Error;
use crate::wait::Wait;

pub use crate::bindings::exports::ferrule::connector::component::Direction;
pub use crate::bindings::exports::ferrule::connector::lifecycle::Configured;

/// A type of parameters: `#[derive(Deserialize, JsonSchema)]`, and nothing else to write.
///
/// The doc comments of its fields become the descriptions of the JSON Schema.
pub trait Parameters: DeserializeOwned + JsonSchema + 'static {}

impl<T: DeserializeOwned + JsonSchema + 'static> Parameters for T {}

/// For what takes no parameters. Any that are given are refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoParameters {}

/// The session of one stream, or of one function in one pipeline.
#[derive(Debug)]
#[non_exhaustive]
pub struct Session<S, C, P> {
    /// The stream's or step's name, unique within the server: for logs and client identities.
    pub name: String,
    /// The way this session goes.
    pub direction: Direction,
    /// The instance's static parameters.
    pub static_parameters: S,
    /// The config in force now.
    pub config: C,
    /// The stream's parameters, or the function's arguments.
    pub parameters: P,
    /// For a source: the position saved with the last records that were taken in.
    pub position: Option<Vec<u8>>,
    /// Further facts by name.
    pub properties: Vec<(String, Value)>,
}

impl<S, C, P> Session<S, C, P> {
    /// A session for a unit test.
    pub fn of(static_parameters: S, config: C, parameters: P) -> Self {
        Self {
            name: "test".to_owned(),
            direction: Direction::Ingress,
            static_parameters,
            config,
            parameters,
            position: None,
            properties: Vec::new(),
        }
    }

    /// The same, going on from a position.
    #[must_use]
    pub fn from_position(mut self, position: impl Into<Vec<u8>>) -> Self {
        self.position = Some(position.into());
        self
    }

    /// For connecting in `open`: until the host wants the call back.
    pub fn wait(&self) -> Wait {
        Wait::forever()
    }
}

/// Something wrong with parameters, for `validate`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// Which parameters: `static`, `config` or `stream`.
    pub scope: &'static str,
    /// Where in them, as a JSON Pointer; empty for the whole.
    pub path: String,
    /// Line and column, from 1, in the text at that path.
    pub position: Option<(u32, u32)>,
    /// What is wrong and what was expected.
    pub message: String,
}

impl Problem {
    /// A problem with the stream's parameters (a function's arguments), at a JSON Pointer such as `/topics/0`.
    pub fn stream(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { scope: "stream", path: path.into(), position: None, message: message.into() }
    }

    /// A problem with the static parameters.
    pub fn fixed(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { scope: "static", ..Self::stream(path, message) }
    }

    /// A problem with the config.
    pub fn config(path: impl Into<String>, message: impl Into<String>) -> Self {
        Self { scope: "config", ..Self::stream(path, message) }
    }

    /// Where in the text at the path, as line and column from 1.
    #[must_use]
    pub fn at(mut self, line: u32, column: u32) -> Self {
        self.position = Some((line, column));
        self
    }
}

impl From<Problem> for wit::Problem {
    fn from(problem: Problem) -> Self {
        Self {
            scope: problem.scope.to_owned(),
            path: problem.path,
            position: problem.position,
            message: problem.message,
        }
    }
}

/// The first problem, as what `open` answers.
impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        let Problem { scope, path, position, message } = problem;
        let at = position.map(|(line, column)| format!(" (line {line}, column {column})")).unwrap_or_default();
        Self::Invalid(format!("{scope} parameters, `{}`{at}: {message}", if path.is_empty() { "/" } else { &path }))
    }
}

/// Reads parameters; no text and `null` are an empty object.
pub(crate) fn parse<T: Parameters>(scope: &'static str, text: &str) -> Result<T, Problem> {
    let text = match text.trim() {
        "" | "null" => "{}",
        text => text,
    };
    // A list would pass for a type whose fields are given in order.
    if !text.starts_with('{') {
        return Err(Problem { scope, path: String::new(), position: None, message: "expected an object".to_owned() });
    }
    let mut json = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = pointer(error.path());
        let message = error.into_inner().to_string();
        // Line and column are those of a text that the author of the document never saw.
        let message = message.split(" at line ").next().unwrap_or_default().to_owned();
        Problem { scope, path, position: None, message }
    })?;
    json.end().map_err(|_| Problem {
        scope,
        path: String::new(),
        position: None,
        message: "more than one value".into(),
    })?;
    Ok(value)
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
            Segment::Enum { .. } | Segment::Unknown => String::new(),
        })
        .collect()
}

/// Reads all three kinds of parameters, for `open`.
pub(crate) fn typed<S: Parameters, C: Parameters, P: Parameters>(
    session: lifecycle::Session,
) -> Result<Session<S, C, P>, Error> {
    Ok(Session {
        static_parameters: parse("static", &session.static_parameters)?,
        config: parse("config", &session.config)?,
        parameters: parse("stream", &session.parameters)?,
        name: session.name,
        direction: session.direction,
        position: session.position,
        properties: session
            .properties
            .into_iter()
            .filter_map(|(name, json)| Some((name, serde_json::from_str(&json).ok()?)))
            .collect(),
    })
}

/// Reads all three kinds of parameters and hands them to `check`, for `validate`.
pub(crate) fn checked<S: Parameters, C: Parameters, P: Parameters>(
    [fixed, config, stream]: [&str; 3],
    check: impl FnOnce(&S, &C, &P) -> Vec<Problem>,
) -> Vec<Problem> {
    match (parse::<S>("static", fixed), parse::<C>("config", config), parse::<P>("stream", stream)) {
        (Ok(fixed), Ok(config), Ok(stream)) => check(&fixed, &config, &stream),
        (fixed, config, stream) => [fixed.err(), config.err(), stream.err()].into_iter().flatten().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize, JsonSchema)]
    struct Topic {
        #[allow(dead_code, reason = "only that it parses matters")]
        filter: String,
    }

    #[derive(Debug, Deserialize, JsonSchema)]
    struct Some3 {
        #[allow(dead_code, reason = "only that it parses matters")]
        topics: Vec<Topic>,
    }

    #[test]
    fn a_wrong_value_is_named_by_its_path() {
        let problem = parse::<Some3>("stream", r#"{"topics":[{"filter":"a"},{"filter":5}]}"#).unwrap_err();
        assert_eq!(problem.path, "/topics/1/filter");
        assert_eq!(problem.message, "invalid type: integer `5`, expected a string");
        assert_eq!(
            Error::from(problem),
            Error::Invalid(
                "stream parameters, `/topics/1/filter`: invalid type: integer `5`, expected a string".into()
            )
        );
    }

    #[test]
    fn nothing_is_an_empty_object() {
        for text in ["", " ", "null", "{}"] {
            assert_eq!(parse::<NoParameters>("config", text), Ok(NoParameters {}), "{text:?}");
        }
        assert_eq!(parse::<NoParameters>("config", "{\"a\":1}").unwrap_err().path, "/a");
        assert!(parse::<NoParameters>("config", "{} {}").is_err());
        assert_eq!(parse::<Some3>("stream", "[[]]").unwrap_err().message, "expected an object");
        assert_eq!(parse::<Some3>("stream", "").unwrap_err().message, "missing field `topics`");
    }

    #[test]
    fn all_kinds_are_checked_at_once() {
        let problems = checked::<NoParameters, NoParameters, Some3>(["{\"x\":1}", "", "{}"], |_, _, _| Vec::new());
        let scopes: Vec<_> = problems.iter().map(|problem| problem.scope).collect();
        assert_eq!(scopes, ["static", "stream"]);
    }
}
