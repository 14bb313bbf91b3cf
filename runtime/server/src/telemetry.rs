//! The server's own log, on standard error.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::util::SubscriberInitExt as _;

/// How the log looks.
#[derive(Debug, Clone, Default)]
pub struct LogOptions {
    /// What is logged, as `level` or `target=level,...`; none: `info`.
    pub filter: Option<String>,
    /// One JSON object a line, for collectors.
    pub json: bool,
    /// Colours; none: if standard error is a terminal.
    pub colour: Option<bool>,
}

/// The filter does not read, or the program logs elsewhere already.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The filter does not read.
    #[error("'{filter}' is no log filter ({reason}); write a level such as debug, or ferrule_flow=debug,info")]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        reason: String,
    },
    /// There is a subscriber already.
    #[error("the log was started before: {0}")]
    Started(String),
}

/// Starts the log of this process. Once, and by the program, not by a server within it.
pub fn start(options: &LogOptions) -> Result<(), LogError> {
    let text = options.filter.as_deref().unwrap_or("info");
    let filter = EnvFilter::builder()
        .parse(text)
        .map_err(|error| LogError::Filter { filter: text.to_owned(), reason: error.to_string() })?;
    let colour = options.colour.unwrap_or_else(|| std::io::stderr().is_terminal());
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter).with_ansi(colour);
    let started = if options.json { log.json().finish().try_init() } else { log.finish().try_init() };
    started.map_err(|error| LogError::Started(error.to_string()))
}
