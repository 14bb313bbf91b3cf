//! The file of `ferrule serve --config`: the options of the command line by their names, as YAML.

use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use ferrule_model::capability::Allowance;
use ferrule_model::error::suggestion;
use serde_json::{Map, Value};
use serde_saphyr::options::DuplicateKeyPolicy;

use super::{Place, Settings, denial};
use crate::exit::{Exit, Failure};

/// A file that is longer is none of ours.
const LONGEST: u64 = 1 << 20;

const NAMES: [&str; 20] = [
    "data",
    "socket",
    "listen",
    "tls-cert",
    "tls-key",
    "tls-client-ca",
    "access",
    "let-anyone-on-the-network-control-this-server",
    "metrics",
    "no-metrics",
    "components",
    "deny",
    "transport",
    "stop-deadline",
    "dead-letters",
    "log-segment",
    "secret-key",
    "instances",
    "log",
    "log-json",
];

/// Reads the file. Paths in it count from its folder.
pub(super) fn read(path: &Path) -> Result<Settings, Failure> {
    let failed = |error: std::io::Error| {
        let failure = Failure::from(error);
        Failure {
            message: format!("the configuration {} cannot be read: {}", path.display(), failure.message),
            ..failure
        }
    };
    let wrong = |what: String| Failure::new(Exit::Invalid, format!("the configuration {}: {what}", path.display()));
    if fs::metadata(path).map_err(failed)?.len() > LONGEST {
        return Err(wrong("it is longer than 1 MiB".to_owned()));
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    parse(&text, path.parent().unwrap_or(Path::new(""))).map_err(wrong)
}

fn parse(text: &str, folder: &Path) -> Result<Settings, String> {
    // A snippet of the file could show a password.
    let options = serde_saphyr::options! {
        duplicate_keys: DuplicateKeyPolicy::Error,
        strict_booleans: true,
        with_snippet: false,
    };
    // An empty file is null.
    let value: Value = serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())?;
    let mut options = match value {
        Value::Object(options) => options,
        Value::Null => Map::new(),
        _ => {
            return Err(format!(
                "expected options with their values, such as `transport: embedded`; there are {}",
                all()
            ));
        }
    };
    if let Some(name) = options.keys().find(|name| !NAMES.contains(&name.as_str())) {
        let help = suggestion(name, NAMES)
            .map_or_else(|| format!("there are {}", all()), |near| format!("did you mean `{near}`?"));
        return Err(format!("there is no option `{name}`; {help}"));
    }
    let mut take = |name: &'static str| Entry { name, value: options.remove(name).filter(|value| !value.is_null()) };
    let settings = Settings {
        data: take("data").path(folder)?,
        socket: take("socket").path(folder)?,
        listen: take("listen").parsed("an address such as 127.0.0.1:7000")?,
        tls_cert: take("tls-cert").path(folder)?,
        tls_key: take("tls-key").path(folder)?,
        tls_client_ca: take("tls-client-ca").path(folder)?,
        access: take("access").path(folder)?,
        let_anyone_on_the_network_control_this_server: take("let-anyone-on-the-network-control-this-server").flag()?,
        metrics: take("metrics").parsed("an address such as 127.0.0.1:9464")?,
        no_metrics: take("no-metrics").flag()?,
        components: take("components").paths(folder)?,
        deny: take("deny").denials()?,
        transport: take("transport").text()?.map(Place),
        stop_deadline: take("stop-deadline").parsed("a number of seconds")?,
        dead_letters: take("dead-letters").parsed("a size such as 512MiB")?,
        log_segment: take("log-segment").parsed("a size such as 64MiB")?,
        secret_key: take("secret-key").path(folder)?,
        instances: take("instances").parsed("a number from 1 on")?,
        log: take("log").text()?,
        log_json: take("log-json").flag()?,
    };
    if settings.no_metrics && settings.metrics.is_some() {
        return Err("metrics: there is an address, and `no-metrics: true` says that there are none".to_owned());
    }
    Ok(settings)
}

fn all() -> String {
    NAMES.join(", ")
}

/// An option and what the file says; no message repeats a text, which may be an address with a password.
struct Entry {
    name: &'static str,
    value: Option<Value>,
}

impl Entry {
    fn expected<T>(&self, what: &str) -> Result<T, String> {
        Err(format!("{}: expected {what}", self.name))
    }

    fn text(self) -> Result<Option<String>, String> {
        match self.value {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(Value::Number(number)) => Ok(Some(number.to_string())),
            Some(_) => self.expected("a text"),
        }
    }

    fn parsed<T: FromStr>(self, what: &str) -> Result<Option<T>, String> {
        let wrong = Self { name: self.name, value: None };
        match self.text() {
            Ok(None) => Ok(None),
            Ok(Some(text)) => text.parse().map(Some).or_else(|_| wrong.expected(what)),
            Err(_) => wrong.expected(what),
        }
    }

    fn path(self, folder: &Path) -> Result<Option<PathBuf>, String> {
        Ok(self.text()?.map(|path| folder.join(path)))
    }

    fn paths(self, folder: &Path) -> Result<Vec<PathBuf>, String> {
        match &self.value {
            None => Ok(Vec::new()),
            Some(Value::String(path)) => Ok(vec![folder.join(path)]),
            Some(Value::Array(paths)) => paths
                .iter()
                .map(|path| {
                    path.as_str().map_or_else(|| self.expected("a list of paths"), |path| Ok(folder.join(path)))
                })
                .collect(),
            Some(_) => self.expected("a list of paths"),
        }
    }

    /// Each as on the command line, or as an entry of a Grant.
    fn denials(self) -> Result<Vec<Allowance>, String> {
        const WHAT: &str = "a list of entries such as {tcp: \"*:25\"}";
        let read = |entry: &Value| match entry {
            Value::String(text) => denial(text).map_err(|error| format!("deny: `{text}`: {error}")),
            entry => {
                let Ok(entry) = serde_json::from_value::<Allowance>(entry.clone()) else { return self.expected(WHAT) };
                entry.check_denial().map_err(|error| format!("deny: {error}"))?;
                Ok(entry)
            }
        };
        match &self.value {
            None => Ok(Vec::new()),
            Some(Value::Array(entries)) => entries.iter().map(read).collect(),
            Some(_) => self.expected(WHAT),
        }
    }

    fn flag(self) -> Result<bool, String> {
        match self.value {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(_) => self.expected("true or false"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{Args as _, Command};

    #[test]
    fn the_file_has_the_options_of_the_command_line() {
        let command = Settings::augment_args(Command::new("serve"));
        let flags: Vec<_> = command.get_arguments().filter_map(|flag| flag.get_long()).collect();
        assert_eq!(flags, NAMES);
        let text = "data: here\nlisten: 127.0.0.1:7\nmetrics: '[::1]:8'\ncomponents: [a, /b]\ndeny: [{tcp: '*:25'}, 'udp=*:53']\ntransport: nats://u:secret@h\n\
                    stop-deadline: 3\ndead-letters: 2MiB\nlog-segment: 3MiB\nsecret-key: k\ninstances: 9\nlog: debug\nlog-json: true\nsocket:\naccess: may\n";
        let read = parse(text, Path::new("/etc/f")).unwrap();
        assert_eq!((read.data, read.socket), (Some("/etc/f/here".into()), None));
        assert_eq!(read.secret_key, Some("/etc/f/k".into()));
        assert_eq!((read.listen, read.metrics), ("127.0.0.1:7".parse().ok(), "[::1]:8".parse().ok()));
        assert_eq!(read.access, Some("/etc/f/may".into()));
        assert_eq!(read.components, [PathBuf::from("/etc/f/a"), PathBuf::from("/b")]);
        assert_eq!(read.deny.iter().map(ToString::to_string).collect::<Vec<_>>(), ["tcp: *:25", "udp: *:53"]);
        assert_eq!((read.log_segment.map(|size| size.0), read.instances.map(u32::from)), (Some(3 << 20), Some(9)));
        assert_eq!((read.stop_deadline, read.dead_letters.map(|size| size.0)), (Some(3), Some(2 << 20)));
        assert_eq!(
            (read.transport.as_ref().map(|place| place.0.as_str()), read.log_json),
            (Some("nats://u:secret@h"), true)
        );
        assert!(parse("", Path::new("")).is_ok() && parse("no-metrics: true", Path::new("")).unwrap().no_metrics);
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, words) in [
            ("tranport: memory", "no option `tranport`; did you mean `transport`?"),
            ("colour: red", "there are data, socket"),
            ("- transport", "such as `transport: embedded`"),
            ("deny: [{tcp: nowhere}]", "deny: `nowhere` is not a host and port"),
            ("deny: {tcp: '*:25'}", "deny: expected a list of entries"),
            ("listen: nowhere", "listen: expected an address"),
            ("stop-deadline: soon", "stop-deadline: expected a number of seconds"),
            ("dead-letters: [1]", "dead-letters: expected a size"),
            ("instances: 0", "instances: expected a number from 1 on"),
            ("no-metrics: 'no'", "no-metrics: expected true or false"),
            ("components: {a: b}", "components: expected a list of paths"),
            ("transport: {nats: hunter2}", "transport: expected a text"),
            ("metrics: 127.0.0.1:1\nno-metrics: true", "metrics: there is an address"),
        ] {
            let error = parse(text, Path::new("")).unwrap_err();
            assert!(error.contains(words) && !error.contains("hunter2"), "{text}: {error}");
        }
        for text in ["transport: nats://u:hunter2@h: [", "transport: a\ntransport: hunter2"] {
            let error = parse(text, Path::new("")).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
